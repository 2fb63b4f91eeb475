"""Is the book whole?  Every internal link leads somewhere, nothing is loaded from another host, every picture has a name."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src", "audio": "src"}
"""What a browser fetches by itself."""


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.ids: set[str] = set()
        self.nameless = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        self.ids |= {told[name] for name in ("id", "name") if name in told}
        if tag == "a" and "href" in told:
            self.links.append(told["href"])
        if tag in LOADED and LOADED[tag] in told and told.get("rel") not in ("canonical", "next", "prev", "search", "index", "genindex"):
            self.loaded.append(told[LOADED[tag]])
        self.nameless += tag == "img" and "alt" not in told


def problems(root: Path) -> list[str]:
    """What is wrong with the pages below `root`, a line each."""
    pages = {
        path.resolve(): _Page(path.read_text(encoding="utf-8")) for path in sorted(root.rglob("*.html")) if "_static" not in path.parts
    }
    found = []
    for path, page in pages.items():
        here = path.relative_to(root.resolve())
        found += [f"{here}: loads {link[:100]} from another host" for link in page.loaded if urlparse(link).scheme in ("http", "https")]
        found += [f"{here}: loads {link[:100]} from another host" for link in page.loaded if link.startswith("//")]
        found += [f"{here}: {page.nameless} pictures without alternative text"] * bool(page.nameless)
        found += [f"{here}: {link}: {why}" for link in [*page.links, *page.loaded] if (why := _broken(path, link, pages))]
    for path in sorted(root.rglob("*.css")):
        text = path.read_text(encoding="utf-8")
        found += [f"{path.relative_to(root)}: loads {url}" for url in re.findall(r"(?:url\(|@import )[\"']?((?:https?:)?//[^\"')]+)", text)]
    return found


def _broken(page: Path, link: str, pages: dict[Path, _Page]) -> str:
    """Why an internal link leads nowhere; "" where it leads somewhere."""
    if urlparse(link).scheme or link.startswith("//"):
        return ""
    target, anchor = urldefrag(link)
    path = (page.parent / unquote(target.split("?")[0])).resolve() if target else page
    if path.is_dir():
        path /= "index.html"
    if not path.exists():
        return "no such file"
    known = pages[path].ids | {""} if path in pages else {""}
    return "" if path not in pages or unquote(anchor) in known else "no such place on the page"
