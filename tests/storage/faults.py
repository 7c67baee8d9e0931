"""An environment whose commits fail as a disk's do: real LMDB, with a wrapper around `begin`."""

from __future__ import annotations

import errno
from collections import deque
from enum import StrEnum
from typing import Any

import lmdb

from henslowe.errors import StorageError
from henslowe.storage.env import Environment


class Fault(StrEnum):
    REFUSED = "refused"
    """An I/O error; nothing was stored."""
    FULL = "full"
    """No space; nothing was stored."""
    ANSWER_LOST = "answer_lost"
    """An I/O error after everything was stored."""
    PANIC = "panic"
    """LMDB refuses to begin until it is opened again, as after a meta page that could not be written."""


class Faults:
    """Which of the next commits fail, and an environment type that obeys."""

    def __init__(self) -> None:
        self.plan: deque[Fault] = deque()
        self.reopened = 0
        self.failing_reopens = 0
        self.panicking = False
        faults = self

        class FaultyEnvironment(Environment):
            def begin(self) -> Any:
                if faults.panicking or (faults.plan and faults.plan[0] is Fault.PANIC):
                    if not faults.panicking:
                        faults.plan.popleft()
                    faults.panicking = True
                    raise lmdb.PanicError("injected")
                txn = super().begin()
                return _FaultyTxn(txn, faults.plan.popleft()) if faults.plan else txn

            def reopen(self) -> None:
                faults.reopened += 1
                if faults.failing_reopens:
                    faults.failing_reopens -= 1
                    self.close()
                    raise StorageError("injected: cannot open again")
                super().reopen()
                faults.panicking = False

        self.env_type = FaultyEnvironment


class _FaultyTxn:
    def __init__(self, txn: Any, fault: Fault) -> None:
        self._txn = txn
        self._fault = fault

    def __getattr__(self, name: str) -> Any:
        return getattr(self._txn, name)

    def commit(self) -> None:
        if self._fault is Fault.ANSWER_LOST:
            self._txn.commit()
        else:
            self._txn.abort()
        error = lmdb.DiskError("injected")
        # The engine sets it; an error made in Python has none.
        vars(error)["code"] = errno.ENOSPC if self._fault is Fault.FULL else errno.EIO
        raise error
