"""What `service.toml` may say of replay, stickiness, `[ab]` and `[mirror]`, and how it is told what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from henslowe.config.exposure import Exposure
from henslowe.config.manifest import ServiceManifest, read_manifest
from henslowe.config.settings import DeliverySettings
from henslowe.errors import ManifestError


def manifest(folder: Path, text: str) -> ServiceManifest:
    (folder / "server.py").write_text("print()\n")
    (folder / "service.toml").write_text(text)
    return read_manifest(folder, "hello")


def test_a_service_that_says_nothing_is_shown_as_the_node_says(tmp_path: Path) -> None:
    found = manifest(tmp_path, "")
    assert found.exposed(DeliverySettings()) == Exposure()
    node = DeliverySettings(replay="hold", replay_differences="gate", sticky="client")
    assert found.exposed(node) == Exposure(replay="hold", replay_differences="gate", sticky="client")


def test_a_service_has_its_own_say(tmp_path: Path) -> None:
    text = """
        sticky = "principal"
        replay = "report"
        [ab]
        header = "X-Variant"
        values = { b = "candidate" }
        percent = 20
        [mirror]
        percent = 5
    """
    found = manifest(tmp_path, text).exposed(DeliverySettings(replay="off"))
    assert (found.sticky, found.replay, found.replay_differences) == ("principal", "report", "report")
    assert found.ab is not None
    assert (found.ab.header, found.ab.values, found.ab.percent) == ("x-variant", {"b": "candidate"}, 20)
    assert found.mirror is not None
    assert (found.mirror.percent, found.share(1_000), found.by_person, found.beside) == (5, 2_000, True, True)


def test_a_mirror_alone_leaves_the_rollout_to_the_verdict_unless_it_is_all_there_is(tmp_path: Path) -> None:
    found = manifest(tmp_path, "[mirror]\n").exposed(DeliverySettings())
    assert (found.share(1_000), found.by_person, found.beside) == (1_000, False, True)
    only = manifest(tmp_path, "[mirror]\nonly = true\n").exposed(DeliverySettings())
    assert (only.share(1_000), only.by_person) == (0, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[ab]\n", "ab: expected a percent above 0, or header and values, got neither; remove [ab] for none"),
        ('[ab]\nheader = "x-v"\n', "ab: expected header and values together, got header alone; add values"),
        ('[ab]\nheader = "authorization"\nvalues = {}\n', "ab.header: expected the name of a header of your own"),
        ('[ab]\nheader = "x v"\nvalues = {}\n', "ab.header: expected the name of a header of your own"),
        ('[ab]\nheader = "x-v"\nvalues = { b = "canary" }\n', "ab.values.b: expected 'candidate' or 'stable'"),
        ("[mirror]\npercent = 0\n", "mirror.percent: "),
        ('sticky = "user"\n', "sticky: expected 'session', 'principal' or 'client'"),
        ('replay = "maybe"\n', "replay: expected 'off', 'report', 'hold' or 'gate'"),
        ('strategy = "immediate"\n[ab]\npercent = 5\n', 'expected [ab] with strategy = "canary" or none'),
        ("[[steps]]\nweight = 5\n[mirror]\n", 'expected [mirror] with strategy = "canary" or none, got it beside [[st'),
    ],
)
def test_what_is_wrong_is_said_with_the_key_and_the_fix(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ManifestError) as caught:
        manifest(tmp_path, text)
    assert said in caught.value.message
