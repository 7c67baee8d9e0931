"""Breaks the supervisors and the kernel's exit logic on purpose, one small change at a time: do the tests notice?

    python bench/mutate_kernel.py [--only policy.py] [--sample N] [--jobs 1] [--json FILE] [--check]

Each mutant changes one operator, condition, constant or statement of a target function, and runs the tests of the
kernel and of the supervisors until one fails. Mutants that no test notices are listed. `bench/mutants_explained.json`
says why each known one cannot matter, or is not worth a test; `--check` fails when fewer than nine of ten are noticed,
or when one survives without an explanation. A forked child per mutant; half an hour for all.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import io
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
KILLED_AT_LEAST = 0.9
MUTANT_S = 60
TARGETS: dict[str, set[str] | None] = {
    "henslowe/supervisors/policy.py": None,
    "henslowe/supervisors/_base.py": None,
    "henslowe/supervisors/static.py": None,
    "henslowe/supervisors/dynamic.py": None,
    "henslowe/supervisors/partition.py": None,
    "henslowe/supervisors/reports.py": None,
    "henslowe/supervisors/tree.py": None,
    "henslowe/actors/kernel/_exits.py": None,
    "henslowe/actors/kernel/_dispatch.py": {"begin", "_special"},
    "henslowe/actors/kernel/_lifecycle.py": None,
    "henslowe/actors/kernel/_ref.py": {"stop"},
    "henslowe/actors/kernel/_actor.py": {"begin_link", "_when_started", "_outcome"},
    "henslowe/actors/kernel/_loop_mailbox.py": {"_flush", "_take_all"},
    "henslowe/actors/kernel/_loop_endings.py": None,
    "henslowe/actors/kernel/_loop_ref.py": {"_resume", "_booted", "_async_booted"},
    "henslowe/actors/kernel/_thread_actor.py": {"exit", "_failed", "_terminate", "_settle", "_boot"},
}  # fmt: skip
"""Files, and the functions in them; None for all."""
TESTS = [
    "tests/supervisors/test_supervisors_policy.py",
    "tests/supervisors/test_supervisors_static.py",
    "tests/supervisors/test_supervisors_dynamic.py",
    "tests/supervisors/test_supervisors_reports.py",
    "tests/supervisors/test_supervisors_partition.py",
    "tests/supervisors/test_supervisors_tree.py",
    "tests/actors/kernel/test_kernel_endings.py",
    "tests/actors/kernel/test_kernel_signals.py",
    "tests/actors/kernel/test_kernel_gen_server.py",
    "tests/actors/kernel/test_kernel_threads.py",
    "tests/actors/kernel/test_kernel_names.py",
    "tests/actors/kernel/test_kernel_pykka.py",
    "tests/supervisors/test_supervisors_oracle.py",
    "tests/actors/kernel/test_kernel_machine.py",
]
SWAPS: dict[type, type] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add,
}  # fmt: skip
SILENT = ("__repr__",)
"""Functions whose only work is text."""


@dataclass(frozen=True)
class Mutant:
    """One change: what it is, and the source with it."""

    file: str
    function: str
    line: int
    change: str
    source: str

    @property
    def key(self) -> str:
        """The name under which it is explained: stable when lines move."""
        return f"{self.file} {self.function}: {self.change}"


def _show(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())[:110]


def _is_logging(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and ast.unparse(node).startswith("log.")


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Each way to break one node: what it is, and the new node."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in SWAPS:
        new = copy.deepcopy(node)
        new.ops[0] = SWAPS[type(node.ops[0])]()
        yield f"{_show(node)} -> {_show(new)}", new
    elif isinstance(node, ast.BoolOp):
        new_op = copy.deepcopy(node)
        new_op.op = SWAPS[type(node.op)]()
        yield f"{_show(node)} -> {_show(new_op)}", new_op
    elif isinstance(node, ast.BinOp) and type(node.op) in SWAPS:
        new_bin = copy.deepcopy(node)
        new_bin.op = SWAPS[type(node.op)]()
        yield f"{_show(node)} -> {_show(new_bin)}", new_bin
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield f"{_show(node)} -> {_show(node.operand)}", node.operand
    elif isinstance(node, ast.Constant) and type(node.value) in (bool, int, float):
        value = not node.value if type(node.value) is bool else node.value + 1
        yield f"{node.value} -> {value}", ast.Constant(value)
    elif isinstance(node, ast.If | ast.IfExp | ast.While) and isinstance(
        node.test, ast.Name | ast.Call | ast.Attribute
    ):
        new_if = copy.deepcopy(node)
        new_if.test = ast.UnaryOp(ast.Not(), node.test)
        yield f"if {_show(node.test)} -> if not", new_if
    elif (
        isinstance(node, ast.Return)
        and node.value is not None
        and not (isinstance(node.value, ast.Constant) and not node.value.value)
    ):
        yield f"{_show(node)} -> return None", ast.Return(ast.Constant(None))
    elif (
        (
            isinstance(node, ast.Expr | ast.Raise | ast.Delete | ast.Break)
            or (isinstance(node, ast.Assign) and not isinstance(node.targets[0], ast.Name))
        )
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        and not _is_logging(node)
    ):
        yield f"without: {_show(node)}", ast.Pass()


class _Replace(ast.NodeTransformer):
    def __init__(self, position: int, new: ast.AST) -> None:
        self.position, self.new, self.count = position, new, -1

    def visit(self, node: ast.AST) -> ast.AST:
        self.count += 1
        if self.count == self.position:
            self.count += sum(1 for _ in ast.walk(node)) - 1
            return ast.copy_location(self.new, node)
        return super().generic_visit(node)


def _preorder(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _preorder(child)


def mutants(file: str, wanted: set[str] | None) -> Iterator[Mutant]:
    """All mutants of a file's functions."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    functions = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for item in node.body:
                functions[item] = f"{node.name}.{getattr(item, 'name', '')}"
    seen: set[str] = set()
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        name = functions.get(function, function.name)
        if (wanted is not None and function.name not in wanted) or function.name in SILENT:
            continue
        for position, node in enumerate(_preorder(function)):
            if position == 0 or _is_hint(function, node):
                continue
            for change, new in _changes(node):
                number = 1
                label = change
                while f"{name}{label}" in seen:
                    number += 1
                    label = f"{change} #{number}"
                seen.add(f"{name}{label}")
                yield Mutant(file, name, node.lineno, label, _with(tree, function, position, new))  # type: ignore[attr-defined]


