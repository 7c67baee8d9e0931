"""A table under migrations against a plain dict: random writes, phases, rollbacks, failing commits, restarts."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pydantic import BaseModel

from henslowe.errors import Conflict, FormatTooNew, NotFound, StorageDegraded
from henslowe.storage import Migration, Phase, ReadonlyStore, Store, TableSpec
from henslowe.storage.migrations.compare import compare
from henslowe.storage.migrations.progress import ORDER
from tests.storage.faults import Fault, Faults
from tests.storage.stores import running


class Before(BaseModel, frozen=True, extra="forbid"):
    name: str
    number: int
    value: int


class After(BaseModel, frozen=True, extra="forbid"):
    """Kept under its number; the name is unique as long as the old form is kept."""

    number: int
    name: str
    value: int
    note: str = ""


def forward(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "note": ""}


def backward(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: fields[name] for name in ("name", "number", "value")}


OLD = TableSpec(name="rows", row_type=Before, key="name")
NEW = TableSpec(
    name="rows",
    row_type=After,
    key="number",
    kind="ordered_set",
    schema=2,
    indexes={"value": lambda row: row.value},
    migrations=(Migration("rows", 1, 2, forward, backward, from_key="name"),),
)
NUMBERS = st.integers(0, 4)
NAMES = st.sampled_from(["{}x", "{}y", "{}z", "a"])
"""Most are a row's own; of those that are not, two rows may want one."""
ROWS = st.builds(
    lambda number, name, value, note: After(number=number, name=name.format(number), value=value, note=note),
    NUMBERS,
    NAMES,
    st.integers(0, 2),
    st.sampled_from(["n", ""]),
)
CHANGES = st.lists(st.one_of(ROWS, ROWS, NUMBERS), min_size=1, max_size=4)
"""Rows to be put, and keys to be deleted, in one commit."""


def shared_name(model: dict[int, After]) -> bool:
    """Whether two rows would be one under their names."""
    return len({row.name for row in model.values()}) < len(model)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="moved", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.runner = asyncio.Runner()
        self.faults = Faults()
        self.model: dict[int, After] = {}
        self.start()
        self.wait(self.fill())
        self.restart()

    async def fill(self) -> None:
        # Written by an older Henslowe.
        rows = [Before(name=name, number=number, value=1) for number, name in enumerate("abc")]
        await self.store.table(OLD).insert(*rows)
        self.model = {row.number: After(number=row.number, name=row.name, value=1) for row in rows}

    def start(self) -> None:
        self.life = running(self.folder / "data", self.faults)
        self.store: Store = self.wait(self.life.__aenter__())

    def wait(self, steps: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(asyncio.wait_for(steps, 5))

    def teardown(self) -> None:
        self.wait(self.life.__aexit__(None, None, None))
        self.runner.close()
        shutil.rmtree(self.folder)

    @property
    def table(self) -> Any:
        return self.store.table(NEW)

    @property
    def state(self) -> Any:
        return next(iter(self.store.migrator.rows()), None)

    @property
    def whole(self) -> bool:
        """Whether the form that is read has room for notes."""
        return bool(self.store._core.places["rows"].forms()[0].own)

    @property
    def alone(self) -> bool:
        """Whether no form with the old key is kept."""
        return not any(form.rekeyed for form in self.store._core.places["rows"].forms())

    @rule(changes=CHANGES)
    def change(self, changes: list[After | int]) -> None:
        self.write(changes, fails=False)

    @rule(changes=CHANGES)
    def change_in_vain(self, changes: list[After | int]) -> None:
        self.write(changes, fails=True)

    def write(self, changes: list[After | int], fails: bool) -> None:
        model = dict(self.model)
        txn = self.store.transaction()
        for each in changes:
            if isinstance(each, int):
                txn.delete(self.table, each)
                model.pop(each, None)
            else:
                txn.put(self.table, each)
                model[each.number] = each if self.whole else each.model_copy(update={"note": ""})
        if self.alone and self.state is not None and self.state.running and shared_name(model):
            return  # a way back to the names that could not end; see test_migrations
        clash = not self.alone and shared_name(model)
        if fails and not clash:
            self.faults.plan.append(Fault.REFUSED)
        try:
            self.wait(txn.commit())
        except Conflict:
            assert clash
        except StorageDegraded:
            assert fails
        else:
            assert not clash
            self.model = model
        self.faults.plan.clear()

    @rule(goal=st.sampled_from((*ORDER, Phase.FLIP)), fails=st.booleans(), finish=st.booleans())
    def begin(self, goal: Phase, fails: bool, finish: bool) -> None:
        self.attempt(self.store.migrator.begin("rows", goal=goal, by="test"), fails)
        while finish and self.attempt(self.store.migrator.step("rows", now_s=0.0, window_s=1e12), False):
            pass

    @rule(fails=st.booleans(), again=st.booleans())
    def step(self, fails: bool, again: bool) -> None:
        while self.attempt(self.store.migrator.step("rows", now_s=0.0, window_s=1e12), fails) and again:
            pass

    @precondition(lambda self: not shared_name(self.model))
    @rule(fails=st.booleans())
    def roll_back(self, fails: bool) -> None:
        self.attempt(self.store.migrator.roll_back("rows", by="test"), fails)

    @rule()
    def restart(self) -> None:
        self.wait(self.life.__aexit__(None, None, None))
        self.start()
        assert self.table is not None

    def attempt(self, steps: Coroutine[Any, Any, Any], fails: bool) -> Any:
        if fails:
            self.faults.plan.append(Fault.REFUSED)
        try:
            return self.wait(steps)
        except (Conflict, NotFound):
            return None
        except StorageDegraded:
            assert fails
            return None
        finally:
            self.faults.plan.clear()
            if not self.whole:
                self.model = {number: row.model_copy(update={"note": ""}) for number, row in self.model.items()}

    @invariant()
    def the_rows_are_the_models(self) -> None:
        assert {row.number: row for row in self.table.rows()} == self.model
        assert [row.number for row in self.table.rows()] == sorted(self.model)
        for value in range(3):
            assert {row.number for row in self.table.by("value", value)} == {
                row.number for row in self.model.values() if row.value == value
            }
        assert self.state is None or self.state.problem == ""

    @invariant()
    def a_reader_finds_the_same_rows_on_disk(self) -> None:
        reader = ReadonlyStore(self.store._env)
        assert {row.number: row for row in reader.table(NEW).rows()} == self.model
        row = self.state
        try:
            found = {each.name: each for each in reader.table(OLD).rows()}
        except FormatTooNew:
            # Without a migration, too: a table that was empty at a start is of the new schema from then on.
            assert self.whole
            assert row is None or (row.schema_now == 2 and not (row.running and row.flipped))
            return
        if self.model and (row is None or row.schema_now == 1 or row.running):
            assert found == {each.name: Before(**backward(each.model_dump())) for each in self.model.values()}

    @precondition(lambda self: self.state is not None and self.state.running and self.state.phase is not Phase.EXPAND)
    @invariant()
    def both_forms_hold_the_same(self) -> None:
        forms = self.store._core.places["rows"].forms()
        new, old = sorted(forms, key=lambda form: not form.own)
        found = compare(self.store._env, new, old, b"")
        assert found.problem == ""


TestMigrations = Machine.TestCase
TestMigrations.settings = settings(
    max_examples=12, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
