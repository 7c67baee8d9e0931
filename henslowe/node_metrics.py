"""The node's own figures for Prometheus, read at each scrape: nothing is counted twice and nothing runs in between.

| metric | labels | what |
|---|---|---|
| henslowe_up_seconds | | since the start |
| henslowe_actors | kind | living actors in the tree |
| henslowe_actor_mailbox_depth | name | messages that wait, of actors with a well-known name |
| henslowe_actor_restarts_total | name | starts after the first one, by the present supervisor |
| henslowe_dead_letters_total | | messages to the dead, since the start |
| henslowe_zombies | | killed tasks and threads that still run |
| henslowe_loop_stalls_total | | times that a handler held up the loop |
| henslowe_events | stream | events in the log |
| henslowe_commits_waiting | | transactions that wait for the writer |
| henslowe_storage_bytes | environment, kind | size of an environment: `used`, `file` |
| henslowe_storage_degraded | | 1 while the disk refuses writes |
| henslowe_storage_findings | | damage that is known and not healed |
| henslowe_storage_healed_total | | damage that was put right, since the start |
| henslowe_rows_quarantined | | damaged rows that were moved aside |
| henslowe_scrub_finished_seconds | | Unix time of the end of the last scrub |
| henslowe_storage_reads_pinned | environment | read transactions that are open for too long |
| henslowe_captures | | exchanges in the record |
| henslowe_capture_total | outcome | exchanges `stored`, `sampled_out`, `over_rate`, `dropped` (queue full), `failed` |
| henslowe_disk_free_bytes | | where the data directory is |
| henslowe_hooks_total | on, outcome | hooks that ended: `done`, `failed` |
| henslowe_hooks_waiting | | hooks that are to be run, run, or wait for another try |
| henslowe_modules | kind, state | extensions of the node |
| henslowe_module_calls_total | module, outcome | calls of extensions: `done`, `failed` |
| henslowe_service_healthy | service | 1 when calls can be answered now |
| henslowe_service_versions | service, state | versions by state |
| henslowe_service_canary_percent | service | share of the canary, 0 without one |
| henslowe_service_rollout_step | service | step of the canary, from 1 on, 0 without one |
| henslowe_service_frozen | service | 1 while a freeze or the stopped line keeps new versions |
| henslowe_service_replays | service, found | replays of captured calls: `alike`, `differs`, `fails`, `unknown` |

The gateway's figures are in `henslowe.transport.gateway.metrics`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from henslowe.actors.endpoints import EndpointDirectory
from henslowe.actors.hooks import HOOKS, HookBoard, HookState
from henslowe.actors.kernel import Ref, statistics
from henslowe.actors.modules import ModuleBoard
from henslowe.actors.versions import LINE, SERVICES, VERSIONS
from henslowe.actors.versions.line import halts_of
from henslowe.actors.versions.waiting import frozen
from henslowe.config.settings import Settings
from henslowe.storage import Store
from henslowe.storage.capture import CaptureInfo
from henslowe.supervisors import TreeNode, tree_snapshot


class MeasuredNode(Protocol):
    """What is measured, as `henslowe.node.Node` is one."""

    @property
    def store(self) -> Store:
        """Tables, log and environment."""
        ...

    @property
    def root(self) -> Ref:
        """The root supervisor."""
        ...

    @property
    def settings(self) -> Settings:
        """What it was told."""
        ...

    @property
    def started_s(self) -> float:
        """Unix time."""
        ...

    @property
    def directory(self) -> EndpointDirectory:
        """Endpoints that are up."""
        ...

    @property
    def hook_board(self) -> HookBoard:
        """How hooks went."""
        ...

    @property
    def module_board(self) -> ModuleBoard:
        """How extensions do."""
        ...

    @property
    def stalls(self) -> int:
        """Times that a handler held up the loop."""
        ...


class NodeCollector(Collector):
    """Reads one node. Runs in: the node's loop."""

    def __init__(self, node: MeasuredNode) -> None:
        self._node = node

    def describe(self) -> Iterable[Metric]:
        """Nothing is read at registration: the tree does not stand yet."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All figures, now."""
        node = self._node
        yield _gauge("henslowe_up_seconds", "Since the start.", time.time() - node.started_s)
        yield from self._actors()
        kernel = statistics()
        yield CounterMetricFamily("henslowe_dead_letters", "Messages to the dead.", kernel.dead_letters)
        yield _gauge("henslowe_zombies", "Killed tasks and threads that still run.", kernel.zombies)
        yield CounterMetricFamily("henslowe_loop_stalls", "Times that a handler held up the loop.", node.stalls)
        yield from self._storage()
        yield from self._services()
        yield from self._hooks()
        yield from self._modules()

    def _actors(self) -> Iterator[Metric]:
        kinds: Counter[str] = Counter()
        depth = GaugeMetricFamily("henslowe_actor_mailbox_depth", "Messages that wait.", labels=("name",))
        restarts = CounterMetricFamily("henslowe_actor_restarts", "Starts after the first one.", labels=("name",))
        for actor in _flat(tree_snapshot(self._node.root)):
            kinds[actor.kind] += actor.pid is not None
            if actor.name:
                depth.add_metric((actor.name,), actor.mailbox_depth)
                restarts.add_metric((actor.name,), actor.restarts)
        actors = GaugeMetricFamily("henslowe_actors", "Living actors.", labels=("kind",))
        for kind, count in sorted(kinds.items()):
            actors.add_metric((kind,), count)
        yield from (actors, depth, restarts)

    def _storage(self) -> Iterator[Metric]:
        info = self._node.store.info()
        events = GaugeMetricFamily("henslowe_events", "Events in the log.", labels=("stream",))
        for stream, count in info.events.items():
            events.add_metric((stream,), count)
        yield events
        yield _gauge("henslowe_commits_waiting", "Transactions that wait for the writer.", info.commits_waiting)
        size = GaugeMetricFamily("henslowe_storage_bytes", "Size of an environment.", labels=("environment", "kind"))
        sizes = {"core": info.core, "cache": info.cache, "capture": info.capture.env}
        for environment, figures in sizes.items():
            if figures is not None:
                size.add_metric((environment, "used"), figures.used_bytes)
                size.add_metric((environment, "file"), figures.file_bytes)
        yield size
        yield _gauge("henslowe_storage_degraded", "Whether the disk refuses writes.", float(bool(info.degraded)))
        pinned = GaugeMetricFamily("henslowe_storage_reads_pinned", "Reads open for too long.", labels=("environment",))
        reads = Counter(read.environment for read in info.pinned)
        for environment in sizes:
            pinned.add_metric((environment,), reads[environment])
        yield pinned
        integrity = self._node.store.scrubbing.integrity
        yield _gauge("henslowe_storage_findings", "Damage that is known and not healed.", len(integrity.findings))
        yield _gauge("henslowe_rows_quarantined", "Damaged rows moved aside.", len(self._node.store.quarantined()))
        yield _gauge("henslowe_scrub_finished_seconds", "Unix time of the last whole scrub.", integrity.finished_s)
        yield CounterMetricFamily("henslowe_storage_healed", "Damage that was put right.", integrity.healed)
        yield from self._captures(info.capture)
        yield _gauge("henslowe_disk_free_bytes", "Free where the data directory is.", info.disk_free_bytes)

    def _captures(self, info: CaptureInfo) -> Iterator[Metric]:
        yield _gauge("henslowe_captures", "Exchanges in the record.", info.exchanges)
        outcomes = CounterMetricFamily("henslowe_capture", "Exchanges to be recorded.", labels=("outcome",))
        counts = info.counts
        figures = {"stored": info.stored, "sampled_out": counts.sampled_out, "over_rate": counts.over_rate}
        for outcome, count in {**figures, "dropped": counts.dropped, "failed": info.failed}.items():
            outcomes.add_metric((outcome,), count)
        yield outcomes

    def _hooks(self) -> Iterator[Metric]:
        ended = CounterMetricFamily("henslowe_hooks", "Hooks that ended.", labels=("on", "outcome"))
        for labels, count in sorted(self._node.hook_board.ended.items()):
            ended.add_metric(labels, count)
        rows = self._node.store.table(HOOKS).rows()
        waiting = sum(row.state is HookState.WAITING for row in rows)
        yield from (ended, _gauge("henslowe_hooks_waiting", "Hooks that are not done.", waiting))

    def _modules(self) -> Iterator[Metric]:
        infos = tuple(self._node.module_board.infos.values())
        states = GaugeMetricFamily("henslowe_modules", "Extensions of the node.", labels=("kind", "state"))
        for labels, count in sorted(Counter((each.found.kind.value, each.state.value) for each in infos).items()):
            states.add_metric(labels, count)
        calls = CounterMetricFamily("henslowe_module_calls", "Calls of extensions.", labels=("module", "outcome"))
        for each in infos:
            calls.add_metric((each.found.name, "done"), each.calls - each.failures)
            calls.add_metric((each.found.name, "failed"), each.failures)
        yield from (states, calls)

    def _services(self) -> Iterator[Metric]:
        node = self._node
        healthy = GaugeMetricFamily("henslowe_service_healthy", "Whether calls can be answered.", labels=("service",))
        states = GaugeMetricFamily("henslowe_service_versions", "Versions by state.", labels=("service", "state"))
        replays = GaugeMetricFamily("henslowe_service_replays", "Replays by result.", labels=("service", "found"))
        percent = GaugeMetricFamily("henslowe_service_canary_percent", "Share of the canary.", labels=("service",))
        step = GaugeMetricFamily("henslowe_service_rollout_step", "Step of the canary.", labels=("service",))
        still = GaugeMetricFamily("henslowe_service_frozen", "Whether new versions wait.", labels=("service",))
        halts = halts_of(node.store.table(LINE), node.settings.freeze.windows, time.time())
        for row in node.store.table(SERVICES).rows():
            if row.retired:
                continue  # what was ended on purpose is not to be reported as down
            up = bool(row.active and node.directory.of(row.key_of(row.active)))
            healthy.add_metric((row.service,), float(up))
            percent.add_metric((row.service,), row.canary_weight / 100 if row.canary else 0.0)
            step.add_metric((row.service,), row.step)
            still.add_metric((row.service,), float(frozen(row, None, halts) is not None))
            versions = node.store.table(VERSIONS).by("service", row.service)
            found = Counter(each.rehearsal.found for each in versions if each.rehearsal and each.rehearsal.found)
            for result, count in sorted(found.items()):
                replays.add_metric((row.service, result), count)
            counts = Counter(version.state for version in versions)
            for state, count in sorted(counts.items()):
                states.add_metric((row.service, state.value), count)
        yield from (healthy, states, replays, percent, step, still)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value)


def _flat(node: TreeNode) -> Iterator[TreeNode]:
    yield node
    for child in node.children:
        yield from _flat(child)
