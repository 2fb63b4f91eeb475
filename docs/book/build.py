"""`make book`: puts the book's sources together, lets Sphinx make pages of them, and looks whether they are whole.

python -m docs.book.build OUT          # in English; OUT/ko in Korean
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from docs.book import chapters, cheat_sheet, check, reference

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
LANGUAGES = ("en", "ko")
DOCUMENTS = {
    "record": "data/tutorial/README.md",
    "architecture": "docs/architecture.md",
    "conformance": "docs/conformance.md",
    "changelog": "CHANGELOG.md",
}
"""Pages that are files of the repository."""


BESIDE = {"course": "README.md", "glossary": "glossary.md"}

CAPTIONS = {"The chapters": "장", "To look up": "찾아보기", "Reference": "레퍼런스", "Teaching": "가르치는 분께"}
"""Of the tables of contents, which stand in fences, in Korean."""
ENGLISH = {
    "record": "튜토리얼의 데이터와 각 숫자의 자리",
    "conformance": "모델과 실제 Envoy",
    "architecture": "코드의 구조",
    "changelog": "변경 기록",
    "reference/rules": "규칙: Envoy가 정하는 것",
    "reference/verbs": "동사: 적용하고, 부하를 주고, 살피기",
    "reference/results": "결과: 재현, 히스토그램, 비교",
    "reference/formulas": "공식",
    "reference/scenario": "시나리오: 엔진이 받는 것",
    "reference/defaults": "버전별 Istio 기본값",
    "reference/experiments": "실험과 기록",
    "reference/teaching": "그림, 콘솔, 극장, 연습 문제",
}
"""The pages that are in English in the Korean book too, as its table of contents calls them."""


def pages() -> dict[str, str]:
    """The pages that only the book has, by name, as Markdown."""
    own = {path.stem: path.read_text(encoding="utf-8") for path in sorted((HERE / "pages").glob("*.md"))}
    return own | {"cheat-sheet": cheat_sheet.page()} | _beside_the_chapters()


def _beside_the_chapters() -> dict[str, str]:
    """The pages that stand beside the chapters: the course's first page with its questions, and the glossary."""
    return {name: chapters.linked((ROOT / "notebooks" / file).read_text(encoding="utf-8")) for name, file in BESIDE.items()}


def _in_korean(text: str) -> str:
    from classroom import korean

    for english, other in CAPTIONS.items():
        text = text.replace(f":caption: {english}\n", f":caption: {other}\n")
    return korean.translated(text, "pages")


def _plan(path: Path, language: str) -> str:
    from classroom import course

    return course.for_people(path, language)


def assemble(folder: Path, language: str = "en") -> None:
    """Everything that Sphinx reads, into `folder`."""
    static = folder / "_static"
    shutil.copytree(HERE / "static", static)
    shutil.copytree(HERE / "templates", folder / "_templates")
    shutil.copytree(HERE / "locale", folder / "locale")
    shutil.copy(HERE / "conf.py", folder)
    for name, text in pages().items():
        (folder / f"{name}.md").write_text(_in_korean(text) if language == "ko" else text, encoding="utf-8")
    for name, source in DOCUMENTS.items():
        (folder / f"{name}.md").write_text(chapters.linked((ROOT / source).read_text(encoding="utf-8")), encoding="utf-8")
    shutil.copy(ROOT / "docs/house.svg", folder)
    shutil.copy(ROOT / f"docs/theatre{'.ko' if language == 'ko' else ''}.png", folder / "theatre.png")
    (folder / "plans").mkdir()
    for plan in (ROOT / "docs/plans").glob("*.md"):
        (folder / "plans" / plan.name).write_text(_plan(plan, language), encoding="utf-8")
    notebooks = _chapters(folder.parent / "chapters", language)
    classes = set().union(*(chapters.write(path, folder / path.name, language) for path in notebooks))
    (static / "widget-classes.js").write_text(chapters.widget_classes(classes), encoding="utf-8")
    shutil.copy(mathjax(), static / "tex-svg.js")
    names = reference.write(folder / "reference")
    _contents(folder, [_numbered(path) for path in notebooks], names, ENGLISH if language == "ko" else {})


def _chapters(folder: Path, language: str) -> list[Path]:
    if language == "ko":
        from classroom import korean

        korean.build(folder)
    return sorted((folder if language == "ko" else ROOT / "notebooks").glob("*.ipynb"))


def _numbered(chapter: Path) -> str:
    """A chapter's line in the table of contents: its number, as other chapters call it, and its title."""
    number = chapter.stem.split("-")[0].removeprefix("0")
    return f"{number} · {cheat_sheet.title(chapter)} <{chapter.stem}>"


def mathjax() -> Path:
    """MathJax 3 in one file, with its fonts as outlines."""
    found = find_spec("sphinx-mathjax-offline")
    assert found is not None and found.origin is not None, "make book installs the extra `book`"
    return Path(found.origin).parent / "static" / "mathjax" / "tex-svg.js"


def _contents(folder: Path, lines_of_chapters: list[str], names: list[str], called: Mapping[str, str]) -> None:
    """The tables of contents of the first page; `called`: of pages in another language than the book, what they are called here."""
    page = folder / "index.md"
    told = page.read_text(encoding="utf-8")
    plans = sorted(f"plans/{path.stem}" for path in (folder / "plans").glob("0*.md"))
    for name, lines in {"chapters": lines_of_chapters, "plans": plans, "reference": [f"reference/{n}" for n in names]}.items():
        told = told.replace(f"@{name}@", "\n".join(lines))
    for name, title in called.items():
        told = re.sub(rf"^{name}$", f"{title} (영어) <{name}>", told, flags=re.MULTILINE)
    page.write_text(told, encoding="utf-8")


def build(out: Path) -> None:
    """The book's pages in `out`, the Korean ones in `out`/ko; exits with what is wrong with them."""
    with TemporaryDirectory() as folder:
        made = Path(folder)
        for language in LANGUAGES:
            _sphinx(made / language, language)
        shutil.move(made / "ko" / "html", made / "en" / "html" / "ko")
        shutil.rmtree(out, ignore_errors=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made / "en" / "html", out)
    wrong = check.problems(out)
    if wrong:
        sys.exit("\n".join([*wrong[:40], f"make book: {len(wrong)} problems"]))


def _sphinx(folder: Path, language: str) -> None:
    """Sphinx's pages in one language, `folder`/html."""
    source = folder / "source"
    source.mkdir(parents=True)
    assemble(source, language)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", f"{folder}/doctrees"]
    told = os.environ | {"BOOK_LANGUAGE": language}
    if subprocess.run([*command, str(source), str(folder / "html")], env=told, check=False).returncode:
        sys.exit("make book: Sphinx's warnings are above; each is an error here")


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the book.")
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    build(out)
    print(f"the book: {out / 'index.html'}, in Korean: {out / 'ko' / 'index.html'}")


if __name__ == "__main__":
    main()
