"""Small edits of a function, made without knowing what it does: what a grader must notice."""

import ast
from collections.abc import Iterator
from typing import Any

SWAPPED: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
NAMES = {
    "min": "max", "max": "min", "argmin": "argmax", "argmax": "argmin", "minimum": "maximum",
    "maximum": "minimum", "sum": "mean", "mean": "sum", "sin": "cos", "cos": "sin", "zeros": "ones",
    "log": "log2", "log2": "log", "round": "int", "zeros_like": "ones_like", "ones_like": "zeros_like",
}  # fmt: skip


def edits(source: str) -> Iterator[tuple[str, str]]:
    """Every edit of a function, one at a time.

    Args:
        source: Its source.

    Yields:
        What was done, as the statement before and after, and the new source.
    """
    for place, node in enumerate(ast.walk(ast.parse(source))):
        for change in range(3):
            tree = ast.parse(source)
            body = tree.body[0].body  # type: ignore[attr-defined]
            new = list(ast.walk(tree))[place]
            if new is body[0] or (isinstance(body[0], ast.Expr) and new is body[0].value):
                continue  # the docstring
            if _edit(tree, new, change):
                before = _statement(source, node)
                yield f"{before} -> {_statement(ast.unparse(tree), new, tree)}", ast.unparse(tree)


def _statement(source: str, node: Any, tree: ast.AST | None = None) -> str:
    whole = ast.parse(source) if tree is None else tree
    line = getattr(node, "lineno", None)
    found = [
        each
        for each in ast.walk(whole)
        if isinstance(each, ast.stmt) and not isinstance(each, ast.FunctionDef) and line
        and each.lineno <= line <= (each.end_lineno or line)
    ]  # fmt: skip
    return ast.unparse(found[-1]).splitlines()[0] if found else "?"


def _edit(tree: ast.AST, node: Any, change: int) -> bool:
    """Change a node in place; whether this kind of change exists for it."""
    if change == 0 and isinstance(node, (ast.BinOp, ast.AugAssign, ast.BoolOp)):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            node.left, node.right = node.right, node.left
            return True
        if kind := SWAPPED.get(type(node.op)):
            node.op = kind()
            return True
    if change == 0 and isinstance(node, ast.Compare) and (kind := SWAPPED.get(type(node.ops[0]))):
        node.ops[0] = kind()
        return True
    if change == 1 and isinstance(node, ast.Compare):
        node.left, node.comparators[0] = node.comparators[0], node.left
        return True
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        node.value = not node.value
        return change == 0
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and change < 2:
        node.value += (1, -1)[change]
        return True
    if change == 0 and isinstance(node, ast.UnaryOp):
        node.op = ast.UAdd()
        return True
    if change == 0 and isinstance(node, ast.Attribute) and node.attr in NAMES:
        node.attr = NAMES[node.attr]
        return True
    if change == 0 and isinstance(node, ast.Name) and node.id in NAMES:
        node.id = NAMES[node.id]
        return True
    if change == 0 and isinstance(node, ast.Call) and len(node.args) > 1:
        node.args[0], node.args[1] = node.args[1], node.args[0]
        return True
    if change == 0 and isinstance(node, ast.IfExp):
        node.body, node.orelse = node.orelse, node.body
        return True
    if change == 2 and isinstance(node, (ast.AugAssign, ast.Expr, ast.Break, ast.Assign)):
        for parent in ast.walk(tree):
            for name in ("body", "orelse"):
                lines = getattr(parent, name, None)
                if isinstance(lines, list) and node in lines:
                    nothing = ast.Pass(lineno=node.lineno, end_lineno=node.end_lineno)
                    lines[lines.index(node)] = nothing
                    return True
    return False
