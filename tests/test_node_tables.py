"""The list of a node's tables is complete."""

import importlib
import pkgutil

import henslowe.actors
from henslowe.node_tables import TABLES
from henslowe.storage import TableSpec


def test_every_table_that_an_actor_declares_is_opened_first() -> None:
    declared: dict[str, TableSpec] = {}
    for found in pkgutil.walk_packages(henslowe.actors.__path__, "henslowe.actors."):
        module = importlib.import_module(found.name)
        declared |= {spec.name: spec for spec in vars(module).values() if isinstance(spec, TableSpec)}
    assert {"services", "versions", "sessions"} <= declared.keys()
    here = {spec.name: spec for spec in TABLES}
    own = {spec.name for spec in declared.values() if spec.durable} - here.keys()
    assert not own, f"add to henslowe.node_tables: {', '.join(sorted(own))}"
    assert all(here[name] is spec for name, spec in declared.items() if name in here)
