"""What to do about a failure that the stage's own output explains: a hint, where the words are well known. Pure.

Not here: the hints of what Henslowe itself refuses; they come with their errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_MISSING_MODULE: Final = re.compile(r"ModuleNotFoundError: No module named '([^']+)'")

_NOT_WRITABLE: Final = re.compile(
    r"read-only file system|unable to open database file|attempt to write a readonly database"
    r"|\[errno 13\] permission denied: '/|eacces: permission denied, ",
    re.IGNORECASE,
)
"""What Python, Node.js and SQLite say in a cage about a place outside of it."""


def advice(excerpt: str, files: Iterable[str], *, caged: bool = False) -> str:
    """A hint for what a stage printed, or "".

    Args:
        excerpt: The last lines of its output.
        files: Paths of the service's sources.
        caged: Whether it could only write into the folders of its run.
    """
    missing = _MISSING_MODULE.search(excerpt)
    if missing is not None:
        return _declaring(missing[1].partition(".")[0], files)
    if caged and _NOT_WRITABLE.search(excerpt):
        return (
            "a stage writes only into the folders of its run: have the server write below $HENSLOWE_SERVICE_DATA, or "
            "declare it in henslowe.toml under [services], where it is started without stages"
        )
    return ""


def _declaring(module: str, files: Iterable[str]) -> str:
    if any(path.split("/")[0] in (module, f"{module}.py") for path in files):
        return ""  # one of its own: no dependency brings it
    return (
        f"declare the package that has {module}: in pyproject.toml under [project] dependencies, "
        'or at the top of the script as "# /// script" metadata'
    )
