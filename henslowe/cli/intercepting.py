"""Asks the interceptors of extensions before a command does what they may refuse, and tells them after it.

For commands that work without a node: the node asks its own.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from henslowe.config.node_file import FILE_NAME

if TYPE_CHECKING:
    from henslowe.actors.interceptors import Operation


@contextmanager
def intercepted(operation: Operation, data_dir: Path) -> Iterator[list[str]]:
    """Asks before, tells after; gives a list of what went wrong in telling, filled at the end.

    Raises:
        Conflict: One refused, could not be loaded, or did not answer by its deadline. Nothing was done.
    """
    from henslowe.actors.interceptors import Interceptors
    from henslowe.config.loading import load
    from henslowe.extensions.finding import Kind
    from henslowe.node_extensions import Extensions

    def interceptors_alone(group: str) -> Iterable[EntryPoint]:
        return entry_points(group=group) if group == Kind.INTERCEPTOR.group else ()

    beside = data_dir.absolute().parent
    settings = load(beside if (beside / FILE_NAME).exists() else None).settings
    wrong: list[str] = []
    # A folder of their own in the data directory would be in the way of what takes its place.
    with tempfile.TemporaryDirectory(prefix="henslowe-") as folder:
        interceptors = Interceptors()

        async def ask() -> None:
            await Extensions(settings, Path(folder), interceptors_alone).intercept(interceptors)
            await interceptors.before(operation)

        asyncio.run(ask())
        yield wrong
        wrong += asyncio.run(interceptors.after(operation))
