"""Words of `service.toml` about shipping are taken over without a build; the sources decide what is one."""

from dataclasses import replace
from typing import Any

import pytest

from henslowe.actors.ids import VersionKey
from henslowe.actors.messages import CreateVersion, Strategy, VersionBroken
from henslowe.actors.versions.rows import VersionState
from henslowe.config.exposure import Exposure
from henslowe.config.hooks import Hook, named
from henslowe.config.manifest import Delivery
from henslowe.config.settings import DeliverySettings
from tests.actors.versions.life import HELLO, MANY, Service


def said(source: str, strategy: Strategy = Strategy.IMMEDIATE, **delivery: Any) -> CreateVersion:
    words = Delivery(**delivery)
    return CreateVersion(
        HELLO,
        source,
        strategy,
        1_000,
        plan=words.plan_of(DeliverySettings()),
        health=words.health,
        scale=words.scale,
    )


LIMITS = {"health": {"max_error_rate": 0.2}}


@pytest.fixture
def hello() -> Service:
    service = Service()
    service.ship("a")
    return service


def test_the_same_sources_with_other_words_make_no_version(hello: Service) -> None:
    hello.do(said("a", Strategy.CANARY, **LIMITS))
    assert hello.states() == {1: "ACTIVE"}
    assert hello.events() == ["VERSION_CONFIGURED SUCCESS"]
    row = hello.state.versions[1]
    assert row.health.max_error_rate == 0.2
    assert (row.strategy, hello.row.strategy) == (Strategy.CANARY, Strategy.CANARY)
    assert hello.last.events[0].data["changed"] == ["health", "strategy"]
    assert hello.effects() == [], "nobody is routed otherwise"


def test_the_epoch_goes_on_where_the_hooks_of_a_version_on_its_way_are_others(hello: Service) -> None:
    hello.units = MANY
    hello.up(hello.build("b"))
    epoch = hello.row.epoch
    asked = named((Hook.model_validate({"on": "promote:before", "command": "true"}),))
    hello.do(replace(said("b"), hooks=asked))
    assert (hello.row.canary, hello.row.epoch) == (2, epoch + 1), "what was agreed to was asked of others"
    hello.do(replace(said("b", Strategy.CANARY, **LIMITS), hooks=asked))
    assert hello.events() == ["VERSION_CONFIGURED SUCCESS"] * 2
    assert hello.row.epoch == epoch + 1, "what was said of the canary holds: it is the same rollout"


def test_the_epoch_goes_on_where_routes_are_others(hello: Service) -> None:
    epoch = hello.row.epoch
    shown = Exposure(sticky="principal")
    hello.do(replace(said("a"), exposure=shown))
    assert (hello.row.exposure, hello.row.epoch) == (shown, epoch + 1)
    assert hello.effects() == ["routes:0", "links:0"]
    asked = named((Hook.model_validate({"on": "promote:before", "command": "true"}),))
    hello.do(replace(said("a"), exposure=shown, hooks=asked))
    assert (hello.state.versions[1].hooks, hello.row.epoch) == (asked, epoch + 1)


def test_the_same_words_again_change_nothing(hello: Service) -> None:
    hello.do(said("a", **LIMITS))
    epoch = hello.row.epoch
    assert hello.do(said("a", **LIMITS)).events == ()
    assert hello.row.epoch == epoch


def test_a_rollout_that_is_under_way_ends_as_it_began(hello: Service) -> None:
    hello.units = MANY
    hello.up(hello.build("b"))
    steps = [{"weight": 50}]
    hello.do(said("b", Strategy.CANARY, steps=steps, **LIMITS))
    canary, active = hello.state.versions[2], hello.state.versions[1]
    assert canary.state is VersionState.CANARY
    assert canary.plan.steps == ()
    assert canary.health == active.health
    assert canary.health.max_error_rate == 0.2
    later = {event.version: event.data["later"] for event in hello.last.events}
    assert later == {1: [], 2: ["strategy", "plan"]}


def test_a_manifest_that_cannot_be_used_leaves_the_words_as_they_were_and_is_forgotten_once_mended(
    hello: Service,
) -> None:
    hello.do(said("a", Strategy.CANARY, **LIMITS))
    number = hello.do(replace(said("broken", Strategy.AUTO), refused=True)).reply.version.number
    hello.do(VersionBroken(VersionKey(HELLO, number), "manifest", "no such key"))
    assert hello.states() == {1: "ACTIVE", 2: "FAILED"}
    assert hello.row.strategy is Strategy.CANARY
    assert hello.state.versions[1].health.max_error_rate == 0.2
    mended = hello.do(said("a", Strategy.CANARY, **LIMITS))
    assert mended.reply.unchanged
    assert hello.states() == {1: "ACTIVE", 2: "SUPERSEDED"}
    assert hello.do(said("c")).reply.version.number == 3
