"""Files are written whole or not at all, by one function, and never over what was read."""

from __future__ import annotations

import ast
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from meshmodel import _files
from meshmodel.__main__ import main
from meshmodel.results.fortio import read_record
from meshmodel.teaching.exercises import student_copy

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "data" / "tutorial" / "manifests"
RECORD = ROOT / "data" / "tutorial" / "least-conn.txt"
TESTBED = MANIFESTS / "testbed.yaml"
CHAPTER = ROOT / "notebooks" / "01-load-balancing.ipynb"
OUTCOME = {"engine": "montecarlo", "figures": {}, "codes": {}, "endpoints": {}, "attempts": {}}


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- whole or not at all ------------------------------------------------------------------


def test_a_file_is_written_and_replaced(tmp_path):
    _files.write(tmp_path / "a", "one\r\ntwö\n")
    assert (tmp_path / "a").read_bytes() == "one\r\ntwö\n".encode()
    _files.write(tmp_path / "a", b"\0")
    assert (tmp_path / "a").read_bytes() == b"\0" and left_in(tmp_path) == {"a"}


def test_permissions_are_those_of_the_old_file_else_of_any_new_one(tmp_path):
    (tmp_path / "plain").touch()
    _files.write(tmp_path / "new", "x")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "new").chmod(0o640)
    _files.write(tmp_path / "new", "y")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "old").write_text("old")
    (tmp_path / "link").symlink_to("old")
    _files.write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "old").read_text() == "new"


def test_what_is_no_ordinary_file_stays_what_it_is(tmp_path):
    _files.write("/dev/null", "x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", str(tmp_path / "pipe")], stdout=subprocess.PIPE) as reader:
        _files.write(tmp_path / "pipe", "through the pipe")
        assert reader.stdout.read() == b"through the pipe"
    assert left_in(tmp_path) == {"pipe"}


@pytest.mark.parametrize("name", ["no/such/folder", ".", "x" * 300])
def test_an_error_names_the_path(tmp_path, name):
    with pytest.raises(OSError) as caught:
        _files.write(tmp_path / name, "x")
    assert caught.value.filename == str(tmp_path / name) and left_in(tmp_path) == set()


@pytest.mark.parametrize("how", ["write", "json", "student"])
def test_a_disk_that_fills_up_leaves_the_old_file_whole(tmp_path, how):
    """A limit on the size of files stands for the full disk: the hundred-and-first byte cannot be written."""
    old, model = tmp_path / "old", tmp_path / "model.json"
    old.write_text("precious")
    model.write_text(json.dumps(OUTCOME | {"fortio": read_record(RECORD).to_json()}))
    compare, student = ["compare", str(model), str(RECORD), "--json", str(old)], ["student", str(CHAPTER), str(old)]
    code = {
        "write": f"from meshmodel import _files; _files.write({str(old)!r}, 'x' * 2000)",
        "json": f"from meshmodel.__main__ import main; sys.exit(main({compare}))",
        "student": f"from meshmodel.__main__ import main; sys.exit(main({student}))",
    }[how]
    limited = f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); {code}"
    done = subprocess.run([sys.executable, "-B", "-c", limited], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == (1 if how == "write" else 2) and "File too large" in done.stderr.splitlines()[-1]
    assert str(old) in done.stderr.splitlines()[-1]
    assert old.read_text() == "precious" and left_in(tmp_path) == {"old", "model.json"}


# --- by one function ----------------------------------------------------------------------

WRITERS = set("write_text write_bytes savefig to_csv to_json_file to_pickle to_excel tofile savez savez_compressed touch".split())
MODULE_WRITERS = {("np", "save"), ("np", "savetxt"), ("nbformat", "write"), ("os", "replace"), ("os", "rename"), ("json", "dump")}
MODULE_WRITERS |= {("pickle", "dump"), ("yaml", "dump"), ("shutil", "copy"), ("shutil", "copyfile"), ("shutil", "move")}
ALLOWED = {
    "meshmodel/_files.py": "it is the one function",
    "meshmodel/envoy/process.py": "the files that a child process gets as its standard output and error",
    "meshmodel/teaching/picture.py": "draws into memory",
}


def writes(call: ast.Call) -> bool:
    """Whether a call opens a file for writing, or writes one by another name."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    module = function.value.id if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) else ""
    if name == "open" and module != "os":
        words = [*call.args, *(keyword.value for keyword in call.keywords)]
        constants = [word.value for word in words if isinstance(word, ast.Constant) and isinstance(word.value, str)]
        return any(set(text) <= set("rwaxbt+U") and set(text) & set("wax+") for text in constants)
    return name in WRITERS or (module, name) in MODULE_WRITERS


def test_nothing_else_writes_a_file():
    sources = [*(ROOT / "meshmodel").rglob("*.py"), *(ROOT / "tests" / "notebooks").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    found = {
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources
        if str(path.relative_to(ROOT)) not in ALLOWED
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and writes(node)
    }
    assert not found, "use meshmodel._files.write"


@pytest.mark.parametrize(
    ("code", "is_writing"),
    [
        ("open(path, 'w')", True),
        ("open(path, mode='ab')", True),
        ("path.open('x')", True),
        ("path.write_text(text)", True),
        ("np.save(path, a)", True),
        ("open(path, 'rb')", False),
        ("open(path, encoding='utf-8')", False),
        ("_open(rate, duration)", False),
        ("sys.stdout.write(text)", False),
    ],
)
def test_the_lint_knows_writing_from_reading(code, is_writing):
    assert writes(ast.parse(code, mode="eval").body) is is_writing


# --- never over what was read -------------------------------------------------------------


@pytest.mark.parametrize("how", ["itself", "link", "at", "folder", "record", "outcome", "data"])
def test_what_was_read_is_not_written_over(tmp_path, capsys, how):
    manifest, record, model = tmp_path / "m.yaml", tmp_path / "record.txt", tmp_path / "model.json"
    manifest.write_bytes(TESTBED.read_bytes())
    record.write_bytes(RECORD.read_bytes())
    model.write_text(json.dumps(OUTCOME))
    (tmp_path / "link").symlink_to(manifest)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "m.yaml").write_bytes(TESTBED.read_bytes())
    load, compare = ["curl", str(manifest), "--replications", "1"], ["compare", str(model), str(record)]
    words = {
        "itself": [*load, "--json", str(manifest)],
        "link": [*load, "--json", str(tmp_path / "link")],
        "at": ["curl", str(TESTBED), "--at", "1s", str(manifest), "--json", str(manifest)],
        "folder": ["curl", str(tmp_path / "folder"), "--json", str(tmp_path / "folder" / "out.json")],
        "record": [*compare, "--json", str(record)],
        "outcome": [*compare, "--json", str(model)],
        "data": ["replay", "lb-random", "--json", str(RECORD)],
    }[how]
    before = {path: path.read_bytes() for path in (*tmp_path.rglob("*"), RECORD) if path.is_file()}
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "write somewhere else" in error and words[-1] in error and error.count("\n") == 1
    assert {path: path.read_bytes() for path in (*tmp_path.rglob("*"), RECORD) if path.is_file()} == before


def test_a_chapter_is_not_written_over_by_its_copy(tmp_path):
    chapter = tmp_path / "chapter.ipynb"
    chapter.write_bytes(CHAPTER.read_bytes())
    with pytest.raises(ValueError, match="is read as input"):
        student_copy(chapter, tmp_path / "." / "chapter.ipynb")
    assert chapter.read_bytes() == CHAPTER.read_bytes()
