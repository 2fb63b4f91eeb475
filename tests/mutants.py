"""How much of the engine do the tests notice?  `make mutants`: changes one thing at a time in a folder of the package and runs its tests.

    python tests/mutants.py rules 150          # 150 changes to meshmodel/rules, drawn at random from seed 1; all without the number

One change is: a comparison, an operator, `and` for `or`, a condition turned round, a number, a statement left out.  Nothing is
compiled, since each change would compile anew: a function gets other code in a process of its own, forked from one that has
collected the tests.  First each test runs once to see which lines it reaches (only those that are quick without a compiler);
a change then meets the tests that reach its line, the quick ones first, until one fails, or runs out of time.

Reference: DeMillo, Lipton and Sayward, "Hints on test data selection" (1978).
"""

from __future__ import annotations

import ast
import os
import pickle
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

os.environ |= {"NUMBA_DISABLE_JIT": "1", "OPENBLAS_NUM_THREADS": "1", "MESHMODEL_NO_PROGRESS": "1"}
import pytest  # noqa: E402
from _pytest.runner import runtestprotocol  # noqa: E402

ROOT = Path(__file__).parents[1]
SLOWEST = float(os.environ.get("SLOWEST", 8.0))
"""Seconds of processor: a test that takes longer without a compiler is left out."""

ENOUGH = float(os.environ.get("ENOUGH", 20.0))
"""Seconds of processor for all tests of one change."""

OTHER = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn,
    ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.BitXor: ast.BitOr, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
LEFT_OUT = ast.Expr, ast.Assign, ast.AugAssign, ast.Raise, ast.Break, ast.Continue

Change = tuple[int, str, Callable[[], None]]
Lines = dict[str, tuple[float, set[tuple[str, int]]]]
"""Of each test: its seconds, and the lines that it reaches."""


# --- one change ------------------------------------------------------------------------------


def changes(tree: ast.AST) -> Iterator[Change]:
    """Line, what is changed, and how to do it to the tree, of all that may be changed below it."""
    for node in ast.walk(tree):
        for name in ("ops", "op"):
            yield from _operators(node, name)
        if isinstance(node, ast.If | ast.While | ast.IfExp):
            turned = ast.copy_location(ast.UnaryOp(ast.Not(), node.test), node.test)
            yield node.test.lineno, "condition turned round", partial(setattr, node, "test", turned)
        if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
            value = node.value
            other = not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else value * 2 or 1.0
            yield node.lineno, f"{value} -> {other}", partial(setattr, node, "value", other)
        for name in ("body", "orelse"):
            block = getattr(node, name, None)
            for place, statement in enumerate(block if isinstance(block, list) else ()):
                if isinstance(statement, LEFT_OUT) and not _documents(statement):
                    left = f"left out: {ast.unparse(statement)}"
                    yield statement.lineno, left, partial(block.__setitem__, place, ast.copy_location(ast.Pass(), statement))


def _operators(node: Any, name: str) -> Iterator[Change]:
    found = getattr(node, name, None)
    for place, op in enumerate(found if isinstance(found, list) else [found]):
        if isinstance(op, ast.Not):
            continue
        if type(op) in OTHER:
            new = OTHER[type(op)]()
            how = partial(found.__setitem__, place, new) if isinstance(found, list) else partial(setattr, node, name, new)
            yield node.lineno, f"{type(op).__name__} -> {type(new).__name__}: {ast.unparse(node)[:70]}", how


def _documents(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def parts(tree: ast.Module) -> Iterator[ast.AST]:
    """The bodies of functions and methods, and constants of the module."""
    for node in tree.body:
        for each in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(each, ast.FunctionDef):
                yield ast.Module(each.body, [])
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Constant | ast.BinOp):
            yield node.value


def all_changes(path: Path) -> tuple[ast.Module, list[Change]]:
    tree = ast.parse(path.read_text())
    return tree, [change for part in parts(tree) for change in changes(part)]


# --- into the running package --------------------------------------------------------------------


def install(tree: ast.Module, path: Path, module: ModuleType) -> None:
    """Give the module's functions the code of the tree, and whoever imported its constants their values."""
    whole = compile(ast.fix_missing_locations(tree), str(path), "exec")
    codes = dict(_codes(whole))
    for function in _functions(module):
        function.__code__ = codes[function.__code__.co_qualname]
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Constant | ast.BinOp):
            name = node.targets[0].id
            old, new = vars(module)[name], eval(compile(ast.Expression(node.value), str(path), "eval"), vars(module))
            for other in [m for m in sys.modules.values() if new != old and getattr(m, "__dict__", {}).get(name) is old]:
                setattr(other, name, new)


