"""From a version's row to the order to run it: lays its build out again where the folder was deleted.

Whoever wants a version running asks here: the version machine for those that serve, the holds for those that somebody
is still using. Whether it should run is theirs to know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from henslowe.actors.ids import VersionKey
from henslowe.actors.messages import EnsureInstance
from henslowe.actors.versions.rows import VersionRow
from henslowe.errors import NotFound, StorageError

LayOut = Callable[[VersionKey, str, Path, Mapping[str, Any]], object]
"""Makes the folder of a version again: its key, its build, the folder, the version's metadata. Runs in: a thread."""


@dataclass(slots=True, frozen=True)
class Starting:
    """Makes orders.

    Args:
        workspace: The folder with `archive/`.
        lay_out: Makes folders again that were deleted.
    """

    workspace: Path
    lay_out: LayOut

    def folder(self, row: VersionRow) -> Path:
        """Where a version's build lies."""
        return self.workspace / "archive" / row.service / row.folder

    async def order(self, row: VersionRow, holder: str) -> EnsureInstance:
        """The order to run a version on behalf of `holder`, after its folder is there.

        Raises:
            NotFound: It was never built.
            StorageError: Its folder is gone and cannot be made again.
        """
        if row.launch is None:
            raise NotFound(f"cannot start {row.key}: it was never built")
        # By the version: a service that is declared today may go back to a version that was developed.
        root = self.folder(row) if row.folder else None
        if root is not None and not root.exists():
            try:
                await asyncio.to_thread(self.lay_out, row.key, row.build, root, row.metadata)
            except OSError as error:
                raise StorageError(f"cannot lay out {row.key}: {error.strerror or error}") from error
        return EnsureInstance(row.key, row.launch, root, holder, row.scale)
