"""A widget's state as an output of its own, so that a page without a kernel can show the living widget.

JupyterLab stores no state of widgets in our notebooks (GitHub shows nothing where there is one), and a page without a
kernel needs more than a picture.  So an output carries, beside the view, the picture and the text, a type of its own:
which class it is, and its state.  The book hands both to the class's own ES module; readers that do not know the type
pass it over.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import anywidget

MIME = "application/vnd.meshmodel.widget+json"


def standalone(widget: anywidget.AnyWidget) -> dict[str, Any]:
    """`{MIME: {"class": "module:Class", "state": ...}}` of the widget as it is now; merge it into `_repr_mimebundle_`'s data.

    The state is JSON of the traits that the class adds and syncs, deflated, in base64; bytes in it are `{"base64": ...}`.
    """
    kind = type(widget)
    common = set(anywidget.AnyWidget.class_trait_names())
    state = {name: _plain(value) for name, value in widget.get_state().items() if name not in common and not name.startswith("_")}
    deflated = zlib.compress(json.dumps(state, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode(), 9)
    return {MIME: {"class": f"{kind.__module__}:{kind.__qualname__}", "state": base64.b64encode(deflated).decode()}}


def state_of(output: dict[str, Any]) -> dict[str, Any]:
    """The state in what `standalone` made, bytes as bytes."""
    return json.loads(zlib.decompress(base64.b64decode(output[MIME]["state"])), object_hook=_bytes)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _bytes(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["base64"]) if value.keys() == {"base64"} else value
