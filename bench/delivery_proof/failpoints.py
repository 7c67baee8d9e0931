"""Kills the delivery plane at every named failpoint of every transition, and looks at what its next life makes of it.

For each step of a service's life, for each failpoint, for each time that the step reaches it: the store and the
workspace are as they were before the step, the step begins, the process kills itself there. Another process opens the
store, lets the plane recover, and checks:

- at most one version ACTIVE and one CANARY, and the service's row points at them;
- the rows are what the lifecycle events replay to, and the routes and links what the rows say;
- what runs is what the rows want, and the artifacts of what may serve verify;
- a command that waited for hooks when the process died is done, and not by being given again;
- asked for the same step again, with the epoch that was seen before, the service ends where it ends without a kill:
  nothing is lost, and nothing happens twice.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from henslowe.actors import failpoints, names
from henslowe.actors.ids import BuildId
from henslowe.actors.kernel import Scheduler
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import (
    Action,
    Command,
    Created,
    CreateVersion,
    HooksAgreed,
    LineAction,
    LineCommand,
    NameVersion,
    Strategy,
    VersionBuilt,
)
from henslowe.actors.pipeline import release as releases
from henslowe.actors.router import route_of
from henslowe.actors.versions import LINE, OUTBOX, PENDING, SERVICES, VERSIONS, VersionRow, VersionState, replay
from henslowe.actors.versions.gates import Gate, Standing
from henslowe.actors.versions.line import replay_line
from henslowe.config.hooks import HookPoint
from henslowe.config.ramp import Plan
from henslowe.config.ramp import Step as CanaryStep
from henslowe.config.settings import StorageSettings
from henslowe.errors import Conflict
from henslowe.storage import Store
from henslowe.storage.capture import FLUSH, WRITER_NAME, Exchange
from tests.actors.delivery import HELLO, LAUNCH, Delivery, until

HITS_MAX: Final = 12
"""Times that one step reaches one failpoint, at most."""
NOT_REACHED, WRONG = 0, 3
LOOKS, LOOK_S = 10, 0.1
SETTINGS: Final = {"keep_versions": 2, "probation_s": 3600.0}

Step = Callable[[Delivery], Awaitable[None]]


async def _ship(plane: Delivery, source: str, strategy: Strategy, plan: Plan | None = None) -> None:
    """What the pipeline does for one edit: archive, lay out under the version's name, tell the version machine."""
    tree = plane.workspace / "work" / source
    tree.mkdir(parents=True, exist_ok=True)
    (tree / "server.py").write_text(f"print({source!r})\n")
    created: Created = await plane.call(CreateVersion(HELLO, source, strategy, 1_000, plan=plan or Plan()))
    if created.unchanged:
        return
    versions = plane.workspace / "archive" / HELLO
    staged = await asyncio.to_thread(releases.stage, plane.store.archive, tree, versions, created.version)
    semver = await plane.call(NameVersion(created.version, "1.0.0", staged.build))
    folder = await asyncio.to_thread(lambda: releases.release(staged, semver, facts={}))
    metadata = {"root": str(folder)}
    built = VersionBuilt(created.version, BuildId(staged.build), semver, LAUNCH, plane.contract, metadata=metadata)
    await plane.call(built)


def ships(source: str, strategy: Strategy = Strategy.IMMEDIATE, plan: Plan | None = None) -> Step:
    """The step of an edit, up to its serving."""

    async def step(plane: Delivery) -> None:
        await _ship(plane, source, strategy, plan)
        await until(lambda: _source_of(plane, "active") == source or _source_of(plane, "canary") == source)

    return step


def does(action: Action) -> Step:
    """The step of a person's command, with the epoch that the person saw."""

    async def step(plane: Delivery) -> None:
        await plane.call(Command(HELLO, action, "ann", expected_epoch=_seen_epoch))

    return step


async def held_edit(plane: Delivery) -> None:
    """An edit that waits until the service goes on."""
    if not plane.row.held and _source_of(plane, "active") != "held":
        await plane.call(Command(HELLO, Action.HOLD, "ann"))
    await _ship(plane, "held", Strategy.IMMEDIATE)
    if plane.row.held:
        await plane.call(Command(HELLO, Action.RESUME, "ann"))
    await until(lambda: _source_of(plane, "active") == "held")


async def frozen_edit(plane: Delivery) -> None:
    """An edit that waits for the end of a freeze."""
    if plane.row.freeze is None and _source_of(plane, "active") != "frozen":
        await plane.call(Command(HELLO, Action.FREEZE, "ann"))
    await _ship(plane, "frozen", Strategy.IMMEDIATE)
    await plane.call(Command(HELLO, Action.UNFREEZE, "ann"))
    await until(lambda: _source_of(plane, "active") == "frozen")


