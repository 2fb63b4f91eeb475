"""One look for what draws itself in a page: the roles' colours on a light and on a dark ground, and the frame around."""

from __future__ import annotations

from pathlib import Path

from meshmodel.teaching.palette import css

_UNTOLD = ':root:not([data-theme="light"]) body:not([data-jp-theme-light="true"])'


def themed(element: str) -> str:
    """The style of `element` (a CSS selector): JupyterLab's theme or the book's where they say, else what the system prefers.

    Paper is white whatever the theme, and colours are printed.
    """
    dark = f"{css(dark=True)} color-scheme: dark;"
    paper = f"{css()} --ink: #1c1e21; --ground: #ffffff; color-scheme: light; print-color-adjust: exact;".replace(";", " !important;")
    frame = (Path(__file__).parent / "theme.css").read_text(encoding="utf-8").replace("SELF", element)
    return (
        f"{element} {{ {css()} color-scheme: light; }}\n"
        f"@media (prefers-color-scheme: dark) {{ {_UNTOLD} {element} {{ {dark} }} }}\n"
        f'body[data-jp-theme-light="false"] {element}, html[data-theme="dark"] {element} {{ {dark} }}\n'
        f"{frame}\n"
        f"@media print {{ {element} {{ {paper} }} }}\n"
    )
