"""`[[steps]]` and `[gates]`: what may be said, and what is said about a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from henslowe.config.manifest import read_manifest
from henslowe.config.ramp import Plan, Step
from henslowe.config.settings import DeliverySettings
from henslowe.errors import ManifestError


def plan_of(folder: Path, text: str) -> Plan:
    (folder / "server.py").touch()
    (folder / "service.toml").write_text(text)
    return read_manifest(folder, folder.name).plan_of(DeliverySettings())


def test_a_service_without_steps_has_one_of_its_weight_that_lasts_until_the_verdict(tmp_path: Path) -> None:
    (step,) = plan_of(tmp_path, "").steps_of(1_000)
    assert (step.weight, step.min_calls, step.hold, step.gate) == (10.0, 0, 0.0, None)


def test_steps_are_read_in_order_with_their_defaults(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        '[[steps]]\nweight = 5\n[[steps]]\nweight = 25.5\nmin_calls = 50\nhold = "forever"\ngate = "owner"\n',
    )
    assert plan.steps == (Step(weight=5), Step(weight=25.5, min_calls=50, hold="forever", gate="owner"))
    assert [step.parts for step in plan.steps] == [500, 2_550]


def test_the_gate_before_promotion_is_the_gate_of_the_last_step(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, '[[steps]]\nweight = 5\n[[steps]]\nweight = 50\n[gates]\nbefore_promotion = "owner"\n')
    assert [step.gate for step in plan.steps_of(1_000)] == [None, "owner"]


def test_after_a_blue_green_swap_the_version_before_stays_warm_for_a_time(tmp_path: Path) -> None:
    assert plan_of(tmp_path, 'strategy = "blue-green"').warm_s == 600
    assert plan_of(tmp_path, 'strategy = "blue-green"\nwarm_s = 30').warm_s == 30
    assert plan_of(tmp_path, "").warm_s is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[steps]]\nweight = 5\n[[steps]]\nweight = 5", "steps: expected each weight above the one before"),
        ("[[steps]]\nweight = 100", "steps: expected a first step below 100 percent"),
        ("[[steps]]\nweight = 0.001", "steps.0.weight: expected at least 0.01 percent"),
        ("[[steps]]\nmin_calls = 5", "steps.0.weight: expected a value, got none"),
        ("[[steps]]\nwieght = 5", "steps.0.wieght: expected one of gate, hold, min_calls, weight, got 'wieght'"),
        ("[[steps]]\nweight = 5\nhold = 'soon'", 'steps.0.hold: expected seconds from 0 to 2592000, or "forever"'),
        ("[[steps]]\nweight = 5\ngate = ''", "steps.0.gate: expected a short name such as 'owner'"),
        ("strategy = 'immediate'\n[[steps]]\nweight = 5", 'expected no steps with strategy = "immediate"'),
        (
            "[[steps]]\nweight = 5\ngate = 'a'\n[gates]\nbefore_promotion = 'b'",
            "expected one gate before the promotion, got two",
        ),
    ],
)
def test_a_mistake_is_told_with_the_key_and_what_was_expected(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        plan_of(tmp_path, text)
    assert message in caught.value.message