def _codes(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield const.co_qualname, const
            yield from _codes(const)


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    for thing in [each for holder in (module, *_classes(module)) for each in vars(holder).values()]:
        thing = getattr(thing, "__func__", getattr(thing, "fget", getattr(thing, "__wrapped__", thing)))
        if isinstance(thing, FunctionType) and thing.__code__.co_filename == module.__file__:
            yield thing


def _classes(module: ModuleType) -> list[type]:
    return [each for each in vars(module).values() if isinstance(each, type) and each.__module__ == module.__name__]


class Watched(ast.NodeTransformer):
    """Before each statement, a note that it is reached."""

    def visit(self, node: ast.AST) -> Any:
        super().generic_visit(node)
        for name in ("body", "orelse"):
            block = getattr(node, name, None)
            if isinstance(block, list) and not isinstance(node, ast.Module | ast.ClassDef):
                noted = [ast.parse(f"__reached__.add({s.lineno})").body[0] for s in block]
                setattr(node, name, [each for pair in zip(noted, block, strict=True) for each in pair])
        return node


# --- tests -----------------------------------------------------------------------------------


def apart(work: Callable[[], Any], seconds: float) -> Any:
    """What `work` returns in a process of its own; None where it takes more than so many seconds of processor, or dies."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        with os.fdopen(write, "wb") as pipe:
            pipe.write(pickle.dumps(work()))
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return pickle.loads(told) if told else None


def passes(item: pytest.Item) -> bool:
    return not any(report.failed for report in runtestprotocol(item, log=False, nextitem=None))


def reach(item: pytest.Item, paths: dict[Path, ModuleType]) -> tuple[float, set[tuple[str, int]]]:
    began = time.process_time()
    for path, module in paths.items():
        vars(module)["__reached__"] = set()
        install(Watched().visit(ast.parse(path.read_text())), path, module)
    began = time.process_time()
    good = passes(item)
    found = {(path.name, line) for path, module in paths.items() for line in vars(module)["__reached__"]}
    return time.process_time() - began, found if good else set()


def noticed(path: Path, module: ModuleType, number: int, items: list[pytest.Item]) -> str:
    """The test that fails with the change, "" if none does."""
    tree, found = all_changes(path)
    found[number][2]()
    install(tree, path, module)
    return next((item.nodeid for item in items if not passes(item)), "")


class Mutants:
    """A plugin that has pytest collect, and does the rest in its place."""

    def __init__(self, folder: str, most: int | None) -> None:
        self.folder, self.most = folder, most
        found = [path for each in ("rules", "simulation") for path in sorted((ROOT / "meshmodel" / each).glob("[!_]*.py"))]
        self.paths = {path: import_module(f"meshmodel.{path.parent.name}.{path.stem}") for path in found}
        self.kept = ROOT / ".pytest_cache" / "reached.pickle"

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        lines = self.lines(session.items)
        mine = [path for path in self.paths if path.parent.name == self.folder]
        drawn = [(path, number) for path in mine for number in range(len(all_changes(path)[1]))]
        print(f"{len(drawn)} changes, {len(lines)} tests")
        random.Random(1).shuffle(drawn)
        seen = [self.one(path, number, lines, session.items) for path, number in drawn[: self.most]]
        print(score(sum(seen), len(seen)))
        return True

    def lines(self, items: list[pytest.Item]) -> Lines:
        known: Lines = pickle.loads(self.kept.read_bytes()) if self.kept.exists() else {}
        for item in items:
            if item.nodeid not in known:
                known[item.nodeid] = apart(partial(reach, item, self.paths), SLOWEST) or (SLOWEST, set())
                self.kept.write_bytes(pickle.dumps(known))
        return {item.nodeid: known[item.nodeid] for item in items if known[item.nodeid][1]}

    def one(self, path: Path, number: int, lines: Lines, items: list[pytest.Item]) -> bool:
        line, what, _ = all_changes(path)[1][number]
        names = sorted((each for each, (_, found) in lines.items() if self.reaches(path, line, found)), key=lambda each: lines[each][0])
        by_name = {item.nodeid: item for item in items}
        used, chosen = 0.0, []
        for name in names:
            used += lines[name][0]
            if used < ENOUGH:
                chosen.append(by_name[name])
        told = apart(partial(noticed, path, self.paths[path], number, chosen), 10 + 3 * ENOUGH) if chosen else ""
        by = "time" if told is None else told or f"NOBODY of {len(chosen)}/{len(names)}"
        print(f"{path.stem}:{line}#{number} {what}: {by}", flush=True)
        return told != ""

    def reaches(self, path: Path, line: int, found: set[tuple[str, int]]) -> bool:
        """Does a test reach the statement of a line, or for a constant of the module any line of it?"""
        statements = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.stmt)]
        inner = max((s for s in statements if s.lineno <= line <= (s.end_lineno or 0)), key=lambda s: s.lineno)
        return (path.name, inner.lineno) in found or (inner.col_offset == 0 and any(name == path.name for name, _ in found))


def score(killed: int, all_of_them: int) -> str:
    """With Wilson's interval."""
    from scipy.stats import binomtest

    low, high = binomtest(killed, all_of_them).proportion_ci(method="wilson")
    return f"{killed} of {all_of_them} noticed: {killed / all_of_them:.1%} ({low:.1%} to {high:.1%})"


def main(folder: str, most: str = "") -> None:
    sys.path.insert(0, str(ROOT))
    places = [path for place in ("unit", "statistics") for path in sorted((ROOT / "tests" / place).glob("test_*.py"))]
    files = [str(path) for path in places if any(word in path.read_text() for word in ("simulate", "meshmodel.rules"))]
    pytest.main(["-q", "-s", "-p", "no:cacheprovider", *files], plugins=[Mutants(folder, int(most) if most else None)])


if __name__ == "__main__":
    main(*sys.argv[1:])
