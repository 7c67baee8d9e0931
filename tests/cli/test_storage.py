"""`henslowe storage ...`: looks at a store without its node, says what is wrong, and ends with the next step."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from henslowe.actors.ids import BuildId, ServiceName
from henslowe.actors.router import EVIDENCE, EvidenceRow
from henslowe.actors.versions import SERVICES, VERSIONS, ServiceRow, VersionRow, VersionState
from henslowe.config.settings import StorageSettings
from henslowe.storage import Archive, EventDraft, NodeLock, Store
from henslowe.storage.keys import pack
from tests.cli.conftest import Henslowe
from tests.storage.faults import Faults
from tests.storage.stored_objects import lose_object
from tests.storage.stores import running
from tests.storage.test_quarantine import flip

HELLO = ServiceName("hello")


@pytest.fixture
def data(workspace: Path) -> Path:
    """The data directory of a workspace whose node has stopped: two versions of one service."""
    folder = workspace / ".henslowe"

    async def fill() -> None:
        async with running(folder, Faults(), StorageSettings(map_size_gib=1)) as store:
            builds = []
            for text in ("print(1)\nprint('same')\n", "print(2)\nprint('same')\n"):
                tree = workspace / "tree"
                tree.mkdir(exist_ok=True)
                (tree / "server.py").write_text(text)
                builds.append(store.archive.put(tree).build_id)
            service = ServiceRow(service=HELLO, last_number=2, active=2)
            rows = [
                VersionRow(
                    service=HELLO,
                    number=number,
                    state=VersionState.ACTIVE if number == 2 else VersionState.ARCHIVED,
                    semver=f"1.0.{number}",
                    build=BuildId(build),
                    metadata={"api_token": "hidden"},
                )
                for number, build in enumerate(builds, 1)
            ]
            for row in rows:
                txn = store.transaction()
                txn.put(store.table(VERSIONS), row)
                txn.put(store.table(SERVICES), service)
                said = {"row": row.model_dump(mode="json"), "service_row": service.model_dump(mode="json")}
                txn.append(EventDraft("lifecycle", "DEPLOY_COMPLETE", "SUCCESS", HELLO, row.number, said))
                await txn.commit()
            learned = {"pieces": [b"\xff"]}
            await store.table(EVIDENCE).insert(EvidenceRow(service=HELLO, epoch=1, new=2, learned=learned, saved_s=1.0))

    asyncio.run(fill())
    return folder


def test_dump_shows_what_is_no_text_in_base64(henslowe: Henslowe, data: Path) -> None:
    (row,) = henslowe("storage", "dump", "evidence").json_lines
    assert (row["typed"], row["row"]["learned"]) == (True, {"pieces": [{"base64": "/w=="}]})


def test_info_says_what_is_stored_and_what_to_do_next(henslowe: Henslowe, data: Path) -> None:
    run = henslowe("storage", "info")
    assert run.exit_code == 0
    assert re.search(r"versions +2 +1 ", run.out)
    assert re.search(r"lifecycle +2 +1 to 2", run.out)
    assert "archive   2 builds in 2 objects" in run.out
    assert run.out.rstrip().endswith("next: henslowe storage verify")
    value = henslowe("storage", "info", "--json").json
    assert (value["node"], value["clean"], value["last_seq"]) == (None, True, 2)
    assert value["path"] == str(data)


def test_verify_checks_rows_against_history_and_exits_with_4_when_something_is_wrong(
    henslowe: Henslowe, data: Path
) -> None:
    sound = henslowe("storage", "verify", "--json")
    assert (sound.exit_code, sound.json["ok"], sound.json["copied"]) == (0, True, False)
    for digest in Archive(data / "archive").objects():
        lose_object(data / "archive", digest)
    run = henslowe("storage", "verify")
    assert run.exit_code == 4
    assert "needed by hello@1" in run.out
    assert "2 problems" in run.out
    assert henslowe("storage", "scrub", "--rate", "0").exit_code == 4


def test_dump_shows_rows_by_key_and_never_a_secret(henslowe: Henslowe, data: Path) -> None:
    rows = henslowe("storage", "dump", "versions").json_lines
    assert [row["key"] for row in rows] == [["hello", 1], ["hello", 2]]
    assert rows[0]["row"]["metadata"] == {"api_token": "***"}
    (one,) = henslowe("storage", "dump", "versions", "--key", '["hello", 2]').json_lines
    assert one["row"]["semver"] == "1.0.2"
    assert len(henslowe("storage", "dump", "versions", "--from", '["hello", 2]').json_lines) == 1
    assert len(henslowe("storage", "dump", "versions", "--limit", "1").json_lines) == 1
    missing = henslowe("storage", "dump", "services", "--key", "nobody")
    assert (missing.exit_code, "--limit 10" in missing.err) == (2, True)
    unknown = henslowe("storage", "dump", "nothing")
    assert "there are" in unknown.err
    assert "versions" in unknown.err


def test_tail_and_export_read_events_without_a_node(henslowe: Henslowe, data: Path, tmp_path: Path) -> None:
    run = henslowe("storage", "tail", "--no-follow", "--json", "--type", "deploy_*", "--since", "1")
    assert [event["seq"] for event in run.json_lines] == [2]
    exported = henslowe("events", "export")
    assert [json.loads(line)["seq"] for line in exported.out.splitlines()] == [1, 2]
    done = henslowe("events", "export", "--format", "csv", "-o", str(tmp_path / "events.csv"), "--json")
    content = (tmp_path / "events.csv").read_bytes()
    assert content.startswith(b"seq,time,stream,")
    assert done.json["size_bytes"] == len(content)
    assert henslowe("events", "export", "--since", "soon").exit_code == 2
    assert henslowe("events").exit_code == 3  # there is no node to ask


def test_a_backup_is_made_checked_and_restored(henslowe: Henslowe, data: Path, tmp_path: Path) -> None:
    path, target = tmp_path / "b.tar.zst", tmp_path / "restored"
    made = henslowe("storage", "backup", str(path), "--verify")
    assert made.exit_code == 0
    assert f"next: henslowe storage restore {path}" in made.out
    refused = henslowe("storage", "restore", str(path))
    assert (refused.exit_code, "--force" in refused.err) == (1, True)
    done = henslowe("storage", "restore", str(path), "--data", str(target), "--json")
    assert done.json["manifest"]["last_seq"] == 2
    assert henslowe("storage", "verify", "--data", str(target)).exit_code == 0
    path.write_bytes(path.read_bytes()[:-20])
    assert henslowe("storage", "backup", str(path), "--check").exit_code == 1


def test_what_is_not_safe_beside_a_node_is_refused_with_a_reason(henslowe: Henslowe, data: Path) -> None:
    lock = NodeLock.acquire(data)
    try:
        run = henslowe("storage", "compact")
        assert (run.exit_code, "henslowe stop" in run.err) == (1, True)
        assert henslowe("storage", "info").exit_code == 0
    finally:
        lock.release()
    assert "given back" in henslowe("storage", "compact").out


def test_a_damaged_row_is_listed_and_rebuilt_from_its_history(henslowe: Henslowe, data: Path) -> None:
    flip(data, pack(("hello", 1)), "t.versions")

    async def boot() -> None:
        async with running(data, Faults(), StorageSettings(map_size_gib=1)) as store:
            assert len(store.table(VERSIONS)) == 1

    asyncio.run(boot())
    (row,) = henslowe("storage", "quarantine", "list", "--json").json["rows"]
    assert (row["table"], row["keys"]) == ("versions", [["hello", 1]])
    verified = henslowe("storage", "verify")
    assert (verified.exit_code, "in quarantine" in verified.out) == (4, True)
    done = henslowe("storage", "quarantine", "restore", row["id"])
    assert "is back, from its history" in done.out
    assert henslowe("storage", "verify").exit_code == 0
    assert henslowe("storage", "dump", "versions", "--limit", "1").json_lines[0]["row"]["semver"] == "1.0.1"
    assert henslowe("storage", "quarantine", "drop", row["id"]).exit_code == 2


def test_diff_shows_what_changed_between_two_versions(henslowe: Henslowe, data: Path) -> None:
    run = henslowe("diff", "hello", "1")
    assert run.out.splitlines()[:6] == [
        "--- a/server.py",
        "+++ b/server.py",
        "@@ -1,2 +1,2 @@",
        "-print(1)",
        "+print(2)",
        " print('same')",
    ]
    stat = henslowe("diff", "hello", "v1.0.1", "1.0.2", "--stat")
    assert "1 path, +1 -1" in stat.out
    value = henslowe("diff", "hello", "2", "1", "--json").json
    assert [path["change"] for path in value["paths"]] == ["changed"]
    assert "have the same content" in henslowe("diff", "hello", "2", "2").out
    assert henslowe("diff", "hello", "7").exit_code == 2


def test_without_a_store_each_command_says_so(henslowe: Henslowe) -> None:
    for command in (["info"], ["verify"], ["dump", "versions"], ["compact"], ["backup", "b"], ["quarantine", "list"]):
        run = henslowe("storage", *command)
        assert (run.exit_code, "cannot find a store" in run.err) == (2, True), command


def test_a_store_that_never_had_a_service_is_sound_and_can_be_backed_up(
    henslowe: Henslowe, workspace: Path, tmp_path: Path
) -> None:
    Store.open(workspace / ".henslowe", "n1", StorageSettings(map_size_gib=1)).close()
    assert henslowe("storage", "verify").exit_code == 0
    assert henslowe("storage", "backup", str(tmp_path / "b"), "--verify").exit_code == 0
