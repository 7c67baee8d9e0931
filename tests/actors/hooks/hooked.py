"""The delivery plane with its hooks, over a real bus; webhooks are received by the test itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from henslowe.actors import names
from henslowe.actors.bus import EventBus
from henslowe.actors.hooks import (
    HOOKS,
    Answer,
    Configured,
    HookBoard,
    HookGates,
    HookKeeper,
    HookRow,
    HookState,
    Surroundings,
)
from henslowe.actors.interceptors import Interceptors
from henslowe.actors.messages import CreateVersion
from henslowe.actors.versions import VersionMachine
from henslowe.config.hooks import Hook, NodeHook, named
from henslowe.config.settings import PipelineSettings
from henslowe.storage import Store
from tests.actors.delivery import Delivery


@dataclass
class Receiver:
    """Receives webhooks: keeps them, and answers what it is told to."""

    answers: list[Answer | Exception] = field(default_factory=list)
    """The next answers; 204 once there are no more."""
    received: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    private: list[bool] = field(default_factory=list)
    gate: asyncio.Event | None = None
    """Where given, answers wait for it."""

    async def post(
        self, _url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float, private: bool
    ) -> Answer:
        self.received.append(json.loads(body))
        self.headers.append(headers)
        self.private.append(private)
        if self.gate is not None:
            async with asyncio.timeout(min(timeout_s, 5)):
                await self.gate.wait()
        answer = self.answers.pop(0) if self.answers else Answer(204, "")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def ids(self, on: str) -> list[str]:
        return [each["id"] for each in self.received if each["on"] == on]


class Hooked(Delivery):
    """One life of the plane. What `hooks` has is what the next `service.toml` says."""

    def __init__(self, store: Store, workspace: Path, **fields: Any) -> None:
        super().__init__(store, workspace, **fields)
        self.receiver = Receiver()
        self.interceptors = Interceptors()
        self.board = HookBoard()
        self.hooks: tuple[Hook, ...] = ()
        self.node_hooks: dict[str, NodeHook] = {}
        self.settings = self.settings.model_copy(update={"pipeline": PipelineSettings(isolation="none")})

    def says(self, *hooks: dict[str, Any]) -> None:
        self.hooks = named(tuple(Hook.model_validate(each) for each in hooks))

    async def start(self, *which: str) -> None:
        wanted = which or (names.BUS, names.INSTANCES, names.ROUTER, names.HOOKS, names.VERSIONS)
        configured = Configured(self.node_hooks, self.interceptors)
        around = Surroundings.of(self.store, self.settings, self.receiver, self.interceptors, marker="n1:1")
        for name in wanted:
            if name == names.BUS:
                self._refs[name] = await EventBus.start_link(self.store, name=name)
            elif name == names.HOOKS:
                self._refs[name] = await HookKeeper.start_link(self.store, configured, around, self.board, name=name)
            elif name == names.VERSIONS:
                gates = HookGates(self.store.table(HOOKS), configured)
                self._refs[name] = await VersionMachine.start_link(
                    self.store, self.settings, self.traffic, gates=gates, name=name, **self.clock
                )
            else:
                await super().start(name)

    async def call(self, message: Any) -> Any:
        if isinstance(message, CreateVersion):
            message = replace(message, hooks=self.hooks)
        return await super().call(message)

    def forget(self, name: str) -> None:
        """It ended by itself."""
        self._refs.pop(name, None)

    # -- looking ----------------

    def rows(self, point: str = "") -> Sequence[HookRow]:
        found = [row for row in self.store.table(HOOKS).rows() if point in ("", row.point)]
        return sorted(found, key=lambda row: (row.created_s, row.place))

    def ended(self, point: str) -> bool:
        return bool(self.rows(point)) and all(row.state is not HookState.WAITING for row in self.rows(point))
