"""The two resources that the consoles of chapters 3 to 5 change, as people write them."""

from __future__ import annotations

from collections.abc import Iterable


def route(host: str, *policy: str, name: str = "") -> str:
    """A VirtualService whose one route to `host` has these fields, each "timeout: 0.5s"."""
    lines = "".join(f"    {field}\n" for field in policy if field)
    return (
        "apiVersion: networking.istio.io/v1beta1\nkind: VirtualService\n"
        f"metadata: {{name: {name or host}}}\nspec:\n  hosts: [{host}]\n  http:\n"
        f"  - route: [{{destination: {{host: {host}}}}}]\n{lines}"
    )


def traffic(host: str, *policy: str, name: str = "") -> str:
    """A DestinationRule for `host` with these fields of its trafficPolicy; "" where there are none."""
    fields = [field for field in policy if field]
    if not fields:
        return ""
    lines = "".join(f"    {field}\n" for field in fields)
    return (
        "apiVersion: networking.istio.io/v1beta1\nkind: DestinationRule\n"
        f"metadata: {{name: {name or host}}}\nspec:\n  host: {host}\n  trafficPolicy:\n{lines}"
    )


def retries(attempts: int, retry_on: str = "5xx", per_try: float = 0, base: float = 0.025) -> str:
    """The field `retries`, in one line; `retry_on` "" is Istio's default, `per_try` 0 no timeout of a try.  Istio
    refuses both beside `attempts: 0`."""
    fields = [f"attempts: {attempts}", *([f'retryOn: "{retry_on}"'] if retry_on and attempts else [])]
    fields += [f"perTryTimeout: {duration(per_try)}"] if per_try and attempts else []
    fields += [f"backoff: {duration(base)}"] if base != 0.025 else []
    return f"retries: {{{', '.join(fields)}}}"


def timeout(seconds: float) -> str:
    """The field `timeout`; "" for 0, which is none."""
    return f"timeout: {duration(seconds)}" if seconds else ""


def duration(seconds: float) -> str:
    """Seconds as Istio takes them: whole milliseconds."""
    return f"{round(1000 * seconds)}ms"


def documents(texts: Iterable[str]) -> str:
    """Several resources in one file."""
    return "---\n".join(text for text in texts if text)
