"""Verifying: what is sound is called so, and each kind of damage is found, named and survived."""

import asyncio
import os
import subprocess
from pathlib import Path

import lmdb
import pytest
from pydantic import BaseModel

from henslowe.config.settings import StorageSettings
from henslowe.errors import FormatTooNew, NotFound
from henslowe.storage import Archive, EventDraft, TableSpec
from henslowe.storage.check_child import Speaker, findings
from henslowe.storage.check_process import CheckPlan, Report, plan_of, run_check, steady
from henslowe.storage.findings import FindingKind, Progress
from henslowe.storage.keys import SEQ
from tests.storage.faults import Faults
from tests.storage.stored_objects import cut_object, lose_object
from tests.storage.stores import running

SETTINGS = StorageSettings(map_size_gib=1, activity_events_max=1_000)
MARK = b"a row that can be found in the file"


class Note(BaseModel, frozen=True):
    name: str
    text: bytes = b""


NOTES = TableSpec(name="notes", row_type=Note, key="name")


async def fill(folder: Path, *, events: int = 40) -> None:
    async with running(folder, Faults(), SETTINGS) as store:
        await store.table(NOTES).insert(*(Note(name=f"n{at}", text=MARK + bytes(200)) for at in range(50)))
        for at in range(0, events, 100):
            txn = store.transaction()
            for number in range(at, min(events, at + 100)):
                stream = ("lifecycle", "activity", "output")[number % 3]
                txn.append(EventDraft(stream, f"T{number % 4}", "INFO", f"s{number % 2}", 1, {"n": number}))
            await txn.commit()
        tree = folder.parent / "tree"
        tree.mkdir(exist_ok=True)
        (tree / "server.py").write_text("print(1)\n")
        (tree / "other.py").write_text("print(2)\n")
        store.archive.put(tree)


@pytest.fixture
def filled(tmp_path):
    asyncio.run(fill(tmp_path / "data"))
    return tmp_path / "data"


def checked(folder: Path) -> Report:
    """In a child, as it must be where pages may be damaged."""
    return run_check(plan_of(folder, folder, audit=""))


def checked_here(folder: Path) -> Report:
    """The same in this process, which is faster: for damage of records."""
    plan = plan_of(folder, folder, audit="")
    speaker = Speaker(plan)
    speaker.say = lambda **_: None
    found = tuple(findings(plan, speaker))
    return Report(found, 0, speaker.progress.counts, speaker.progress.size_bytes, 0.0)


def kinds(report):
    return {finding.kind for finding in report.findings}


def change(folder: Path, name: str, act) -> None:
    """Changes a sub-database behind the store's back, with checksums or without."""
    env = lmdb.open(str(folder / "core"), max_dbs=1024, map_size=1 << 30, lib_version=0)
    db = env.open_db(name.encode(), create=False)
    with env.begin(write=True) as txn:
        act(txn, db)
    env.close()


def test_a_sound_store_is_called_sound_and_everything_in_it_was_looked_at(filled):
    report = checked(filled)
    assert report.ok
    assert report.counts["events"] == 40
    assert report.counts["index entries"] == 80
    assert report.counts["objects"] == 2
    assert report.counts["records"] >= 50 + 40


def test_what_retention_dropped_is_not_missing(tmp_path):
    asyncio.run(fill(tmp_path / "data", events=6_000))
    report = checked_here(tmp_path / "data")
    assert report.ok
    assert report.counts["events"] < 6_000


def test_changed_rows_are_found_with_their_table_and_all_others_are_read(filled):
    data = filled / "core" / "data.mdb"
    # Everywhere: the file has free pages with older copies.
    data.write_bytes(data.read_bytes().replace(MARK, MARK.replace(b"found", b"fount")))
    report = checked_here(filled)
    assert {finding.place for finding in report.findings} == {"core/t.notes"}
    assert len(report.findings) == 50
    assert "checksum" in report.findings[0].message


def test_an_event_that_was_taken_out_of_the_log_is_a_gap_and_an_index_too_long(filled):
    change(filled, "e.lifecycle.0", lambda txn, db: txn.delete(SEQ.pack(7), db=db))
    report = checked_here(filled)
    assert kinds(report) == {FindingKind.LOG, FindingKind.INDEX}
    assert any("1 of 40 events missing: 7" in finding.message for finding in report.findings)


def test_an_index_that_lost_an_entry_is_found(filled):
    change(filled, "e.lifecycle.0.type", lambda txn, db: txn.delete(b"T0", SEQ.pack(1), db=db))
    (finding,) = checked_here(filled).findings
    assert finding.kind is FindingKind.INDEX
    assert "misses 1 event, 1" in finding.message


def test_an_index_with_an_entry_for_no_event_is_found(filled):
    change(filled, "e.lifecycle.0.service", lambda txn, db: txn.put(b"s9", SEQ.pack(1), db=db))
    (finding,) = checked_here(filled).findings
    assert finding.kind is FindingKind.INDEX
    assert "lists 1 event wrongly, 1" in finding.message