async def edit_on_a_stopped_line(plane: Delivery) -> None:
    """An edit that waits until the line is started."""
    if _source_of(plane, "active") != "stopped":
        await plane.call(LineCommand(LineAction.STOP, "ann"))
    await _ship(plane, "stopped", Strategy.IMMEDIATE)
    await plane.call(LineCommand(LineAction.START, "ann"))
    await until(lambda: _source_of(plane, "active") == "stopped")


async def gated_swap(plane: Delivery) -> None:
    """A blue-green swap that a person approves."""
    await _ship(plane, "green", Strategy.BLUE_GREEN, Plan(gate_first="owner", warm_s=3600))
    if _source_of(plane, "staged") == "green":
        await plane.call(Command(HELLO, Action.APPROVE, "ann"))
    await until(lambda: _source_of(plane, "active") == "green")


async def retried(plane: Delivery) -> None:
    """The build that was aborted, once more."""
    await plane.call(Command(HELLO, Action.RETRY, "ann", expected_epoch=_seen_epoch))
    await until(lambda: _source_of(plane, "canary") == "climbs")


async def replayed_edit(plane: Delivery) -> None:
    """An edit of a service of which a call was captured: it waits for the replay, which nobody makes here."""
    captures = plane.store.captures
    spec = captures.child_spec()
    writer = await spec.actor.start_link(*spec.args, parent=None, name=spec.name, **spec.kwargs)
    answer = {"result": {"content": []}}
    call = Exchange(HELLO, 1, "i", "u", True, "legacy", "tools/call", {"name": "look"}, answer, "ok", 0.01, True)
    captures.recorder.record(call)
    await registry.via(WRITER_NAME).call(FLUSH)
    await writer.stop(block=False)
    await ships("replayed")(plane)


class Agreeing:
    """Hooks that agree to the promotion of one version, a moment after they were asked, once in each life."""

    def __init__(self) -> None:
        self._asked: set[Gate] = set()

    def ask(self, gate: Gate, row: VersionRow, *, again: bool) -> Standing:  # noqa: ARG002 - they never refuse
        """How a gate stands."""
        if row.source_digest != "asked" or gate.point is not HookPoint.PROMOTE_BEFORE or gate in self._asked:
            return Standing.OPEN
        self._asked.add(gate)
        registry.via(names.VERSIONS).cast(HooksAgreed(gate.version, gate.epoch, gate.point))
        return Standing.WAITING


async def asked_promotion(plane: Delivery) -> None:
    """A promotion that waits for hooks; a life that finds it waiting is not told again."""
    await plane.call(Command(HELLO, Action.PROMOTE, "ann", expected_epoch=_seen_epoch))
    await until(lambda: _source_of(plane, "active") == "asked")


CLIMB: Final = Plan(
    steps=(CanaryStep(weight=5, gate="owner"), CanaryStep(weight=25, hold="forever"), CanaryStep(weight=50))
)
STEPS: Final[dict[str, Step]] = {
    "the first edit": ships("a"),
    "an edit": ships("b"),
    "a canary": ships("c", Strategy.CANARY),
    "its promotion": does(Action.PROMOTE),
    "another canary": ships("d", Strategy.CANARY),
    "its rollback": does(Action.ROLLBACK),
    "going back": does(Action.ROLLBACK),
    "an edit that was held": held_edit,
    "a restart": does(Action.RESTART),
    "an edit that pushes old ones out": ships("e"),
    "a canary over a canary": ships("f", Strategy.CANARY),
    "and another": ships("g", Strategy.CANARY),
    "a canary in steps": ships("climbs", Strategy.CANARY, CLIMB),
    "its gate": does(Action.APPROVE),
    "its second step": does(Action.PROMOTE),
    "its end of waiting": does(Action.RESUME),
    "its abort": does(Action.ABORT),
    "its retry": retried,
    "its first step again": does(Action.PROMOTE),
    "all of its way": does(Action.PROMOTE_FULL),
    "an edit in a freeze": frozen_edit,
    "an edit on a stopped line": edit_on_a_stopped_line,
    "a blue-green swap": gated_swap,
    "a canary that hooks are asked about": ships("asked", Strategy.CANARY),
    "its promotion once they agree": asked_promotion,
    "an edit that is replayed first": replayed_edit,
}

_seen_epoch = 0
_waited = False
"""Whether a command waited for hooks when this life began."""


@dataclass(slots=True)
class Figures:
    """What was found."""

    kills: int = 0
    problems: list[str] | None = None


