"""`[stages.NAME]` of `service.toml`: one step of the pipeline."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator

from henslowe.config.manifest.launch import Command
from henslowe.config.manifest.reports import Reports
from henslowe.config.section import Section

STAGE_NAME = r"^[a-z][a-z0-9_-]{0,31}$"

TimeoutSeconds = Annotated[float, Field(gt=0, le=24 * 3600)]


class Stage(Section):
    """One step of the pipeline. What is not said here comes from the built-in stage of the same name."""

    run: Command | None = None
    """A command, as a list or as one line for the shell. Empty: this built-in stage is left out."""
    needs: tuple[str, ...] | None = None
    """Stages that must succeed first; default: `deps` where there is one."""
    inputs: tuple[str, ...] | None = None
    """Globs of the files that matter to this stage (gitignore syntax); default: all."""
    timeout_s: TimeoutSeconds | None = None
    env: dict[str, str] = {}
    cache: bool | None = None
    """Whether an unchanged stage may be replayed instead of run; default: true."""
    allow_failure: bool = False
    artifacts: tuple[str, ...] | None = None
    """Globs of the files that the stage makes and that belong to the build."""

    reports: Reports | None = None
    """Files that the stage writes about itself: `{ junit = "report.xml", coverage = "coverage.xml" }`."""

    @field_validator("run", mode="before")
    @classmethod
    def _line_or_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            return ("/bin/sh", "-c", value) if value.strip() else ()
        return value
