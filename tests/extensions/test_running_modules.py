"""Extensions run contained: each in a subtree of its own, started again, and whatever they do the keeper lives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from henslowe.actors import names
from henslowe.actors.bus import EventBus
from henslowe.actors.journal import draft
from henslowe.actors.kernel import KILL, ChildSpec, Ref, Scheduler
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import Publish
from henslowe.actors.modules import ModuleKeeper, ModuleState, host
from henslowe.actors.vocabulary import EventType, Status, Stream
from henslowe.config.settings import ModuleSettings, Settings, StorageSettings
from henslowe.errors import InstanceFailed
from henslowe.node_extensions import Extensions
from henslowe.storage import Store
from henslowe.supervisors import DynamicSupervisor
from henslowe.supervisors.planes import contained_supervisor
from henslowe.transport.mcp.plugged import PluggedConnector
from tests.actors.delivery import until
from tests.extensions import bringing
from tests.extensions.bringing import points

SINK, STATE, HANDLER = "henslowe.persistence", "henslowe.state_managers", "henslowe.protocol_handlers"


class Plane:
    """The plane of modules over a real store and bus."""

    def __init__(self, folder: Path, extensions: Extensions) -> None:
        self.extensions = extensions
        self.store = Store.open(folder / "data", "n1", StorageSettings(map_size_gib=1), tables=extensions.tables)
        self._refs: list[Ref] = []

    async def start(self) -> None:
        spec = self.store.child_spec()
        board = self.extensions.board
        for child in (
            spec,
            ChildSpec(id="bus", actor=EventBus, args=(self.store,), name=names.BUS),
            ChildSpec(id="modules", actor=DynamicSupervisor, name=names.MODULES),
            ChildSpec(
                id="keeper",
                actor=ModuleKeeper,
                args=(self.extensions.plans(self.store), contained_supervisor, board),
                name="modules.keeper",
            ),
        ):
            ref = await child.actor.start_link(*child.args, name=child.name, **child.kwargs)
            assert ref is not None
            self._refs.append(ref)

    async def stop(self) -> None:
        for ref in reversed(self._refs):
            await ref.stop(block=False)
        self.store.close()

    def state(self, name: str) -> ModuleState:
        return self.extensions.board.infos[name].state

    async def say(self, count: int) -> list[int]:
        event = draft(EventType.COMMAND, Status.SUCCESS, stream=Stream.LIFECYCLE)
        stored = await registry.via(names.BUS).call(Publish((event,) * count))
        return [each.seq for each in stored]


@pytest.fixture
async def planes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    monkeypatch.setattr(host, "BACKOFF_FIRST_S", 0.005)
    for name, value in (("written", []), ("starts", []), ("refusals", 0)):
        monkeypatch.setattr(bringing.Sink, name, value)
    running: list[Plane] = []

    async def start(**named: tuple[str, str]) -> Plane:
        Scheduler.install()
        settings = Settings(workspace=tmp_path, modules=ModuleSettings(options={"sink": {"path": "x"}}))
        plane = Plane(tmp_path, Extensions(settings, tmp_path / "data", points(**named)))
        running.append(plane)
        await plane.start()
        return plane

    yield start
    for plane in running:
        await plane.stop()


async def test_a_sink_gets_each_event_and_its_options_and_goes_on_after_a_crash(planes: Any) -> None:
    plane = await planes(sink=(SINK, "Sink"))
    await until(lambda: plane.state("sink") is ModuleState.RUNNING)
    seqs = await plane.say(3)
    await until(lambda: set(seqs) <= set(bringing.Sink.written))
    (context,) = bringing.Sink.starts
    assert (context.options, context.folder.is_dir()) == ({"path": "x"}, True)
    (supervisor,) = registry.whereis(names.MODULES)._actor.child_infos()
    (child,) = supervisor.ref._actor.child_infos()
    child.ref.exit(KILL)
    await until(lambda: len(bringing.Sink.starts) == 2)
    more = await plane.say(2)
    await until(lambda: set(more) <= set(bringing.Sink.written))
    assert sorted(set(bringing.Sink.written)) == [*seqs, *more]


async def test_what_a_sink_does_not_take_is_brought_again(planes: Any) -> None:
    bringing.Sink.refusals = 3
    plane = await planes(sink=(SINK, "Sink"))
    await until(lambda: plane.state("sink") is ModuleState.RUNNING)
    (seq,) = await plane.say(1)
    await until(lambda: seq in bringing.Sink.written)
    info = plane.extensions.board.infos["sink"]
    await until(lambda: info.state is ModuleState.RUNNING)
    assert (info.failures, info.calls, info.starts) == (3, info.calls, 1)
    said = [each.data["reason"] for each in plane.store.events.read(types="MODULE_STATE") if each.status == "DEGRADED"]
    assert said == ["OSError: the disk is full"]


async def test_one_that_does_not_start_is_shown_and_the_others_run(planes: Any) -> None:
    plane = await planes(bad=(SINK, "Broken"), counts=(STATE, "Counts"), sink=(SINK, "Sink"))
    await until(lambda: plane.state("sink") is ModuleState.RUNNING)
    await until(lambda: "cannot start: no place for bad" in plane.extensions.board.infos["bad"].reason)
    (info,) = plane.extensions.board.troubled()
    assert info.found.name == "bad"
    assert registry.whereis("modules.keeper") is not None
    assert await registry.via("modules.counts").call("a") == 1


async def test_a_state_manager_owns_its_table_over_its_own_crashes(planes: Any) -> None:
    plane = await planes(counts=(STATE, "Counts"))
    counts = registry.via("modules.counts")
    await counts.up()
    assert await counts.call("a", 5.0) == 1
    before = registry.whereis("modules.counts")
    with pytest.raises(Exception, match="asked to"):
        await counts.call("crash")
    await until(lambda: registry.whereis("modules.counts") not in (None, before))
    assert await counts.call("a") == 2
    assert plane.state("counts") is ModuleState.RUNNING


async def test_a_method_is_answered_refused_or_fails_alone(planes: Any) -> None:
    plane = await planes(echo=(HANDLER, "Echo"))
    await until(lambda: plane.state("echo") is ModuleState.RUNNING)
    methods = plane.extensions.methods()

    async def ask(params: Any) -> Any:
        return await methods.answer("acme/echo", params, service="hello", principal="local:ann")

    assert await ask({"a": 1, "_meta": {"x": 2}}) == {
        "result": {"params": {"a": 1}, "service": "hello", "principal": "local:ann"}
    }
    assert await ask({"do": "refuse"}) == {"error": {"code": -32001, "message": "no", "data": {"why": "asked"}}}
    assert (await ask({"do": "fail"}))["error"]["code"] == -32603
    assert plane.extensions.board.infos["echo"].reason == "acme/echo: RuntimeError: boom"
    assert (await ask({"do": "mumble"}))["error"]["message"] == "acme/echo: its extension failed"
    assert "result" in await ask(None)
    info = plane.extensions.board.infos["echo"]
    assert (info.state, info.calls, info.failures) == (ModuleState.RUNNING, 5, 2)
    assert "tools/call" not in methods


async def test_an_address_without_a_transport_says_so_and_one_that_breaks_is_no_crash(planes: Any) -> None:
    plane = await planes(memory=("henslowe.transports", "Memory"))
    await until(lambda: plane.state("memory") is ModuleState.RUNNING)
    board = plane.extensions.board
    connector: Any = PluggedConnector(None, plane.extensions.transport, board.called)  # type: ignore[arg-type]
    given = {"headers": {"a": "b"}, "on_server_event": None, "on_closed": None}
    with pytest.raises(InstanceFailed, match=r"no extension that runs has the scheme mcp\+vsock"):
        await connector.connect_http(None, None, "mcp+vsock://3", timeout_s=0.05, **given)
    bringing.Memory.missing = 2
    with pytest.raises(InstanceFailed, match=r"broken for good with \{'a': 'b'\}"):
        await connector.connect_http(None, None, "mcp+memory://x", timeout_s=5, **given)
    assert bringing.Memory.tries == 3
    assert board.infos["memory"].state is ModuleState.DEGRADED
