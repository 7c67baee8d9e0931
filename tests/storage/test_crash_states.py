"""What a disk may hold after the power was cut: exactly what was flushed is certain, and the rest is possible."""

import random
import struct
from pathlib import Path

import pytest

from bench.storage_proof.crash_states import PAGE, SECTOR, Disk
from bench.storage_proof.shim import Record

ROOT = Path("/root-of-the-log")


def names(op, *paths, file=0):
    return Record(op, file, 0, "\0".join(f"{ROOT}/{path}" for path in paths).encode())


def written(file, content, offset=0):
    return Record("W", file, offset, content)


def flushed(file):
    return Record("S", file, 0, b"")


FOLDER_FLUSHED = Record("Y", 0, 0, str(ROOT).encode())


@pytest.fixture
def outcomes(tmp_path):
    def possible(*records, flushes=True, count=120):
        disk = Disk(ROOT, flushes=flushes)
        for record in records:
            disk.apply(record)
        found = set()
        for seed in range(count):
            disk.state(random.Random(seed), tmp_path / "state")
            found.add(tuple(sorted((path.name, path.read_bytes()) for path in (tmp_path / "state").iterdir())))
        return found

    return possible


def test_what_was_flushed_with_its_name_is_certain(outcomes):
    records = [names("C", "a", file=1), written(1, b"content"), flushed(1), FOLDER_FLUSHED]
    assert outcomes(*records) == {(("a", b"content"),)}
    assert outcomes(*records, flushes=False) == {(), (("a", b""),), (("a", b"content"),)}


def test_a_name_lasts_only_with_its_folder(outcomes):
    assert outcomes(names("C", "a", file=1), written(1, b"x"), flushed(1)) == {(), (("a", b"x"),)}
    made = [names("C", "a", file=1), FOLDER_FLUSHED]
    assert outcomes(*made, names("U", "a")) == {(), (("a", b""),)}


def test_a_rename_is_whole_or_not_at_all(outcomes):
    made = [names("C", "new", file=1), names("C", "old", file=2), written(1, b"1"), flushed(1), FOLDER_FLUSHED]
    both = (("new", b"1"), ("old", b""))
    assert outcomes(*made, names("R", "new", "old")) == {both, (("old", b"1"),)}


def test_of_what_was_not_flushed_any_pieces_may_be_there(outcomes):
    made = [names("C", "a", file=1), written(1, bytes(2 * PAGE)), flushed(1), FOLDER_FLUSHED]
    found = {state[0][1] for state in outcomes(*made, written(1, b"x" * 2 * PAGE))}
    pages = {bytes(sorted({content[0], content[PAGE]})) for content in found}
    assert pages == {b"\0", b"x", b"\0x"}
    assert any(content[0] != content[SECTOR] for content in found)
    assert all(len(set(content[at : at + SECTOR])) == 1 for content in found for at in range(0, len(content), SECTOR))


def test_a_later_write_may_be_there_without_an_earlier_one(outcomes):
    made = [names("C", "a", file=1), written(1, b"12"), flushed(1), FOLDER_FLUSHED]
    found = {state[0][1] for state in outcomes(*made, written(1, b"x", 0), written(1, b"y", 1))}
    assert found == {b"12", b"x2", b"1y", b"xy"}


def test_flushing_a_range_flushes_its_pages_whole(outcomes):
    made = [names("C", "a", file=1), written(1, b"0" * 10), written(1, b"x", 4)]
    range_flushed = Record("P", 1, 4, struct.pack("<Q", 1))
    assert outcomes(*made, range_flushed, FOLDER_FLUSHED) == {(("a", b"0000x00000"),)}


def test_a_flush_that_failed_leaves_its_bytes_in_doubt_until_their_page_is_flushed(outcomes):
    made = [names("C", "a", file=1), written(1, bytes(PAGE + 1)), flushed(1), FOLDER_FLUSHED]
    failed = [written(1, b"x"), Record("F", 1, 0, b"")]
    in_doubt = {state[0][1][:1] for state in outcomes(*made, *failed, written(1, b"y", PAGE), flushed(1))}
    assert in_doubt == {b"\0", b"x"}
    settled = {state[0][1][:2] for state in outcomes(*made, *failed, written(1, b"y", 1), flushed(1))}
    assert settled == {b"xy"}


def test_cutting_a_file_is_as_uncertain_as_writing_it(outcomes):
    made = [names("C", "a", file=1), written(1, b"123"), flushed(1), FOLDER_FLUSHED]
    assert {state[0][1] for state in outcomes(*made, Record("T", 1, 1, b""))} == {b"123", b"1"}
