"""Sphinx's settings for the book; `build.py` assembles what they are applied to.  Nothing is asked of another host."""

from __future__ import annotations

import os
from importlib.metadata import version as _version
from typing import Any

_KOREAN = os.environ.get("BOOK_LANGUAGE") == "ko"

project = "meshmodel"
html_title = "Istio의 복원성, 다시 돌려 보기" if _KOREAN else "Istio's resilience, replayed"
author = "the meshmodel authors"
copyright = "2026, " + (
    "meshmodel 저자들. 글: CC BY 4.0, 코드: BSD 3-Clause" if _KOREAN else "the meshmodel authors. Text: CC BY 4.0, code: BSD 3-Clause"
)
version = release = _version("meshmodel")
language = "ko" if _KOREAN else "en"
locale_dirs = ["locale"]

extensions = ["myst_nb", "sphinx.ext.mathjax", "sphinx_copybutton"]
exclude_patterns = ["_build"]
nb_execution_mode = "off"  # the stored outputs are what the tests hold
nb_merge_streams = True
nb_code_prompt_show = "{type} 보기" if _KOREAN else "Show {type}"
nb_code_prompt_hide = "{type} 숨기기" if _KOREAN else "Hide {type}"
myst_enable_extensions = ["dollarmath", "deflist", "attrs_inline", "colon_fence"]
myst_heading_anchors = 4
myst_links_external_new_tab = False

mathjax_path = "tex-svg.js"
mathjax3_config = {"options": {"enableMenu": False}}

html_theme = "sphinx_book_theme"
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
templates_path = ["_templates"]
html_css_files = ["book.css"]
html_js_files = [(f"{name}.js", {"defer": "defer"}) for name in ("widget-classes", "widgets", "tables", *["korean"] * _KOREAN)]
html_last_updated_fmt = None
html_copy_source = False
html_show_search_summary = False  # it would be fetched, which a book opened as a file cannot
html_show_sourcelink = False
html_theme_options = {
    "article_header_end": ["language.html", "article-header-buttons.html"],
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "home_page_in_toc": True,
    "footer_content_items": ["copyright.html"],  # it names the authors; the theme's Korean for "By" is none
    "navbar_persistent": [],  # the search box stands in the sidebar already
    "search_bar_text": "검색..." if _KOREAN else "Search...",
    "toc_title": "이 페이지에서" if _KOREAN else "On this page",
}


def _title_once(_app: object, page: str, _template: str, context: dict[str, object], _tree: object) -> None:
    if page == "index":
        context["docstitle"] = ""  # else the book's name stands in the tab twice


def setup(app: Any) -> None:
    app.connect("html-page-context", _title_once)
