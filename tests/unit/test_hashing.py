"""Consistent hashing against Envoy's own tests: ring_hash_lb_test.cc, maglev_lb_test.cc, hash_policy; XXH64 against its specification."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from meshmodel.rules import hashing
from meshmodel.scenario import HashPolicy, Request

HOSTS = [f"127.0.0.1:{port}" for port in range(90, 96)]


def ring(
    keys: Sequence[str],
    minimum: int,
    maximum: int = hashing.MAXIMUM_RING_SIZE,
    weights: Sequence[int] | None = None,
    usable: Sequence[bool] | None = None,
    group: Sequence[int] = (),
    group_weight: Sequence[float] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """The ring as the event loop makes it: (hashes, owners)."""
    n = len(keys)
    share = np.zeros(n)
    least, _ = hashing.normalise(
        np.array(weights or [1] * n), np.array(group or [0] * n), np.array(group_weight, float), np.array(usable or [True] * n), share
    )
    each = int(np.ceil(hashing.ring_scale(least, minimum, maximum)))
    points, owner, number = hashing.ring_points(keys, each)
    hashes, owners = np.zeros(len(points), np.uint64), np.zeros(len(points), np.int32)
    size = hashing.fill_ring(share, least, minimum, maximum, points, owner, number, np.zeros(n, np.int64), hashes, owners)
    return hashes[:size], owners[:size]


def maglev(
    keys: Sequence[str], size: int, weights: Sequence[int] | None = None, group: Sequence[int] = (), group_weight: Sequence[float] = ()
) -> list[int]:
    """The table as the event loop makes it: the owners."""
    n = len(keys)
    share, table = np.zeros(n), np.zeros(size, np.int32)
    _, greatest = hashing.normalise(
        np.array(weights or [1] * n), np.array(group or [0] * n), np.array(group_weight, float), np.ones(n, bool), share
    )
    hashing.fill_maglev(share, greatest, *hashing.maglev_orders(keys, size), np.zeros(n, np.int64), np.zeros(n), table)
    return table.tolist()


def pick(made: tuple[np.ndarray, np.ndarray], hashed: int, attempt: int = 0) -> int:
    return int(hashing.ring_pick(*made, len(made[0]), np.uint64(hashed), attempt))


# --- the hash --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seed", "expected"),
    [
        ("", 0, 0xEF46DB3751D8E999),
        ("a", 0, 0xD24EC4F1A98C6E5B),
        ("abc", 0, 0x44BC2CF5AD770999),
        ("Nobody inspects the spammish repetition", 0, 0xFBCEA83C8A378BF1),
        ("", 2654435761, 0xAC75FDA2929B17EF),
        ("0123456789" * 7 + "abc", 1, 0x7A0A9C74FB43F07D),
    ],
)
def test_xxh64(text: str, seed: int, expected: int) -> None:
    assert int(hashing.xxh64([text], seed)[0]) == expected


def test_many_texts_are_hashed_at_once_whatever_their_lengths() -> None:
    texts = ["x" * n for n in (0, 100, 3, 100, 8, 33)]
    assert hashing.xxh64(texts).tolist() == [int(hashing.xxh64([text])[0]) for text in texts]


# --- the ring --------------------------------------------------------------------------------

RING = [
    (833437586790550860, 4), (928266305478181108, 2), (1033482794131418490, 0), (3551244743356806947, 5),
    (3851675632748031481, 3), (5583722120771150861, 1), (6311230543546372928, 1), (7700377290971790572, 3),
    (13144177310400110813, 5), (13444792449719432967, 2), (15516499411664133160, 4), (16117243373044804889, 0),
]  # fmt: skip


def test_ring_basic() -> None:
    made = ring(HOSTS, 12)
    assert list(zip(made[0].tolist(), made[1].tolist(), strict=True)) == RING
    for hashed, host in [(0, 4), (2**64 - 1, 4), (3551244743356806947, 5), (3551244743356806948, 3), (16117243373044804880, 0)]:
        assert pick(made, hashed) == host


def test_ring_by_host_names() -> None:
    made = ring([str(port) for port in range(90, 96)], 12)
    assert made[0].tolist()[:3] == [1975508444536362413, 2376063919839173711, 2386806903309390596]
    assert [pick(made, h) for h in (0, 2**64 - 1, 7225015537174310577, 6803900775736438537)] == [5, 5, 2, 3]


def test_a_refused_pick_goes_on_around_the_ring() -> None:
    made = ring(HOSTS, 12)
    assert [pick(made, 0, attempt) for attempt in (0, 1, 2, 13)] == [4, 2, 0, 2]


def test_uneven_hosts_own_whole_numbers_of_points_and_keep_them_when_others_come() -> None:
    first = ring(["127.0.0.1:80", "127.0.0.1:81"], 3)
    assert first[0].tolist() == [5454692015285649509, 7859399908942313493, 13838424394637650569, 16064866803292627174]
    second = ring(["127.0.0.1:81", "127.0.0.1:82"], 3)
    assert second[0].tolist() == [7859399908942313493, 8241336090459785962, 12882406409176325258, 16064866803292627174]
    assert pick(first, 0) == pick(second, 0) == 0


def test_weights_on_a_tiny_ring() -> None:
    made = ring(HOSTS[:3], 6, 6, weights=[1, 2, 3])
    assert dict(zip(made[0].tolist(), made[1].tolist(), strict=True)) == {
        928266305478181108: 2, 4443673547860492590: 2, 5583722120771150861: 1,
        6311230543546372928: 1, 13444792449719432967: 2, 16117243373044804889: 0,
    }  # fmt: skip


def test_weights_on_a_large_ring_share_it_out() -> None:
    _, owners = ring(HOSTS[:3], 6144, weights=[1, 2, 3])
    assert np.bincount(owners).tolist() == [1024, 2048, 3072]


def test_a_maximum_below_the_number_of_endpoints_leaves_some_out() -> None:
    _, owners = ring(HOSTS, 2, 3)
    assert np.bincount(owners, minlength=6).sum() == 3 and np.bincount(owners, minlength=6).max() == 1


def test_the_points_of_an_ejected_endpoint_go_to_the_others_and_the_rest_stays() -> None:
    all_in, one_out = ring(HOSTS, 1024), ring(HOSTS, 1024, usable=[i != 2 for i in range(6)])
    hashes = np.random.default_rng(1).integers(2**64, size=2000, dtype=np.uint64)
    before, after = (np.array([pick(made, int(h)) for h in hashes]) for made in (all_in, one_out))
    assert 2 in before and 2 not in after
    assert np.mean(before[before != 2] == after[before != 2]) > 0.75  # 171 points of each become 205: some change hands


def test_localities_share_the_ring_by_their_weights_whatever_their_numbers_of_endpoints() -> None:
    _, owners = ring(HOSTS[:3], 1024, group=[0, 1, 1], group_weight=[3, 1])
    counts = np.bincount(owners)
    assert counts[0] / counts.sum() == pytest.approx(0.75, abs=0.002)
    assert not len(ring(HOSTS[:1], 12, group=[0], group_weight=[0])[0]), "all weights 0: nobody is picked"


def test_the_number_of_points_is_whole_for_the_lightest_and_at_most_envoys_maximum() -> None:
    assert hashing.ring_scale(0.25, 6, 100) == 8.0 and hashing.ring_scale(0.25, 1, 100) == 4.0
    assert hashing.ring_scale(1 / 3, 2**30, hashing.MAXIMUM_RING_SIZE) == 8_388_608


def test_an_empty_ring_picks_nobody() -> None:
    assert pick(ring(HOSTS, 12, usable=[False] * 6), 5) == -1


# --- Maglev ----------------------------------------------------------------------------------


def test_maglev_basic_and_by_host_names() -> None:
    assert maglev(HOSTS, 7) == [2, 4, 0, 1, 5, 0, 3]
    assert maglev(HOSTS[::-1], 7) == [5 - i for i in (2, 4, 0, 1, 5, 0, 3)], "whatever the order of the endpoints"
    assert maglev([str(port) for port in range(90, 96)], 7) == [2, 5, 0, 3, 4, 1, 0]
    assert set(maglev(HOSTS[:1], 7)) == {0}


def test_maglev_weighted() -> None:
    assert maglev(HOSTS[:2], 17, weights=[1, 2]) == [1, 0, 0, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 0, 1]


def test_maglev_weighs_localities_not_the_endpoints_across_them() -> None:
    expected = [1, 0, 0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 1, 0, 1]
    assert maglev(HOSTS[:2], 17, weights=[1, 2], group=[0, 1], group_weight=[1, 1]) == expected
    expected = [1, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0]
    assert maglev(HOSTS[:3], 17, weights=[1, 2, 3], group=[0, 2, 1], group_weight=[8, 0, 2]) == expected
    assert set(maglev(HOSTS[:1], 17, group=[0], group_weight=[0])) == {-1}


def test_a_table_is_made_anew_in_the_room_of_the_old_one() -> None:
    """As the event loop does it when an endpoint leaves."""
    orders, turn, due, table = hashing.maglev_orders(HOSTS[:2], 17), np.zeros(2, np.int64), np.zeros(2), np.zeros(17, np.int32)
    for share in ([1 / 3, 2 / 3], [0.5, 0.5]):
        hashing.fill_maglev(np.array(share), max(share), *orders, turn, due, table)
    assert table.tolist() == maglev(HOSTS[:2], 17)


def test_a_refused_maglev_pick_changes_the_hash() -> None:
    table = np.array(maglev(HOSTS, 7))
    assert [int(hashing.maglev_pick(table, np.uint64(10), attempt)) for attempt in (0, 1, 2)] == [1, 0, 5]


# --- the level -------------------------------------------------------------------------------


def test_the_hash_stands_in_for_the_random_percent_of_a_level() -> None:
    """RingHashFailoverTest.BasicFailover: 69 is of the first 70 percent, 71 is not."""
    assert [int(hashing.percent(np.uint64(h))) for h in (69, 71, 2**64 - 1)] == [70, 72, 16]


# --- what a request carries ------------------------------------------------------------------

HEADER, QUERY, ADDRESS = (
    HashPolicy(kind="header", name="X-User"),
    HashPolicy(kind="query_parameter", name="u"),
    HashPolicy(kind="source_ip"),
)


def xxh64(text: str) -> int:
    return int(hashing.xxh64([text])[0])


@pytest.mark.parametrize(
    ("policy", "headers", "path", "expected"),
    [
        (HEADER, {"x-user": "ann"}, "/", "ann"),
        (HEADER, {}, "/", None),
        (QUERY, {}, "/?a=1&u=ann&u=bob", "ann"),
        (QUERY, {}, "/?u=", ""),
        (QUERY, {}, "/u", None),
        (ADDRESS, {}, "/", "10.0.0.9"),
        (HashPolicy(kind="cookie", name="u"), {"cookie": "a=1; u=ann"}, "/", "ann"),
        (HashPolicy(kind="cookie", name="u"), {"cookie": "a=1"}, "/", None),
        (HashPolicy(kind="cookie", name="u"), {"cookie": "u="}, "/", None),
    ],
)
def test_what_a_policy_looks_at(policy: HashPolicy, headers: dict[str, str], path: str, expected: str | None) -> None:
    assert hashing.request_hash([policy], headers, path, "10.0.0.9") == (None if expected is None else xxh64(expected))


def test_a_cookie_with_a_time_to_live_is_made_up_from_the_connection() -> None:
    policy = HashPolicy(kind="cookie", name="u", ttl=0.0)
    one, other = (hashing.request_hash([policy], {}, "/", "10.0.0.9", connection) for connection in (1, 2))
    assert one != other and one == hashing.request_hash([policy], {}, "/", "10.0.0.9", 1)


def test_several_policies_are_rotated_and_xored() -> None:
    b = xxh64("10.0.0.9")
    for who, first_bit in (("ann", 0), ("bob", 1)):
        a = xxh64(who)
        assert a >> 63 == first_bit
        assert hashing.request_hash([HEADER, ADDRESS], {"x-user": who}, "/", "10.0.0.9") == (a << 1) % 2**64 + first_bit ^ b
    assert hashing.request_hash([HEADER, ADDRESS], {}, "/", "10.0.0.9") == b


def test_users_carry_their_names_and_call_from_their_addresses() -> None:
    cookie = HashPolicy(kind="cookie", name="u", ttl=0.0)
    for policy in (HEADER, QUERY, cookie):
        hashes, made_up = hashing.user_hashes([policy], 2, Request())
        assert (hashes.tolist(), made_up) == ([xxh64("user-0"), xxh64("user-1")], False)
    assert hashing.user_hashes([ADDRESS], 2, Request())[0].tolist() == [xxh64("127.0.0.1"), xxh64("127.0.0.2")]


def test_a_load_without_users_hashes_what_it_says_itself_or_nothing() -> None:
    assert hashing.user_hashes([HEADER], 0, Request())[0].size == 0, "a random endpoint for each try"
    ann = Request(headers=(("x-user", "ann"),))
    assert hashing.user_hashes([HEADER], 0, ann)[0].tolist() == [xxh64("ann")]
    assert hashing.user_hashes([HEADER], 3, ann)[0].tolist() == [xxh64("ann")] * 3
    assert hashing.user_hashes([QUERY], 0, Request(path="/?u=ann"))[0].tolist() == [xxh64("ann")]
    assert hashing.user_hashes([ADDRESS], 0, Request())[0].tolist() == [xxh64("127.0.0.1")]
    hashes, made_up = hashing.user_hashes([HashPolicy(kind="cookie", name="u", ttl=0.0)], 0, Request())
    assert (hashes.tolist(), made_up) == ([0], True)


def test_a_header_counts_once_and_cookies_together() -> None:
    twice = Request(headers=(("X-User", "ann"), ("x-user", "bob"), ("Cookie", "a=1"), ("cookie", "u=eve")))
    assert hashing.user_hashes([HEADER], 0, twice)[0].tolist() == [xxh64("ann")]
    for name, value in (("a", "1"), ("u", "eve")):
        assert hashing.user_hashes([HashPolicy(kind="cookie", name=name)], 0, twice)[0].tolist() == [xxh64(value)]


# --- compiled --------------------------------------------------------------------------------


def test_compiled_the_rules_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    numba = pytest.importorskip("numba")
    made, table = ring(HOSTS, 1024, weights=[1, 2, 3, 1, 1, 1]), np.array(maglev(HOSTS, 1009, weights=[1, 2, 3, 1, 1, 1]))
    hashes = np.random.default_rng(2).integers(2**64, size=100, dtype=np.uint64)
    plain = [(pick(made, int(h), 1), int(hashing.maglev_pick(table, h, 2)), int(hashing.percent(h))) for h in hashes]
    for name in ("normalise", "ring_scale", "fill_ring", "ring_pick", "fill_maglev", "maglev_pick", "percent"):
        monkeypatch.setattr(hashing, name, numba.njit(error_model="numpy")(getattr(hashing, name)))
    again = ring(HOSTS, 1024, weights=[1, 2, 3, 1, 1, 1])
    assert np.array_equal(again[0], made[0]) and np.array_equal(again[1], made[1])
    assert maglev(HOSTS, 1009, weights=[1, 2, 3, 1, 1, 1]) == table.tolist()
    assert [(pick(made, int(h), 1), int(hashing.maglev_pick(table, h, 2)), int(hashing.percent(h))) for h in hashes] == plain
