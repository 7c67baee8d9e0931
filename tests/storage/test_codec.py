"""Records give back what was written, or say that they are damaged."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from henslowe.errors import Corrupt, StorageError
from henslowe.storage import codec

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_data_survives(value):
    assert codec.decode(codec.encode(value)) == value


@given(st.binary(max_size=20), st.integers(0, 65535), st.binary(max_size=100), st.data())
def test_every_flipped_bit_of_a_record_is_noticed(key, schema, body, data):
    record = bytearray(codec.seal(key, schema, body))
    assert codec.unseal(key, bytes(record)) == (schema, body)
    bit = data.draw(st.integers(0, len(record) * 8 - 1))
    record[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Corrupt):
        codec.unseal(key, bytes(record))


def test_a_record_under_another_key_is_damage():
    with pytest.raises(Corrupt):
        codec.unseal(b"b", codec.seal(b"a", 1, b"body"))


def test_a_record_that_is_too_short_is_damage():
    with pytest.raises(Corrupt, match="expected 6 bytes"):
        codec.unseal(b"a", b"12345")


def test_what_json_knows_as_text_becomes_text():
    value = {"at": datetime(2026, 1, 2, tzinfo=UTC), "path": Path("a/b"), "id": UUID(int=1)}
    assert codec.decode(codec.encode(value)) == {
        "at": "2026-01-02T00:00:00Z",
        "path": "a/b",
        "id": "00000000-0000-0000-0000-000000000001",
    }


@pytest.mark.parametrize("value", [object(), {"a": object()}, 2**64, lambda: None])
def test_what_has_no_form_as_data_is_refused(value):
    with pytest.raises(StorageError, match="cannot encode"):
        codec.encode(value)


@given(st.binary(max_size=30))
@example(b"\x81\x80\x00")
def test_bytes_that_are_no_value_are_damage(body):
    try:
        codec.decode(body)
    except Corrupt:
        return
