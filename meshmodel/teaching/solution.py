"""The solution of an exercise, from the function that computes its answer: its docstring, and code that runs by itself."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any


def explained(function: Callable[..., Any]) -> str:
    """The docstring of a function, and behind a blank line its body, with what that needs of the function's module before it.

    What the function is given (its parameters) stays without a definition.
    """
    says = inspect.cleandoc(function.__doc__ or "")
    return "\n\n".join(filter(None, (says, _code(function))))


def _code(function: Callable[..., Any]) -> str:
    try:
        body = _body(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError, IndexError):
        return ""
    before = "\n".join(_needed(body, _module(function)))
    return "\n\n".join(filter(None, (before, body)))


def _body(source: str) -> str:
    """The source of a function without its head and docstring, and with what it returns as the last line; "" for no function."""
    found = ast.parse(source).body[0]
    if not isinstance(found, ast.FunctionDef):
        return ""
    inner = found.body[1:] if ast.get_docstring(found) else found.body
    lines = source.splitlines()[inner[0].lineno - 1 :] if inner else []
    return re.sub(r"^return ", "", textwrap.dedent("\n".join(lines)), flags=re.MULTILINE)


def _module(function: Callable[..., Any]) -> str:
    """The source of the function's module; "" for that of a notebook's cell."""
    try:
        return inspect.getsource(inspect.getmodule(function) or function)
    except (OSError, TypeError):
        return ""


def _needed(body: str, module: str) -> Iterator[str]:
    """What the code takes from the top of its module, in the order there: imports of the names that it uses, constants, functions."""
    names, defined = _names(ast.parse(body)), list(_definitions(module))
    for name, _, node in reversed(defined):  # each stands behind what it uses itself
        if name in names and not isinstance(node, ast.ImportFrom):
            names |= _names(node)
    seen = set()
    for name, text, _ in defined:
        if name in names and text not in seen:
            seen.add(text)
            yield text


def _definitions(module: str) -> Iterator[tuple[str, str, ast.stmt]]:
    """The top of a module: name, its source by itself, and the statement that defines it."""
    for node in ast.parse(module).body:
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            yield from ((alias.name, f"from {node.module} import {alias.name}", node) for alias in node.names)
        elif isinstance(node, ast.FunctionDef) and not node.decorator_list:
            yield node.name, f"\n{ast.get_source_segment(module, node)}\n", node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            yield ast.unparse(target), f"\n{ast.get_source_segment(module, node)}", node


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