def test_a_damaged_and_a_missing_object_are_found_and_the_versions_that_need_them_named(filled, monkeypatch):
    first, second = Archive(filled / "archive").objects()
    cut_object(filled / "archive", first)
    lose_object(filled / "archive", second)
    (build,) = (path.name for path in (filled / "archive" / "builds").iterdir())
    (filled.parent / "knows.py").write_text(
        f"def audit(found):\n    return iter(())\n\ndef builds(found):\n    return {{{build!r}: ('hello@1',)}}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(filled.parent))
    report = run_check(plan_of(filled, filled, audit="knows"))
    assert [finding.versions for finding in report.findings] == [("hello@1",), ("hello@1",)]
    assert {Path(finding.place).name for finding in report.findings} == {first, second}


def test_a_build_that_a_version_needs_and_nobody_has_is_found(filled, monkeypatch):
    (filled.parent / "needs.py").write_text(
        f"def audit(found):\n    return iter(())\n\ndef builds(found):\n    return {{{'ab' * 32!r}: ('hello@2',)}}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(filled.parent))
    (finding,) = run_check(plan_of(filled, filled, audit="needs")).findings
    assert (finding.kind, finding.versions) == (FindingKind.BUILD, ("hello@2",))


def test_pages_that_end_the_reading_process_are_damage_and_the_rest_is_checked(filled):
    data = filled / "core" / "data.mdb"
    # Cut where the middle of the tree was: reading behind the end of a mapped file is a bus error.
    os.truncate(data, data.stat().st_size // 2 // 4096 * 4096)
    report = checked(filled)
    assert FindingKind.STRUCTURE in kinds(report)
    assert FindingKind.CRASH in kinds(report)
    assert any("SIGBUS" in finding.message for finding in report.findings)
    assert report.counts["objects"] == 2


@pytest.mark.parametrize("size", [0, 40_000])
def test_a_file_of_rubbish_is_a_finding_and_no_crash(filled, size):
    (filled / "core" / "data.mdb").write_bytes(os.urandom(size))
    report = checked(filled)
    assert FindingKind.STRUCTURE in kinds(report)


def test_where_there_is_no_store_the_error_says_so(tmp_path):
    with pytest.raises(NotFound, match="cannot find a store"):
        checked(tmp_path)


def test_a_newer_format_is_an_error_and_not_damage(filled):
    change(filled, "meta", lambda txn, db: txn.put(b"format", (99).to_bytes(2, "big"), db=db))
    with pytest.raises(FormatTooNew):
        checked(filled)


def test_a_check_goes_on_where_an_earlier_one_came_to(filled):
    plan = CheckPlan(str(filled), str(filled / "archive"), parts=("records", "archive"))
    whole = run_check(plan)
    rest = run_check(CheckPlan(**{**_fields(plan), "start": ("records", "core/t.notes", "")}))
    last = run_check(CheckPlan(**{**_fields(plan), "start": ("archive", "archive/objects/ff", "")}))
    assert 50 <= rest.counts["records"] < whole.counts["records"]
    assert "records" not in last.counts
    assert last.ok


def test_a_rate_makes_reading_wait_as_long_as_it_must_and_no_longer():
    slept: list[float] = []
    progress = Progress(rate_bytes_s=1_000, sleep=slept.append, now=lambda: 5.0 + sum(slept))
    for _ in range(10):
        progress.passed("place", b"", 500, count="records")
    assert sum(slept) == pytest.approx(5.0)


async def test_beside_a_running_store_a_copy_is_checked_and_removed(tmp_path):
    folder = tmp_path / "data"
    async with running(folder, Faults(), SETTINGS) as store:
        await store.table(NOTES).insert(Note(name="a"))
        code = (
            "import sys; from pathlib import Path\n"
            "from henslowe.storage.check_process import *\n"
            "folder = Path(sys.argv[1])\n"
            "with steady(folder) as copy:\n"
            "    report = run_check(plan_of(folder, copy, audit=''))\n"
            "print(report.ok, copy != folder, report.counts['records'] > 0)\n"
        )
        run = await asyncio.to_thread(
            subprocess.run, [os.sys.executable, "-c", code, folder], capture_output=True, text=True, timeout=30
        )
        assert run.stdout.strip() == "True True True", run.stderr
        assert not list(folder.glob(".check-*"))


def test_without_a_node_the_files_themselves_are_checked(filled):
    with steady(filled) as folder:
        assert folder == filled


def _fields(plan):
    return {name: getattr(plan, name) for name in plan.__slots__}


@pytest.mark.parametrize("damage", [b"rubbish" * 3_000, b""])
def test_damage_of_the_cache_keeps_nothing_else_from_being_checked(filled, damage):
    (filled / "cache" / "data.mdb").write_bytes(damage)
    report = checked(filled)
    assert {finding.place.split("/")[0] for finding in report.findings} == {"cache"}
    assert all("remove the folder cache/" in finding.hint for finding in report.findings)
    assert report.counts["events"] == 40