def _is_hint(function: ast.FunctionDef | ast.AsyncFunctionDef, node: ast.AST) -> bool:
    """Whether the node belongs to an annotation, a decorator or an assertion: those are not behaviour."""
    parts: list[ast.AST | None] = [function.returns, *function.decorator_list]
    parts += [argument.annotation for argument in ast.walk(function.args) if isinstance(argument, ast.arg)]
    parts += [each.annotation for each in ast.walk(function) if isinstance(each, ast.AnnAssign)]
    parts += [each for each in ast.walk(function) if isinstance(each, ast.Assert)]
    return any(node is inner for part in parts if part is not None for inner in ast.walk(part))


def _with(tree: ast.Module, function: ast.AST, position: int, new: ast.AST) -> str:
    whole = copy.deepcopy(tree)
    twin = next(
        node
        for node in ast.walk(whole)
        if type(node) is type(function) and node.name == function.name and node.lineno == function.lineno  # type: ignore[attr-defined]
    )
    _Replace(position, new).visit(twin)
    return ast.unparse(ast.fix_missing_locations(whole))


class _Loader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the mutated source in the place of the real module."""

    def __init__(self, mutant: Mutant) -> None:
        self.name = mutant.file.removesuffix(".py").replace("/", ".")
        self.path, self.source = str(ROOT / mutant.file), mutant.source

    def find_spec(self, fullname, _path, _target=None):
        if fullname != self.name:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=self.path)

    def exec_module(self, module):
        module.__file__ = self.path
        exec(compile(self.source, self.path, "exec"), module.__dict__)


def try_out(mutant: Mutant | None) -> str:
    """Runs the tests in a forked child: `killed` when one fails, `timeout` when they hang, else `survived`."""
    child = os.fork()
    if child == 0:
        os.setsid()
        code = 1
        try:
            if mutant is not None:
                sys.meta_path.insert(0, _Loader(mutant))
            os.chdir(ROOT)
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                import pytest

                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, 1)
                os.dup2(null, 2)
                options = [
                    "-x",
                    "-q",
                    "-p",
                    "no:cacheprovider",
                    "--timeout=15",
                    "-o",
                    "addopts=",
                    "-W",
                    "ignore::pytest.PytestAssertRewriteWarning",
                ]
                code = int(pytest.main([*options, *TESTS]))
        finally:
            os._exit(code)
    deadline = time.monotonic() + MUTANT_S
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "survived" if status == 0 else "killed"
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout"


def _preload() -> None:
    """What every child needs and no mutant changes."""
    import asyncio  # noqa: F401
    import logging  # noqa: F401

    import _pytest.assertion.rewrite  # noqa: F401
    import hypothesis.stateful  # noqa: F401
    import msgpack  # noqa: F401
    import pydantic  # noqa: F401
    import pykka  # noqa: F401
    import pytest  # noqa: F401


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="files whose name contains this")
    parser.add_argument("--sample", type=int, help="only so many of them, chosen at random")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time")
    parser.add_argument("--json", type=Path, help="write the results there")
    parser.add_argument("--check", action="store_true", help="fail when too many survive, or one without explanation")
    options = parser.parse_args()
    _preload()
    sys.path.insert(0, str(ROOT))
    chosen = [mutant for file, names in TARGETS.items() if options.only in file for mutant in mutants(file, names)]
    if options.sample:
        chosen = random.sample(chosen, min(options.sample, len(chosen)))
    if try_out(None) != "survived":
        raise SystemExit("expected the tests to pass without a mutant, but they do not")
    explained = json.loads((ROOT / "bench" / "mutants_explained.json").read_text(encoding="utf-8"))
    results = {}
    with ThreadPoolExecutor(options.jobs) as pool:
        for mutant, outcome in zip(chosen, pool.map(try_out, chosen), strict=True):
            results[mutant.key] = outcome
            if outcome == "survived":
                print(
                    f"SURVIVED {mutant.key} (line {mutant.line}): {explained.get(mutant.key, 'NOT EXPLAINED')}",
                    flush=True,
                )
    survivors = [key for key, outcome in results.items() if outcome == "survived"]
    share = 1 - len(survivors) / max(1, len(results))
    unexplained = [key for key in survivors if key not in explained]
    print(f"{len(results)} mutants, {share:.1%} noticed, {len(survivors)} survived, {len(unexplained)} not explained")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return 1 if options.check and (share < KILLED_AT_LEAST or unexplained) else 0


if __name__ == "__main__":
    sys.exit(main())