def prove(steps_max: int = 0, points: Sequence[str] = failpoints.ALL) -> dict[str, Any]:
    """All kills of the first `steps_max` steps, 0 for all of them, at these failpoints."""
    found = Figures(problems=[])
    steps = list(STEPS)[: steps_max or None]
    with tempfile.TemporaryDirectory(prefix="prove-failpoints-") as folder:
        live, before = Path(folder, "live"), Path(folder, "before")
        live.mkdir()
        for name in steps:
            shutil.rmtree(before, ignore_errors=True)
            shutil.copytree(live, before, symlinks=True)
            _in_child(lambda name=name: asyncio.run(_life(live, STEPS[name])))
            unharmed = _happened(live)
            for point in points:
                _kill_at(name, point, (live, before), unharmed, found)
            _restore(live, before)
            _in_child(lambda name=name: asyncio.run(_life(live, STEPS[name])))
    return {"kills": found.kills, "steps": len(steps), "failpoints": len(points), "problems": found.problems}


def _kill_at(name: str, point: str, folders: tuple[Path, Path], unharmed: Counter[str], found: Figures) -> None:
    live, before = folders
    for hit in range(1, HITS_MAX + 1):
        _restore(live, before)
        status = _in_child(lambda hit=hit: asyncio.run(_life(live, STEPS[name], point, hit)))
        if not os.WIFSIGNALED(status):
            return
        found.kills += 1
        said = live / "said"
        status = _in_child(lambda said=said: asyncio.run(_check(live, STEPS[name], unharmed, said)))
        if status:
            text = said.read_text() if said.exists() else f"the checker ended with {status}"
            assert found.problems is not None
            found.problems.append(f"{name}, {point}, time {hit}: {text}")


def _restore(live: Path, before: Path) -> None:
    for entry in live.iterdir():
        _remove(entry)
    shutil.copytree(before, live, symlinks=True, dirs_exist_ok=True)


def _remove(entry: Path) -> None:
    if not entry.is_dir() or entry.is_symlink():
        entry.unlink()
        return
    for root, folders, _ in os.walk(entry):
        for folder in folders:
            if not Path(root, folder).is_symlink():
                Path(root, folder).chmod(0o700)
    shutil.rmtree(entry)


def _in_child(run: Callable[[], None]) -> int:
    """The exit status of a process that does it."""
    pid = os.fork()
    if pid == 0:
        code = WRONG
        try:
            run()
            code = NOT_REACHED
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


async def _plane(live: Path) -> tuple[Store, Any, Delivery]:
    global _seen_epoch, _waited
    logging.disable(logging.CRITICAL)  # in a process of its own, which is killed on purpose
    Scheduler.install()
    store = Store.open(live / "data", "n1", StorageSettings(map_size_gib=1))
    spec = store.child_spec()
    writer = await spec.actor.start_link(*spec.args, parent=None, name=spec.name)
    plane = Delivery(store, live / "workspace", **SETTINGS)
    plane.gates = Agreeing()
    row = store.table(SERVICES).lookup(HELLO)
    _seen_epoch = row.epoch if row is not None else 0
    _waited = len(store.table(PENDING)) > 0
    await plane.start()
    return store, writer, plane


async def _life(live: Path, step: Step, point: str = "", hit: int = 0) -> None:
    """A life in which the step is done, up to a failpoint."""
    store, writer, plane = await _plane(live)
    await _settled(plane)
    hits = 0

    def die() -> None:
        nonlocal hits
        hits += 1
        if hits == hit:
            os.kill(os.getpid(), signal.SIGKILL)

    if point:
        failpoints.arm(point, die)
    await step(plane)
    await _settled(plane)
    failpoints.disarm()
    await plane.stop()
    await writer.stop(block=False)
    store.close()


async def _check(live: Path, step: Step, unharmed: Counter[str], said: Path) -> None:
    """The life after a kill: what is wrong goes into a file, and the exit status."""
    wrong: list[str] = []
    # Before the plane moves on: what a person would have seen.
    seen = _epoch_before(live)
    store, _writer, plane = await _plane(live)
    try:
        await _settled(plane)
        if _waited and _source_of(plane, "active") != "asked":
            wrong.append("a command that waited was not done")
        wrong += await _still_wrong(plane)
        _set_seen(seen)
        with suppress(Conflict):  # it had happened already
            await step(plane)
        await _settled(plane)
        wrong += [f"after doing it again: {one}" for one in await _still_wrong(plane)]
        wrong += [f"{what} happened twice" for what in _counted(plane.store) - unharmed]
    except TimeoutError:
        wrong.append("it does not settle")
    finally:
        if wrong:
            said.write_text("; ".join(wrong))
            os._exit(WRONG)
        store.close()


