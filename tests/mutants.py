"""How much of the engine do the tests notice?  `make mutants`: changes one thing at a time in a folder of the package and runs its tests.

    python tests/mutants.py rules 150               # 150 changes to meshmodel/rules drawn at random, always the same; all without 150
    python tests/mutants.py rules 150 rules warmup  # by test_rules.py and test_warmup.py alone

One change is: a comparison, an operator, `and` for `or`, a condition turned round, a number, a statement left out.  No file is
touched and nothing compiled, since each change would compile anew: a function gets other code in a process of its own, forked
from one that has collected the tests.  First each test runs once to see which lines it reaches (only those that are quick
without a compiler); a change then meets the tests that reach its line, the quickest first and those of `KEPT_NUMBERS` last,
until one fails, or takes many times its own time.  What was found is kept: a second run goes on, and asks anew only what an
edit of the engine or of a test may have changed.  What nobody notices is listed in `tests/mutants.md` where it can be noticed
by nobody, and counts no more.

Reference: DeMillo, Lipton and Sayward, "Hints on test data selection" (1978).
"""

from __future__ import annotations

import ast
import json
import os
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, partial
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

os.environ |= {"NUMBA_DISABLE_JIT": "1", "OPENBLAS_NUM_THREADS": "1", "MESHMODEL_NO_PROGRESS": "1"}
import pytest  # noqa: E402
from _pytest.runner import runtestprotocol  # noqa: E402

ROOT = Path(__file__).parents[1]
EXPLAINED = Path(__file__).with_suffix(".md")
PLAYING = (
    "rules",
    "hashing",
    "warmup",
    "plan",
    "engine_rules",
    "engine_balancing",
    "engine_invariants",
    "sidecars",
    "conservation",
    "streams",
    "lock_step_trace",
    "said",
)
"""The files of tests/unit that play the engine itself."""

KEPT_NUMBERS = "tests/unit/test_streams.py"
"""It notices whatever changes a number, and does not say which rule: what it alone notices is counted apart."""

SLOWEST = float(os.environ.get("SLOWEST", 4.0))
"""Seconds of processor: a test that takes longer without a compiler is left out."""

ENOUGH = float(os.environ.get("ENOUGH", 20.0))
"""Seconds of processor for all tests of one change; a quarter of it is for `KEPT_NUMBERS`."""

MEMORY = 6 << 30
"""Bytes of address space of a process with a change: some changes grow without end."""

AROUND = 50
"""Characters of a line that are shown before and behind what is changed in it."""

OTHER = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn,
    ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.BitXor: ast.BitOr, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
LEFT_OUT = ast.Expr, ast.Assign, ast.AugAssign, ast.Raise, ast.Break, ast.Continue
"""But no `name = ...`: whoever reads the name then would fail anyway; nor is `[0]` another index, for the same reason."""


class Reached(NamedTuple):
    """What a test did: its seconds of processor, and the lines that it reached, as "file:line"."""

    seconds: float
    lines: set[str]


# --- one change ------------------------------------------------------------------------------


def changes(part: ast.AST) -> Iterator[tuple[int, Callable[[], None]]]:
    """Line, and how to change the tree, of all that may be changed below it."""
    indices = {node.slice for node in ast.walk(part) if isinstance(node, ast.Subscript)}
    for node in ast.walk(part):
        for name in ("ops", "op"):
            yield from _operators(node, name)
        if isinstance(node, ast.If | ast.While | ast.IfExp):
            turned = ast.copy_location(ast.UnaryOp(ast.Not(), node.test), node.test)
            yield node.test.lineno, partial(setattr, node, "test", turned)
        if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float) and node not in indices:
            value = node.value
            other = not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else value * 2 or 1.0
            yield node.lineno, partial(setattr, node, "value", other)
        for name in ("body", "orelse"):
            block = getattr(node, name, None)
            for place, statement in enumerate(block if isinstance(block, list) else ()):
                if isinstance(statement, LEFT_OUT) and not _documents_or_names(statement):
                    yield statement.lineno, partial(block.__setitem__, place, ast.copy_location(ast.Pass(), statement))


def _operators(node: Any, name: str) -> Iterator[tuple[int, Callable[[], None]]]:
    found = getattr(node, name, None)
    for place, op in enumerate(found if isinstance(found, list) else [found]):
        if type(op) in OTHER:
            new = OTHER[type(op)]()
            how = partial(found.__setitem__, place, new) if isinstance(found, list) else partial(setattr, node, name, new)
            yield node.lineno, how


def _documents_or_names(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Assign):
        return all(isinstance(each, ast.Name) for target in statement.targets for each in getattr(target, "elts", [target]))
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def parts(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """The bodies of functions and methods, and the constants of the module, by name."""
    for node in tree.body:
        for each in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(each, ast.FunctionDef):
                yield each.name, ast.Module(each.body, [])
        if _is_constant(node):
            yield node.targets[0].id, node.value  # type: ignore[attr-defined]


def _is_constant(node: ast.stmt) -> bool:
    number = ast.Constant | ast.BinOp
    return isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, number)


