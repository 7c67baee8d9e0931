"""What calls leave behind: figures as Prometheus reads them, and hints of tools found by name."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from henslowe.actors.endpoints import Contract
from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.routes import Outcome
from henslowe.transport.gateway import call_figures
from henslowe.transport.gateway.call_figures import CallFigures
from henslowe.transport.gateway.tool_hints import hints_of

HELLO = VersionKey(ServiceName("hello"), 1)
CALLS, SECONDS = "henslowe_gateway_calls_total", "henslowe_gateway_call_seconds"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def figures(registry: CollectorRegistry) -> CallFigures:
    found = CallFigures()
    registry.register(found)
    return found


def test_calls_are_counted_by_version_and_outcome(figures: CallFigures, registry: CollectorRegistry) -> None:
    for outcome in (Outcome.OK, Outcome.OK, Outcome.TIMEOUT):
        figures.ended(HELLO, outcome, 0.0)
    labels = {"service": "hello", "version": "1"}
    assert registry.get_sample_value(CALLS, {**labels, "outcome": "ok"}) == 2
    assert registry.get_sample_value(CALLS, {**labels, "outcome": "timeout"}) == 1


def test_buckets_hold_what_took_at_most_their_bound(figures: CallFigures, registry: CollectorRegistry) -> None:
    for seconds in (0.0005, 0.001, 0.0011, 0.5, 1_000.0):
        figures.ended(HELLO, Outcome.OK, seconds)

    def up_to(bound: str) -> float | None:
        return registry.get_sample_value(f"{SECONDS}_bucket", {"service": "hello", "le": bound})

    assert [up_to(bound) for bound in ("0.001", "0.0025", "0.25", "0.5", "300.0", "+Inf")] == [2, 3, 3, 4, 4, 5]
    assert registry.get_sample_value(f"{SECONDS}_count", {"service": "hello"}) == 5
    assert registry.get_sample_value(f"{SECONDS}_sum", {"service": "hello"}) == pytest.approx(1_000.5026)


def test_the_oldest_version_is_forgotten_beyond_the_limit(
    figures: CallFigures, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_figures, "LABELS_MAX", 2)
    for number in (1, 2, 3):
        figures.ended(HELLO._replace(number=number), Outcome.OK, 0.0)
    text = generate_latest(registry).decode()
    assert [number for number in "123" if f'version="{number}"' in text] == ["2", "3"]


def test_hints_are_found_by_name_and_follow_the_contract() -> None:
    before = Contract(tools=({"name": "a", "annotations": {"readOnlyHint": True}}, {"name": "b"}), digest="1")
    after = Contract(tools=({"name": "a", "annotations": "rubbish"},), digest="2")
    for _ in range(2):
        assert hints_of(before, "a") == {"readOnlyHint": True}
        assert hints_of(after, "a") == {}
    assert hints_of(before, "b") == hints_of(before, "c") == hints_of(before, 7) == {}


def test_contracts_without_a_digest_are_not_taken_for_each_other() -> None:
    one, other = Contract(tools=({"name": "a", "annotations": {"x": 1}},)), Contract(tools=({"name": "a"},))
    assert (hints_of(one, "a"), hints_of(other, "a")) == ({"x": 1}, {})
