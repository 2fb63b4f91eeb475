"""Text from outside on its way to a reader: what does not print is shown, never obeyed.

A name or message may hold escape sequences that move a terminal's cursor, line breaks that fake a line of ours,
marks that reverse the direction of writing, or formulas for matplotlib.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST_LINE = 500
_MOST_COMPARED = 1000


class InputError(ValueError):
    """Something from outside that cannot be what its author means; one printable line that says where and why."""

    def __init__(self, message: str) -> None:
        super().__init__(line(message))


def line(message: str) -> str:
    """One printable line; of a very long one the beginning, which says where, and the end, which says why."""
    shown = visible(message)
    half = LONGEST_LINE // 2
    return shown if len(shown) <= LONGEST_LINE else f"{shown[: half - 5]} ... {shown[-half:]}"


def visible(text: str) -> str:
    r"""The text with everything that does not print as an escape: "a\nb" becomes "a\\nb"."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shortened(text: str, most: int) -> str:
    """The text, or its first part and "..." where it has more than `most` characters."""
    return text if len(text) <= most else text[: most - 3] + "..."


def quoted(value: object, most: int = 80) -> str:
    """A value as an error line shows it.  `value` is not endless: at most what one file holds."""
    try:
        return shortened(repr(value[:most]) if isinstance(value, str) else visible(repr(value)), most)
    except ValueError:  # Python writes no decimal number of more than 4,300 digits
        return f"a number of very many digits ({type(value).__name__})"


def label(text: str) -> str:
    """The text for a figure: matplotlib would set what stands between two dollar signs as a formula."""
    return visible(text).replace("$", r"\$")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `word` is most likely a slip of, regardless of case; None: none is near.

    Long words and long lists are not searched: comparing takes the product of the lengths.
    """
    words = {each.lower(): each for each, _ in zip(known, range(_MOST_COMPARED), strict=False) if len(each) <= 100}
    found = difflib.get_close_matches(word.lower(), words, n=1) if len(word) <= 100 else []
    return words[found[0]] if found else None
