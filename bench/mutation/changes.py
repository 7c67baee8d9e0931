"""Small changes of functions, as source: each is a defect that a test should notice."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
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
    seen: set[str] = set()
    for owner, function in _functions(tree):
        name = f"{owner}.{function.name}" if owner else function.name
        if (wanted is not None and function.name not in wanted) or function.name in SILENT:
            continue
        if any(ast.unparse(decorator) == "overload" for decorator in function.decorator_list):
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


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Functions and methods, with their class. Those inside others belong to them."""
    for node in tree.body:
        for item in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name if isinstance(node, ast.ClassDef) else "", item


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
