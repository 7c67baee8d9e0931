"""Version machine and router over a real store, with the neighbours they talk to played by small real actors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from henslowe.actors import names
from henslowe.actors.endpoints import Contract
from henslowe.actors.ids import BuildId, InstanceId, ServiceName, VersionKey
from henslowe.actors.kernel import KILL, LoopActor, Ref
from henslowe.actors.kernel import names as registry
from henslowe.actors.launch import LaunchSpec
from henslowe.actors.messages import (
    Action,
    Command,
    Created,
    CreateVersion,
    EnsureInstance,
    InstanceBroken,
    InstanceDown,
    InstanceUp,
    Publish,
    ReleaseInstance,
    Strategy,
    VersionBuilt,
)
from henslowe.actors.router import CanaryRouter
from henslowe.actors.routes import CallRecord, Observations, Outcome, RouteTable
from henslowe.actors.traffic import TrafficStats
from henslowe.actors.upkeep import Upkeep
from henslowe.actors.versions import SERVICES, VERSIONS, ServiceRow, VersionMachine, VersionRow
from henslowe.actors.versions.gates import Gates
from henslowe.config.ramp import Plan
from henslowe.config.settings import DeliverySettings, Settings
from henslowe.config.upkeep import HealthSettings
from henslowe.storage import EventDraft, Store

HELLO = ServiceName("hello")
LAUNCH = LaunchSpec(command=("python", "server.py"))
NOTHING = Contract(digest="d")
WAIT_S = 5.0


async def until(condition: Callable[[], Any]) -> None:
    """Returns once the condition holds; fails after five seconds."""
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.002)


class Runner(LoopActor):
    """Plays the instance manager: what must run is up at once, unless its version is said to be broken."""

    def __init__(self, delivery: Delivery) -> None:
        super().__init__()
        self._delivery = delivery

    def handle_cast(self, message: Any) -> None:
        heard, versions = self._delivery.heard, registry.via(names.VERSIONS)
        heard.append(message)
        match message:
            case EnsureInstance(version) if version.number in self._delivery.broken:
                versions.cast(InstanceBroken(version, "exit 1"))
            case EnsureInstance(version) if version.number not in self._delivery.slow:
                offered = self._delivery.contracts.get(version.number, NOTHING)
                self._delivery.up.add(version.number)
                up = InstanceUp(version, InstanceId(f"{version}#1"), offered, "modern", 0.1)
                versions.cast(up)
                registry.via(names.ROUTER).cast(up)
            case ReleaseInstance(version):
                self._delivery.up.discard(version.number)
                versions.cast(InstanceDown(version, InstanceId(f"{version}#1"), "released", expected=True))


class Listener(LoopActor):
    """Plays the bus: keeps what is said."""

    def __init__(self, said: list[EventDraft]) -> None:
        super().__init__()
        self._said = said

    def handle_cast(self, message: Publish) -> None:
        self._said += message.events


class Delivery:
    """One life of the delivery plane; `start` it, drive it as pipeline, person and gateway do, `stop` it."""

    def __init__(
        self,
        store: Store,
        workspace: Path,
        now_s: Callable[[], float] | None = None,
        health: HealthSettings | None = None,
        **fields: Any,
    ) -> None:
        self.store = store
        self.workspace = workspace
        self.settings = Settings(
            workspace=workspace, delivery=DeliverySettings(**fields), health=health or HealthSettings()
        )
        self.clock: dict[str, Any] = {"now_s": now_s} if now_s else {}
        self.routes, self.traffic, self.observations = RouteTable(), TrafficStats(), Observations()
        self.gates: Gates | None = None
        self.heard: list[Any] = []
        self.said: list[EventDraft] = []
        self.broken: set[int] = set()
        self.slow: set[int] = set()
        self.up: set[int] = set()
        """Versions that run."""
        self.contract = NOTHING
        """What the next build offers."""
        self.contracts: dict[int, Contract] = {}
        self._refs: dict[str, Ref] = {}

    async def start(self, *which: str) -> None:
        starts: dict[str, Callable[[], Any]] = {
            names.BUS: lambda: Listener.start_link(self.said, name=names.BUS),
            names.INSTANCES: lambda: Runner.start_link(self, name=names.INSTANCES),
            names.ROUTER: lambda: CanaryRouter.start_link(
                self.store,
                self.settings.delivery,
                self.routes,
                self.observations,
                services=self.store.table(SERVICES),
                traffic=self.traffic,
                upkeep=Upkeep(self.settings),
                name=names.ROUTER,
                **self.clock,
            ),
            names.VERSIONS: lambda: VersionMachine.start_link(
                self.store, self.settings, self.traffic, gates=self.gates, name=names.VERSIONS, **self.clock
            ),
        }
        for name in which or starts:
            self._refs[name] = await starts[name]()

    async def stop(self, *which: str, kill: bool = False) -> None:
        for name in which or tuple(self._refs):
            ref = self._refs.pop(name)
            if kill:
                ref.exit(KILL)
            else:
                await ref.stop(block=False)
            await until(lambda ref=ref: not ref.is_alive())

    async def call(self, message: Any) -> Any:
        return await registry.via(names.VERSIONS).call(message)

    def tell(self, message: Any, to: str = names.VERSIONS) -> None:
        registry.via(to).cast(message)

    # -- as the pipeline ----------------

    async def build(self, source: str, strategy: Strategy = Strategy.AUTO, plan: Plan | None = None) -> int:
        tree = self.workspace / "work" / source
        tree.mkdir(parents=True, exist_ok=True)
        (tree / "server.py").write_text(f"print({source!r})\n")
        build = await asyncio.to_thread(self.store.archive.put, tree)
        created: Created = await self.call(CreateVersion(HELLO, source, strategy, 1_000, plan=plan or Plan()))
        self.contracts[created.version.number] = self.contract
        built = VersionBuilt(created.version, BuildId(build.build_id), "1.0.0", LAUNCH, self.contract)
        await self.call(built)
        return created.version.number

    async def ship(self, source: str, strategy: Strategy = Strategy.AUTO, plan: Plan | None = None) -> int:
        number = await self.build(source, strategy, plan)
        await until(lambda: number in (self.row.active, self.row.canary))
        return number

    async def command(self, action: Action, **fields: Any) -> dict[str, Any]:
        reply: dict[str, Any] = await self.call(Command(HELLO, action, "ann", **fields))
        return reply

    # -- as the gateway ----------------

    def serve(
        self, unit: str, fails: dict[int, Outcome] | None = None, *, session: bool = False, error: str = "boom"
    ) -> int:
        """One call by the routes of now; returns the version that took it."""
        route = self.routes.current[HELLO]
        arm, version = route.pick(unit)
        outcome = (fails or {}).get(version.number, Outcome.OK)
        now_s = self.clock["now_s"]() if self.clock else 0.0
        self.observations.record(
            CallRecord(version, arm, unit, session, "echo", outcome, 0.01, now_s, route.epoch, error)
        )
        return version.number

    # -- looking ----------------

    @property
    def row(self) -> ServiceRow:
        return self.store.table(SERVICES).lookup(HELLO, ServiceRow(service=HELLO))

    def version(self, number: int) -> VersionRow:
        found = self.store.table(VERSIONS).lookup((HELLO, number))
        assert found is not None
        return found

    def states(self) -> dict[int, str]:
        return {row.number: row.state.value for row in self.store.table(VERSIONS).rows()}

    def link(self, state: str) -> str | None:
        with suppress(OSError):
            return str((self.workspace / state / HELLO).readlink())
        return None

    def heard_of(self, kind: type) -> list[int]:
        return [message.version.number for message in self.heard if type(message) is kind]

    def said_of(self, event_type: str) -> list[EventDraft]:
        return [event for event in self.said if event.type == event_type]


@asynccontextmanager
async def living(
    open_store: Callable[[], AbstractAsyncContextManager[Store]], workspace: Path, **fields: Any
) -> AsyncIterator[Delivery]:
    """One life of a node: its store, and the delivery plane on it. The next one finds what this one left."""
    async with open_store() as store:
        plane = Delivery(store, workspace, **fields)
        await plane.start()
        try:
            yield plane
        finally:
            await plane.stop()


def key(number: int) -> VersionKey:
    return VersionKey(HELLO, number)
