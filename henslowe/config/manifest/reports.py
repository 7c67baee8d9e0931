"""`[stages.NAME] reports` of `service.toml`: what a stage writes about itself, to be read and kept with the version."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from henslowe.config.section import Section


def _one_or_more(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Globs = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]


class Reports(Section):
    """Files that a stage writes, by globs (gitignore syntax); `{tmp}/` at the front is the stage's TMPDIR."""

    junit: Globs = ()
    """JUnit XML: totals and failing tests are shown with the version."""
    coverage: Globs = ()
    """Cobertura XML or LCOV: the share of covered lines is shown with the version."""
    files: Globs = ()
    """Others that are kept to be looked at. Nothing here is served, and nothing of it decides."""

    def with_these(self, given: Reports) -> Reports:
        """The kinds that `given` names, and ours for the others."""
        return self.model_copy(update={kind: getattr(given, kind) for kind in given.model_fields_set})

    @property
    def globs(self) -> tuple[str, ...]:
        """All of them."""
        return self.junit + self.coverage + self.files