def all_changes(tree: ast.Module) -> list[tuple[str, int, Callable[[], None]]]:
    return [(name, *change) for name, part in parts(tree) for change in changes(part)]


def in_order(paths: list[Path]) -> list[tuple[Path, int]]:
    """All changes of files, shuffled so that an edit of one file leaves the order of the others' as it was."""
    found = [(path, number) for path in paths for number in range(len(all_changes(ast.parse(path.read_text()))))]
    return sorted(found, key=lambda change: sha256(f"{change[0].name} {change[1]}".encode()).digest())


@cache
def described(path: Path, number: int) -> tuple[int, str]:
    """The line of a change, and what it changes, in one line."""
    tree = ast.parse(path.read_text())
    before = ast.unparse(tree).splitlines()
    name, line, change = all_changes(tree)[number]
    change()
    after = ast.unparse(tree).splitlines()
    old, new = next((a, b) for a, b in zip(before, after, strict=True) if a != b)
    return line, f"{path.parent.name}/{path.name} {name}: {_difference(old.strip(), new.strip())}"


def _difference(old: str, new: str) -> str:
    """Of two lines, with a little of what stands around it."""
    same = len(os.path.commonprefix([old, new]))
    behind = min(len(os.path.commonprefix([old[::-1], new[::-1]])), len(old) - same, len(new) - same)
    begin, end = max(same - AROUND, 0), max(behind - AROUND, 0)
    return " → ".join(f"`{'…' * (begin > 0)}{each[begin : len(each) - end]}{'…' * (end > 0)}`" for each in (old, new))


# --- into the running package --------------------------------------------------------------------


def codes(tree: ast.Module, path: Path) -> dict[str, CodeType]:
    """The code of every function, by its qualified name."""
    return dict(_codes(compile(ast.fix_missing_locations(tree), str(path), "exec")))


def _codes(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield const.co_qualname, const
            yield from _codes(const)


def install(found: dict[str, CodeType], module: ModuleType) -> None:
    for function in _functions(module):
        function.__code__ = found[function.__code__.co_qualname]


def install_constants(tree: ast.Module, path: Path, module: ModuleType) -> None:
    """Give whoever imported the module's constants their values."""
    for node in filter(_is_constant, tree.body):
        name = node.targets[0].id  # type: ignore[attr-defined]
        old, new = vars(module)[name], eval(compile(ast.Expression(node.value), str(path), "eval"), vars(module))  # type: ignore[attr-defined]
        for other in [m for m in sys.modules.values() if new != old and getattr(m, "__dict__", {}).get(name) is old]:
            setattr(other, name, new)


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


@cache
def statement_at(path: Path, line: int) -> ast.stmt:
    """The innermost statement of a line."""
    statements = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.stmt)]
    return max((s for s in statements if s.lineno <= line <= (s.end_lineno or 0)), key=lambda s: s.lineno)


# --- tests -----------------------------------------------------------------------------------


def apart(work: Callable[[], Any]) -> Any:
    """What `work` returns in a process of its own; None where it dies, or waits for ever."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        signal.alarm(900)  # nothing that uses the processor takes so long
        with os.fdopen(write, "w") as pipe:
            pipe.write(json.dumps(work()))
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return json.loads(told) if told else None


def passes(item: pytest.Item, seconds: float) -> bool:
    """Does it pass?  More seconds of processor than this end the process."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    return not any(report.failed for report in runtestprotocol(item, log=False, nextitem=None))


def digest(*paths: Path) -> str:
    return sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()[:16]


