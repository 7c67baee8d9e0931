"""What to do about a failure that the stage's own output explains: a hint, where the words are well known. Pure.

Not here: the hints of what Henslowe itself refuses; they come with their errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_MISSING_MODULE: Final = re.compile(r"ModuleNotFoundError: No module named '([^']+)'")


def advice(excerpt: str, files: Iterable[str]) -> str:
    """A hint for what a stage printed, or "".

    Args:
        excerpt: The last lines of its output.
        files: Paths of the service's sources.
    """
    missing = _MISSING_MODULE.search(excerpt)
    if missing is None:
        return ""
    module = missing[1].partition(".")[0]
    if any(path.split("/")[0] in (module, f"{module}.py") for path in files):
        return ""  # one of its own: no dependency brings it
    return (
        f"declare the package that has {module}: in pyproject.toml under [project] dependencies, "
        'or at the top of the script as "# /// script" metadata'
    )
