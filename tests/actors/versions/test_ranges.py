"""Which version a range means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from henslowe.actors.ids import ServiceName
from henslowe.actors.launch import LaunchSpec
from henslowe.actors.versions import VersionRow, VersionState, ranges
from henslowe.errors import BadRequest

LAUNCH = LaunchSpec(command=("true",))


def row(
    number: int, semver: str, state: VersionState = VersionState.ARCHIVED, *, probation: bool = False
) -> VersionRow:
    return VersionRow(
        service=ServiceName("hello"), number=number, semver=semver, state=state, probation=probation, launch=LAUNCH
    )


ROWS = [
    row(1, "1.0.0"),
    row(2, "1.2.0"),
    row(3, "1.2.0+3"),
    row(4, "1.3.0", VersionState.ROLLED_BACK),
    row(5, "2.0.0"),
    row(6, "2.1.0", VersionState.ACTIVE, probation=True),
    row(7, "3.0.0", VersionState.STAGED),
]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 3),
        ("1.x", 3),
        ("^1.0", 3),
        ("~1.0.0", 1),
        ("=1.2.0", 3),
        ("=1.2.0+3", 3),
        (">=1 <3", 5),
        ("2", 5),
        ("2.1", 6),
        ("1.3", None),
        ("3", None),
        ("#4", 4),
        ("#9", None),
    ],
)
def test_a_range_means_its_newest_permanent_version(text: str, number: int | None) -> None:
    picked = ranges.pick(ROWS, text)
    assert (None if picked is None else picked.number) == number


@pytest.mark.parametrize("text", ["latest", "", "1.2.3.4", "^", "1" * 200, "#x"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="expected a range"):
        ranges.pick(ROWS, text or "latest")


versions = st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))


@given(st.lists(st.tuples(versions, st.booleans()), max_size=12), st.integers(0, 3), st.randoms())
def test_the_pick_depends_on_the_versions_alone_and_nothing_newer_is_left_out(
    known: list[tuple[tuple[int, int, int], bool]], major: int, random: object
) -> None:
    rows = [
        row(number, ".".join(map(str, version)), VersionState.ACTIVE, probation=probation)
        for number, (version, probation) in enumerate(known, 1)
    ]
    inside = [
        (version, -probation, number) for number, (version, probation) in enumerate(known, 1) if version[0] == major
    ]
    best = max(inside, key=lambda each: (each[1], each[0], each[2]), default=None)
    random.shuffle(rows)  # type: ignore[attr-defined]
    picked = ranges.pick(rows, str(major))
    assert (picked.number if picked else None) == (best[2] if best else None)