class Journal(dict[str, Any]):
    """What was found, kept line by line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(json.loads(line) for line in (path.read_text().splitlines() if path.exists() else ()))

    def note(self, key: str, value: Any) -> Any:
        self[key] = value
        self.path.parent.mkdir(exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps([key, value]) + "\n")
        return value


class Mutants:
    """A plugin that has pytest collect, and does the rest in its place."""

    def __init__(self, folder: str, most: int | None) -> None:
        self.folder, self.most = folder, most
        found = [path for each in ("rules", "simulation") for path in sorted((ROOT / "meshmodel" / each).glob("[!_]*.py"))]
        self.modules = {path: import_module(f"meshmodel.{path.parent.name}.{path.stem}") for path in found}
        self.journal = Journal(ROOT / ".pytest_cache" / "mutants.jsonl")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.items = {item.nodeid: item for item in session.items}
        self.digests = {path: digest(path) for path in (*self.modules, *(item.path for item in session.items))}  # of what was loaded
        self.reached = self.all_reached()
        drawn = in_order([path for path in self.modules if path.parent.name == self.folder])
        print(f"{len(drawn)} changes, {len(self.reached)} of {len(self.items)} tests")
        verdicts = [self.verdict(*each, f"{i}/{self.most or len(drawn)}") for i, each in enumerate(drawn[: self.most], start=1)]
        print(score(Counter(verdicts)))
        return True

    # who reaches what

    def all_reached(self) -> dict[str, Reached]:
        engine, found = digest(*self.modules), {}
        watched = {path: codes(Watched().visit(ast.parse(path.read_text())), path) for path in self.modules}
        for i, (name, item) in enumerate(self.items.items(), start=1):
            key = f"{engine} {self.digests[item.path]} {name}"
            told = self.journal[key] if key in self.journal else self.journal.note(key, apart(partial(self.reach, item, watched)))
            print(f"\r{i}/{len(self.items)} tests run", end="\n" if i == len(self.items) else "", flush=True)
            if told:
                found[name] = Reached(told[0], set(told[1]))
        return found

    def reach(self, item: pytest.Item, watched: dict[Path, dict[str, CodeType]]) -> tuple[float, list[str]] | None:
        for path, module in self.modules.items():
            vars(module)["__reached__"] = set()
            install(watched[path], module)
        began = time.process_time()
        good = passes(item, SLOWEST)
        seconds = time.process_time() - began
        return (seconds, [f"{p.name}:{line}" for p, m in self.modules.items() for line in vars(m)["__reached__"]]) if good else None

    def who_reaches(self, path: Path, line: int) -> list[str]:
        """The tests that reach the statement of a line, or for a constant of the module any line of it; as many as are enough."""
        inner = statement_at(path, line)
        lines = {f"{path.name}:{inner.lineno}"} if inner.col_offset else {f"{path.name}:{n}" for n in range(1, 1000)}
        names = sorted((n for n, reached in self.reached.items() if lines & reached.lines), key=lambda n: self.reached[n].seconds)
        chosen, used = [], {True: 0.75 * ENOUGH, False: 0.0}
        for name in sorted(names, key=lambda n: n.startswith(KEPT_NUMBERS)):
            used[name.startswith(KEPT_NUMBERS)] += self.reached[name].seconds
            if used[name.startswith(KEPT_NUMBERS)] < ENOUGH:
                chosen.append(name)
        return chosen

    # does somebody notice?

    def verdict(self, path: Path, number: int, how_far: str) -> str:
        """One of "noticed", "numbers" where only kept numbers change, "explained" or "unnoticed"."""
        line, what = described(path, number)
        if what in EXPLAINED.read_text(encoding="utf-8"):
            return "explained"
        names, key = self.who_reaches(path, line), f"{self.digests[path]} {number}"
        known = self.journal.get(key, (None, ""))
        if known[1] != self.digest_of(known[0], names):
            found = apart(partial(self.noticed, path, number, names)) if names else ""
            found = "time" if found is None else found
            known = self.journal.note(key, (found, self.digest_of(found, names)))
        print(f"{how_far} {what}  [line {line}]: {known[0] or f'NOBODY of {len(names)}'}", flush=True)
        return "unnoticed" if not known[0] else "numbers" if known[0].startswith(KEPT_NUMBERS) else "noticed"

    def digest_of(self, noticer: str | None, names: list[str]) -> str:
        """Of the tests on which a verdict rests."""
        return " ".join(sorted({self.digests[self.items[name].path] for name in ([noticer] if noticer in self.items else names)}))

    def noticed(self, path: Path, number: int, names: list[str]) -> str:
        """The test that fails with the change, "" if none does."""
        tree = ast.parse(path.read_text())
        all_changes(tree)[number][2]()
        install(codes(tree, path), self.modules[path])
        install_constants(tree, path, self.modules[path])
        return next((name for name in names if not passes(self.items[name], 3 + 5 * self.reached[name].seconds)), "")


def score(verdicts: Counter[str]) -> str:
    """With Wilson's interval."""
    from scipy.stats import binomtest

    counted = verdicts.total() - verdicts["explained"]
    noticed = verdicts["noticed"] + verdicts["numbers"]
    low, high = binomtest(noticed, counted).proportion_ci(method="wilson")
    return (
        f"{noticed} of {counted} noticed: {noticed / counted:.1%} ({low:.1%} to {high:.1%}), {verdicts['numbers']} of them by kept numbers"
        f" alone; {verdicts['explained']} more change nothing ({EXPLAINED.name})"
    )


def main(folder: str, most: str = "", *names: str) -> None:
    sys.path.insert(0, str(ROOT))
    os.setpriority(os.PRIO_PROCESS, 0, max(15, os.getpriority(os.PRIO_PROCESS, 0)))
    files = [str(ROOT / "tests" / "unit" / f"test_{name}.py") for name in names or PLAYING]
    pytest.main(["-q", "-s", "-p", "no:cacheprovider", *files], plugins=[Mutants(folder, int(most) if most else None)])


if __name__ == "__main__":
    main(*sys.argv[1:])
