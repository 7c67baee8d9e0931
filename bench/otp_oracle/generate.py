"""Random scenarios, the same for the same seed, as data and as Erlang terms.

Kinds: `static` and `dynamic` supervisors (recorded by `trees.exs`), and `peers`: processes that link, monitor, signal
and register (recorded by `peers.exs`).
"""

from __future__ import annotations

import random
from typing import Any

RESTARTS = ["permanent", "permanent", "transient", "temporary"]
SHUTDOWNS = [5000, 5000, "brutal_kill", "infinity"]


def child(rng: random.Random, number: int, *, significant: bool) -> dict[str, Any]:
    """One child: in which of its starts `init` fails or ignores, counted from 1."""
    restart = rng.choice(RESTARTS)
    fails = sorted(set(rng.choices(range(2, 7), k=rng.choice([0, 0, 0, 1, 2, 3]))))
    return {
        "id": f"c{number}",
        "restart": restart,
        "significant": significant and restart != "permanent" and rng.random() < 0.6,
        "shutdown": rng.choice(SHUTDOWNS),
        "fails": [1, *fails] if rng.random() < 0.02 else fails,
        "ignores": [rng.randint(1, 4)] if rng.random() < 0.06 else [],
    }


def step(rng: random.Random, ids: list[str], *, dynamic: bool, significant: bool) -> list[Any]:
    """One thing that happens to the tree."""
    target = rng.choice(ids)
    kinds = ["crash"] * 7 + ["stop"] * 4 + ["kill"] * 3 + ["terminate_child"] * 3
    kinds += ["start_child"] * 8 if dynamic else ["restart_child"] * 2 + ["delete_child"] + ["start_child"]
    kind = rng.choice(kinds)
    if kind == "stop":
        return [kind, target, rng.choice(["normal", "shutdown", "shutdown_detail", "odd"])]
    if kind == "start_child":
        return [kind, child(rng, int(target[1:]), significant=significant)]
    return [kind, target]


def scenario(kind: str, seed: int) -> dict[str, Any]:
    """One scenario: the supervisor, its first children, and up to a dozen steps."""
    if kind == "peers":
        return peers_scenario(seed)
    rng = random.Random(f"{kind}-{seed}")
    dynamic = kind == "dynamic"
    auto = "never" if dynamic else rng.choice(["never"] * 4 + ["any_significant", "all_significant"])
    size = rng.randint(1, 5)
    ids = [f"c{number}" for number in range(size + 2)]
    steps = [step(rng, ids, dynamic=dynamic, significant=auto != "never") for _ in range(rng.randint(1, 12))]
    return {
        "kind": kind,
        "strategy": "one_for_one" if dynamic else rng.choice(["one_for_one", "one_for_all", "rest_for_one"]),
        "max_restarts": rng.choice([0, 1, 2, 3, 5, 50]),
        "max_children": rng.choice([2, 50, 50]) if dynamic else 50,
        "auto_shutdown": auto,
        "children": [] if dynamic else [child(rng, n, significant=auto != "never") for n in range(size)],
        "steps": [*steps, ["shutdown"]] if rng.random() < 0.5 else steps,
    }


def peers_scenario(seed: int) -> dict[str, Any]:
    """Three or four processes, some of which trap exits, and up to a dozen things that one of them does."""
    rng = random.Random(f"peers-{seed}")
    names = [f"p{number}" for number in range(rng.randint(3, 4))]
    return {
        "peers": {name: rng.random() < 0.5 for name in names},
        "steps": [peers_step(rng, names) for _ in range(rng.randint(4, 12))],
    }


def peers_step(rng: random.Random, names: list[str]) -> list[Any]:
    """One thing that a process does."""
    a, b = rng.sample(names, 2)
    kinds = ["link"] * 5 + ["monitor"] * 3 + ["unlink"] + ["exit"] * 4 + ["crash", "stop"]
    kind = rng.choice([*kinds, *["register"] * 3, "unregister", *["join"] * 3, "leave"])
    if kind in ("link", "monitor", "unlink"):
        return [kind, a, b]
    if kind == "exit":
        return [kind, a, rng.choice([a, b, b]), rng.choice(["normal", "shutdown", "kill", "odd"])]
    if kind == "stop":
        return [kind, a, rng.choice(["normal", "shutdown", "odd"])]
    if kind == "crash":
        return [kind, a]
    key = rng.choice(["k1", "k2"])
    return [kind, a, key, rng.randint(1, 3)] if kind == "join" else [kind, a, key]


def term(value: Any) -> str:
    """An Erlang term."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(term, value))}]"
    if isinstance(value, dict):
        return "#{" + ",".join(f"{key} => {term(item)}" for key, item in value.items()) + "}"
    return str(value)
