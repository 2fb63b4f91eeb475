"""What a translation must keep of its English, and what is left of the English in it."""

from __future__ import annotations

import re
from collections import Counter

COUNTS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety hundred".split()
PARTS = "third quarter fifth sixth seventh eighth ninth tenth".split()
SPELLED = (
    {word: [str(n)] for n, word in enumerate(COUNTS)}
    | {word: [str(10 * n)] for n, word in enumerate(TENS, 2)}
    | {word + end: [str(n)] for n, word in enumerate(PARTS, 3) for end in ("", "s")}
    | {"a": ["1"], "an": ["1"], "first": ["1"], "half": ["0.5", "30"], "twentieth": ["20"], "thirtieth": ["30"]}
)
"""What may be digits in Korean: it writes 60초, 3분의 1 and 30초 where English spells sixty seconds, a third and half a minute."""


def kept(text: str) -> Counter[str]:
    """Code, links' addresses, maths, numbers."""
    apart = r"`[^`]+`|\]\([^)]*\)|\$[^$]+\$"
    return Counter(re.findall(apart, text) + re.findall(r"\d+(?:[.,]\d+)*", re.sub(apart, " ", text)))


def changed(english: str, other: str) -> list[str]:
    """What one has and the other has not, but for the numbers that English spells."""
    spelled = Counter(number for word in re.findall(r"[a-z]+", english.lower()) for number in SPELLED.get(word, []))
    return sorted((kept(english) - kept(other)) + (kept(other) - kept(english) - spelled))


NAMES = set(
    "fortio fortio's curl istioctl Envoy Istio fake-service scipy gateway timeout attempts interval base reset hang backoff "
    "simple-web simple-backend connect-failure gateway-error refused-stream count avg sum "
    "ms us YAML meshmodel envoy checkout payments cluster".split()
)
"""Words that Korean keeps: programs, fields, what fortio prints."""

_CODE = "|".join(
    (
        r"`[^`]*`",
        r"\b[a-z]+[A-Z0-9]\w*",  # maxConnections, p99
        r"\b[A-Z][a-z]+[A-Z]\w*",  # VirtualService
        r"\b[A-Z][A-Z0-9_]+\b",  # LEAST_REQUEST
        r"\b\w+_\w+\b",
        r"\b[\w-]+\.(?:html|json|yaml)\b",
        r"[\w-]*\d[\w-]*",  # simple-backend-1-1, 5xx
    )
)


def english_left(text: str) -> list[str]:
    """The words of a text in Korean that are English and no names or code."""
    return [word for word in re.findall(r"[A-Za-z][A-Za-z'-]*[A-Za-z]", re.sub(_CODE, " ", text, flags=re.ASCII)) if word not in NAMES]
