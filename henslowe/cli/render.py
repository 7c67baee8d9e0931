"""How the node's replies look on a terminal: pure functions from a reply to lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from henslowe.cli.comparing import comparison_lines, replay_lines
from henslowe.cli.console import clean, clock, dim, duration, moment, table
from henslowe.words import counted

if TYPE_CHECKING:
    from henslowe.transport.admin.models.artifacts import VersionFactsReply
    from henslowe.transport.admin.models.events import EventReply, LineReply
    from henslowe.transport.admin.models.figures import SlotReply, WindowReply
    from henslowe.transport.admin.models.node import ActorReply, NodeReply
    from henslowe.transport.admin.models.services import FailureReply, HaltReply, ServiceReply, TestsReply
    from henslowe.transport.admin.models.versions import StageReply, VersionReply, VersionsReply

_DIGEST = re.compile("[0-9a-f]{64}")
DIGEST_CHARS = 12
"""As much of a SHA-256 as tells builds apart; --json has all of it."""
FIELDS_MAX = 10
"""Of an event on one line; --json has all of them."""
FAILURE_LINES_MAX = 12
"""Lines of a failure that `status` shows; `logs` has the rest."""
_GOOD, _BAD, _BUSY = "green", "red", "yellow"
_DIGESTS = {
    "sources": "source_digest",
    "environment": "env_digest",
    "lock": "lock_digest",
    "contract": "contract_digest",
}
_COLOURS = {
    "active": _GOOD, "ACTIVE": _GOOD, "SUCCESS": _GOOD, "HEALTHY": _GOOD,
    "failed": _BAD, "unhealthy": _BAD, "FAILED": _BAD, "UNHEALTHY": _BAD, "ROLLED_BACK": _BAD,
    "asleep": _GOOD,
    "canary": _BUSY, "probation": _BUSY, "building": _BUSY, "staged": _BUSY, "starting": _BUSY, "held": _BUSY,
    "CANARY": _BUSY, "STAGED": _BUSY, "DEVELOPMENT": _BUSY, "PENDING": _BUSY, "DEGRADED": _BUSY, "UNDECIDED": _BUSY,
}  # fmt: skip


def node_lines(node: NodeReply) -> Iterator[str]:
    """The screen of `henslowe status`."""
    health = click.style("ok", fg=_GOOD) if node.health.ok else click.style("unhealthy", fg=_BAD, bold=True)
    yield f"{click.style(node.name, bold=True)}  {node.url}  up {duration(node.uptime_s)}  {health}"
    for check in node.health.checks:
        if not check.ok:
            yield f"  {click.style('!', fg=_BAD)} {check.name}: {clean(check.detail)}"
        elif check.detail:
            yield f"  {click.style('-', fg=_BUSY)} {check.name}: {clean(check.detail)}"
    if node.stopped is not None:
        yield f"  {click.style('the line stands still', fg=_BAD, bold=True)}: {_halt(node.stopped)}"
    if node.freeze is not None:
        yield f"  {click.style('frozen', fg=_BUSY)}: {_halt(node.freeze)}"
    if not node.services:
        yield ""
        yield "no services yet"
    for service in node.services:
        yield ""
        yield from service_lines(service)


def service_lines(service: ServiceReply) -> Iterator[str]:
    """One service: its strip of states, then only the lines that have something to say."""
    state = coloured(service.state)
    yield f"{click.style(service.name, bold=True)}  {state}  {strip(service)}"
    if service.evidence:
        yield f"  evidence   {clean(service.evidence)}"
    if service.hooks:
        yield f"  hooks      {clean(service.hooks)}"
    if service.waiting is not None:
        why = f" ({clean(service.waiting.reason)})" if service.waiting.reason else ""
        since = moment(service.waiting.since_s)
        yield f"  {click.style('waiting', fg=_BUSY)}    {clean(service.waiting.words)}{why}, since {since}"
    if service.sources_gone:
        yield f"  {click.style('sources gone', fg=_BUSY)}: there is no dev/{service.name}; what serves goes on serving"
    if service.freeze is not None:
        yield f"  {click.style('frozen', fg=_BUSY)}     {_halt(service.freeze)}"
    if service.rollout is not None:
        yield f"  rollout    v{service.rollout.version} {clean(service.rollout.words)}"
    if service.comparison is not None:
        yield from comparison_lines(service.comparison)
    if service.replay is not None:
        yield f"  replay     v{service.replay.version}: {clean(service.replay.words)}"
    if service.held:
        yield "  held       the rollout stays as it is until resumed"
    yield from _running_lines(service)
    calls = service.calls
    if calls.total:
        latency = f", p50 {calls.p50_ms:.0f} ms" if calls.p50_ms is not None else ""
        latency += f", p95 {calls.p95_ms:.0f} ms" if calls.p95_ms is not None else ""
        yield f"  calls      {calls.total} total, {calls.failed} failed, {calls.per_minute:.1f}/min{latency}"
    if service.failure is not None:
        failure = service.failure
        if failure.stage == "rollback":
            yield f"  {click.style('taken back', fg=_BUSY)} v{failure.version}:"
        else:
            yield f"  {click.style('failed', fg=_BAD)}     v{failure.version} at {failure.stage}:"
        lines = clean(failure.reason).strip("\n").split("\n")
        if len(lines) > FAILURE_LINES_MAX:
            yield dim(f"    ... {counted(len(lines) - FAILURE_LINES_MAX, 'line')} above")
        yield from (f"    {line}" for line in lines[-FAILURE_LINES_MAX:])
        if failure.tests is not None:
            yield from (f"    {line}" for line in test_lines(failure.tests))


def _halt(halt: HaltReply) -> str:
    """Until when nothing new is deployed, and why: `until 2026-11-23 08:00 (weekend)`, `by ann (incident)`."""
    until = f"until {moment(halt.until_s)} " if halt.until_s else ""
    by = f"by {clean(halt.by)} " if halt.by else ""
    return f"{until}{by}" + (f"({clean(halt.why)})" if halt.why else "")


def _running_lines(service: ServiceReply) -> Iterator[str]:
    """What runs, and how that is."""
    if service.scale is not None and service.scale.wake_failure:
        yield f"  {click.style('not woken', fg=_BAD)}  {clean(service.scale.wake_failure).partition(chr(10))[0]}"
    if service.instances:
        yield "  instances  " + ", ".join(
            f"{each.id} {each.state}"
            + (f" ({counted(each.restarts, 'restart')})" if each.restarts else "")
            + (f" {each.rss_bytes / 2**20:.0f} MiB" if each.rss_bytes else "")
            + ("" if each.breaker == "closed" else f", breaker {each.breaker.replace('_', '-')}")
            for each in service.instances
        )
    for health in service.health:
        if health.passed:
            yield f"  {click.style('beyond', fg=_BAD)}     v{health.version}: {clean(health.passed)}"


def strip(service: ServiceReply) -> str:
    """Where its versions are: `dev v5 test | staged - | canary v4 10% | active v3`."""
    percent = f" {service.canary_percent:g}%" if service.canary is not None else ""
    places = (
        ("dev", service.building, ""),
        ("staged", service.staged, ""),
        ("canary", service.canary, percent),
        ("active", service.active, ""),
    )
    return dim(" | ").join(_place(name, slot, more) for name, slot, more in places)


def next_step(node: NodeReply) -> str:
    """The most useful thing to do after looking at the status."""
    if node.stopped is not None:
        return "henslowe start-the-line"
    for service in node.services:
        if service.sources_gone:
            return f"henslowe remove {service.name}, or put dev/{service.name} back"
        if service.failure is not None:
            return _way_on(service, service.failure)
        if service.waiting is not None and service.waiting.waits_for == "hooks":
            return f"henslowe hooks {service.name}"
        if service.rollout is not None and service.rollout.waits_for == "gate":
            return f"henslowe promote {service.name} --step"
        if service.held or (service.rollout is not None and service.rollout.waits_for == "resume"):
            return f"henslowe resume {service.name}"
        if service.canary is not None:
            return f"henslowe promote {service.name}, or henslowe rollback {service.name}"
    if not node.services:
        return f"put an MCP server into {node.workspace}/dev/NAME/server.py"
    return "edit a file under dev/, or connect a client: henslowe client snippet"


def _way_on(service: ServiceReply, failure: FailureReply) -> str:
    """What to do about a failure: mend what no log says more about, else read the log."""
    if failure.stage == "manifest":
        return f"edit dev/{service.name}/service.toml and save: it is built again by itself"
    if failure.stage == "start" and service.kind == "declared":
        return f"correct [services.{service.name}] in henslowe.toml, then restart the node"
    return f"henslowe logs {service.name} --version {failure.version}"


def health_lines(services: Iterable[ServiceReply]) -> Iterator[str]:
    """The screen of `henslowe health`: versions and their instances with the figures of the last minutes."""
    rows = []
    for service in services:
        for version in service.health:
            rows.append((f"{service.name}@{version.version}", "", *_figures(version.window), ""))
            rows += [
                (f"  {each.id}", each.state, *_figures(each.window), f"{(each.rss_bytes or 0) / 2**20:.0f} MiB")
                for each in service.instances
                if each.version == version.version
            ]
    if not rows:
        yield "no calls in the last minutes"
        return
    yield from table(rows, ("what", "state", "calls", "success", "p50", "p95", "p99", "memory"))


def _figures(window: WindowReply | None) -> tuple[str, ...]:
    if window is None:
        return ("-",) * 5
    times = (window.p50_ms, window.p95_ms, window.p99_ms)
    return (
        f"{window.calls} in {duration(window.window_s)}",
        f"{window.success_rate:.1%}",
        *("-" if each is None else f"{each:.1f} ms" for each in times),
    )


def versions_lines(reply: VersionsReply) -> Iterator[str]:
    """The screen of `henslowe versions`."""
    rows = [
        (
            f"v{each.version}",
            coloured(each.state) + (" (permanent)" if each.permanent else "") + (" (pinned)" if each.pinned else ""),
            each.semver or "-",
            each.build[:DIGEST_CHARS] or "-",
            moment(each.created_s),
            " ".join(map(_stage, each.stages)) or "-",
            clean(each.reason).strip().partition("\n")[0][:80],
        )
        for each in reply.versions
    ]
    yield from table(rows, ("version", "state", "semver", "build", "created", "stages", "reason"))
    for each in reply.versions:
        yield from _contract_lines(each)
        if each.replay is not None and each.replay.found not in ("alike", "unknown"):
            yield ""
            yield f"v{each.version} before it met a client:"
            yield from (f"  {line}" for line in replay_lines(each.replay))
    if not rows:
        yield f"{reply.service} has no versions yet"


def facts_lines(version: VersionFactsReply) -> Iterator[str]:
    """The screen of `henslowe versions SERVICE N`."""
    from henslowe.transport.admin.models.figures import ReplayReply
    from henslowe.transport.admin.models.versions import StageReply

    facts = version.facts
    stages: dict[str, dict[str, Any]] = facts.get("stages", {})
    yield f"{click.style(f'{version.service} v{version.version}', bold=True)}  {coloured(version.state)}"
    digests = {name: str(facts.get(key) or "") for name, key in _DIGESTS.items()}
    rows = {
        "semver": version.semver,
        "build": version.build[:DIGEST_CHARS],
        "created": moment(version.created_s),
        "by": facts.get("by", ""),
        "why": facts.get("why", ""),
        **{name: digest[:DIGEST_CHARS] for name, digest in digests.items()},
        "isolation": facts.get("isolation", ""),
        "package": _package(facts.get("resolved", {})),
        "speaks": " and ".join(facts.get("eras", ())),
        "offers": ", ".join(f"{count} {name}" for name, count in facts.get("offers", {}).items()),
        "reason": version.reason.strip().partition("\n")[0][:120],
    }
    yield from table([(f"  {name}", clean(str(value))) for name, value in rows.items() if value])
    if replay := facts.get("replay"):
        yield ""
        yield from (f"  {line}" for line in replay_lines(ReplayReply(version=version.version, **_replayed(replay))))
    if stages:
        yield ""
    for name, stage in stages.items():
        reply = StageReply.of(name, stage)
        yield f"  {name}  {coloured(reply.status)}  {dim(_took(reply, replayed=bool(stage.get('cached'))))}"
        if reply.tests is not None:
            yield from (f"    {line}" for line in test_lines(reply.tests))
        if reply.coverage_percent is not None:
            yield f"    {reply.coverage_percent:g}% of the lines covered"


def _package(resolved: dict[str, Any]) -> str:
    """What a server from a registry is: exact, or why it is not."""
    if not resolved or resolved["exact"]:
        return str(resolved.get("package", ""))
    return f"not exact, each start may fetch another: {resolved['why']}"


def _replayed(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "against": facts["against"],
        "found": facts["found"] or "running",
        "words": facts["why"] or "captured calls are being replayed",
        "report": facts["report"],
    }


def test_lines(tests: TestsReply) -> Iterator[str]:
    """What tests came to, and the failing ones."""
    skipped = f", {tests.skipped} skipped" if tests.skipped else ""
    count = counted(tests.total, "test")
    yield f"{tests.failed} of {count} failed{skipped}" if tests.failed else f"{count}{skipped}"
    for failed in tests.failures:
        said = clean(failed.message).strip().partition("\n")[0]
        yield f"  {click.style(clean(failed.name), fg=_BAD)}{f': {said}' if said else ''}"
    if tests.failed > len(tests.failures):
        yield f"  and {tests.failed - len(tests.failures)} more"


def _took(stage: StageReply, *, replayed: bool) -> str:
    return "not changed: replayed" if replayed else duration(stage.took_s or 0.0)


def _stage(stage: StageReply) -> str:
    """A stage in a column: `test:failed(2/14)`."""
    tests = stage.tests
    counts = "" if tests is None else f"({tests.failed}/{tests.total})" if tests.failed else f"({tests.total})"
    return f"{stage.name}:{stage.status.lower()}{counts}"


def _contract_lines(version: VersionReply) -> Iterator[str]:
    """What a version changes for clients; nothing where only words changed."""
    contract = version.contract
    if contract is None or contract.step in ("none", "patch"):
        return
    yield ""
    yield f"v{version.version} changes for clients of v{contract.against} ({contract.step}):"
    for change in contract.changes:
        if change.step != "patch":
            yield f"  {change.step:<5}  {clean(change.subject)}: {clean(change.text)}"
    if contract.more:
        yield f"  and {contract.more} more"


def tree_lines(actor: ActorReply, indent: str = "") -> Iterator[str]:
    """The screen of `henslowe tree`."""
    if not indent:
        yield _actor(actor)
    for index, child in enumerate(actor.children):
        last = index == len(actor.children) - 1
        yield f"{indent}{'└─' if last else '├─'} {_actor(child)}"
        yield from tree_lines(child, indent + ("   " if last else "│  "))


def event_line(event: EventReply) -> str:
    """One event on one line."""
    who = f"{event.service}@{event.version}" if event.version else event.service or "node"
    # Rows and other structures are for programs (--json); a person wants the first words and numbers.
    said = [(key, value) for key, value in event.data.items() if _is_a_word(value) and value not in ("", [], None)]
    data = " ".join(f"{key}={_short(value)}" for key, value in said[:FIELDS_MAX]) + " ..." * (len(said) > FIELDS_MAX)
    status = click.style(f"{event.status:<9}", fg=_COLOURS.get(event.status))
    return f"{dim(clock(event.time_s))} {who:<20} {event.type:<20} {status} {dim(data)}".rstrip()


def line_line(line: LineReply) -> str:
    """One printed line with who printed it."""
    mark = click.style("!", fg=_BUSY) if line.channel == "stderr" else " "
    return f"{dim(clock(line.time_s))} v{line.version} {line.source or '-'} {mark} {clean(line.line)}"


def _is_a_word(value: object) -> bool:
    if isinstance(value, list):
        return all(not isinstance(each, dict) for each in value)
    return not isinstance(value, dict)


def coloured(word: str) -> str:
    """A state or status in its colour."""
    return click.style(word, fg=_COLOURS.get(word))


def _place(name: str, slot: SlotReply | None, more: str) -> str:
    if slot is None:
        return dim(f"{name} -")
    detail = f" {clean(slot.detail)}" if slot.detail else ""
    return f"{name} {click.style(f'v{slot.version}', bold=True)}{more}{detail}"


def _actor(actor: ActorReply) -> str:
    details = [actor.strategy or actor.kind, actor.state]
    if actor.os_pid is not None:
        details.append(f"pid {actor.os_pid}")
    details.append(f"mailbox {actor.mailbox_depth}")
    restarts = f"restarts {actor.restarts}"
    details.append(click.style(restarts, fg=_BUSY) if actor.restarts else restarts)
    return f"{actor.id}  {dim(', '.join(details))}"


def _short(value: object) -> str:
    if isinstance(value, list):
        value = ",".join(map(str, value))
    text = clean(str(value)).replace("\n", " ")
    if _DIGEST.fullmatch(text):
        return text[:DIGEST_CHARS]
    return text if len(text) <= 60 else f"{text[:57]}..."