def _epoch_before(live: Path) -> int:
    """The epoch before the step, from the copy beside."""
    before = Store.open(live.with_name("before") / "data", "n1", StorageSettings(map_size_gib=1))
    try:
        row = before.table(SERVICES).lookup(HELLO)
        return row.epoch if row is not None else 0
    finally:
        before.close()


def _set_seen(epoch: int) -> None:
    global _seen_epoch
    _seen_epoch = epoch


async def _settled(plane: Delivery) -> None:
    """Until nothing is left to do: the outbox is empty, no command waits, and what runs is what is wanted."""
    await until(lambda: len(plane.store.table(OUTBOX)) == 0 and len(plane.store.table(PENDING)) == 0)
    row = plane.store.table(SERVICES).lookup(HELLO)
    if row is not None:
        await until(lambda: not (_wanted(plane) - plane.up))


def _wanted(plane: Delivery) -> set[int]:
    row = plane.store.table(SERVICES).lookup(HELLO)
    return set(row.wanted) if row is not None else set()


def _source_of(plane: Delivery, place: str) -> str:
    row = plane.store.table(SERVICES).lookup(HELLO)
    version = plane.store.table(VERSIONS).lookup((HELLO, getattr(row, place))) if row is not None else None
    return version.source_digest if version is not None else ""


async def _still_wrong(plane: Delivery) -> list[str]:
    """What is wrong and stays so: a transition may be under way, whose events are on disk before its rows are seen."""
    for _ in range(LOOKS):
        wrong = _invariants(plane)
        if not wrong:
            break
        await asyncio.sleep(LOOK_S)
    return wrong


def _invariants(plane: Delivery) -> list[str]:
    store, wrong = plane.store, []
    row = store.table(SERVICES).lookup(HELLO)
    versions = {one.number: one for one in store.table(VERSIONS).rows()}
    for state, place in ((VersionState.ACTIVE, "active"), (VersionState.CANARY, "canary")):
        having = [number for number, one in versions.items() if one.state is state]
        pointed = [getattr(row, place)] if row is not None and getattr(row, place) else []
        if having != pointed:
            wrong.append(f"{state} are {having}, and the row says {pointed}")
    services, replayed = replay(store.events.scan(streams=("lifecycle",)))
    line = {one.name: one for one in store.table(LINE).rows()}
    if replayed != {one.key: one for one in versions.values()} or services.get(HELLO) != row:
        wrong.append("the events do not replay to the rows")
    if replay_line(store.events.scan(streams=("lifecycle",))) != line:
        wrong.append("the events do not replay to the row of the line")
    if row is None:
        return wrong
    if row.active and plane.routes.current.get(HELLO) != route_of(row):
        wrong.append("the route is not what the row says")
    for number in row.wanted:
        one = versions[number]
        store.archive.verify(one.build)
        if not (plane.workspace / "archive" / HELLO / one.folder / "server.py").exists():
            wrong.append(f"version {number} is not laid out")
    if extra := plane.up - set(row.wanted):
        wrong.append(f"instances of {sorted(extra)} run and are not wanted")
    for place in ("active", "canary", "staged"):
        number = getattr(row, place)
        expected = f"../archive/hello/{versions[number].folder}" if number else None
        if plane.link(place) != expected:
            wrong.append(f"the link {place} is {plane.link(place)}, expected {expected}")
    return wrong


def _happened(live: Path) -> Counter[str]:
    """How often each deployment happened so far."""
    store = Store.open(live / "data", "n1", StorageSettings(map_size_gib=1))
    try:
        return _counted(store)
    finally:
        store.close()


def _counted(store: Store) -> Counter[str]:
    """By source: an edit that was being built when the node died has another number in its next life."""
    found: Counter[str] = Counter()
    sources: dict[int, str] = {}
    for event in store.events.scan(streams=("lifecycle",)):
        data = event.data if isinstance(event.data, dict) else {}
        sources[event.version] = data.get("source_digest") or sources.get(event.version, "")
        if event.type == "COMMAND" and event.status not in ("SUCCESS", "PENDING"):
            found[f"{data['command']} that came to nothing ({data['message']})"] += 1
        if event.type in ("PROMOTE", "DEPLOY_COMPLETE", "CANARY_DEPLOY", "CANARY_STEP") and event.status == "SUCCESS":
            at = f" at step {data['step']}" if "step" in data else ""
            found[f"{event.type} of {sources[event.version] or event.version}{at}"] += 1
    return found
