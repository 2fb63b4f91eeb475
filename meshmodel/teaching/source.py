"""A rule shown by its source: the function that the engine runs, as it stands in `meshmodel/rules`."""

from __future__ import annotations

import html
import inspect
from collections.abc import Callable
from typing import Any


class Source:
    """The source of one function or more; shows itself in a notebook in the colours of the theme, elsewhere in the page's ink."""

    def __init__(self, *functions: Callable[..., Any]) -> None:
        self.text = "\n\n".join(inspect.getsource(function).rstrip() for function in functions)

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        try:
            from jupyterlab_pygments import JupyterStyle
            from pygments import highlight
            from pygments.formatters import HtmlFormatter
            from pygments.lexers import PythonLexer
        except ModuleNotFoundError:
            return f"<pre>{html.escape(self.text)}</pre>"
        return highlight(self.text, PythonLexer(), HtmlFormatter(style=JupyterStyle, noclasses=True, nobackground=True))


def source(*functions: Callable[..., Any]) -> Source:
    """The rules `functions` as they stand in the engine."""
    return Source(*functions)
