"""Failed exchanges are counted and answered more slowly, and no agent is locked out by it."""

from collections.abc import Callable

import pytest

from agent_service.api_keys import keys, throttle
from agent_service.api_keys.throttle import (
    KEY_LIMIT,
    LONGEST_DELAY_SECONDS,
    PEER_LIMIT,
    WINDOW_SECONDS,
    Counts,
    Throttle,
    address,
    delay,
)
from shared.errors import Reason
from tests.agent_service.api_keys.holder import Holder
from tests.refusals import Refused, refused


class Clock:
    """A time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def added(counts: Counts, name: str, times: int) -> float:
    return [counts.add(name) for _ in range(times)][-1]


def test_failures_are_counted_per_name() -> None:
    counts = Counts(Clock())
    assert added(counts, "a", 5) == 5
    assert counts.add("b") == 1


def test_a_count_wears_off_during_the_next_window() -> None:
    clock = Clock()
    counts = Counts(clock)
    added(counts, "a", 100)
    for part, left in ((1.0, 100), (1.25, 75), (1.5, 50), (1.75, 25)):
        clock.now = 1000 + part * WINDOW_SECONDS
        assert counts.add("b") >= 1
        assert counts.add("a") == pytest.approx(left + 4 * (part - 1) + 1)


@pytest.mark.parametrize("windows", [2, 2.5, 3, 1000.25])
def test_a_count_is_forgotten_after_two_windows(windows: float) -> None:
    clock = Clock()
    counts = Counts(clock)
    added(counts, "a", 100)
    clock.now += windows * WINDOW_SECONDS
    assert counts.add("a") == 1


def test_whoever_makes_up_names_pushes_out_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "NAMES", 100)
    clock = Clock()
    counts = Counts(clock)
    added(counts, "target", 50)
    for number in range(10_000):
        counts.add(f"{number}")
    assert counts.add("target") == 51
    assert counts.add("one more") > 9_000
    clock.now += WINDOW_SECONDS
    assert counts.add("target") == 52
    for number in range(10_000):
        counts.add(f"more {number}")
    assert len(counts._current) == len(counts._last) == 101


@pytest.mark.parametrize(
    ("count", "seconds"),
    [(0, 0), (10, 0), (10.5, 2**0.05), (20, 2), (30, 4), (69, 2**5.9), (70, 60), (1e300, 60)],
)
def test_a_delay_grows_to_a_maximum(count: float, seconds: float) -> None:
    assert delay(count, 10) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("peer", "counted"),
    [
        ("ipv4:192.0.2.1:567", "192.0.2.1"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:567", "2001:db8:1:2::/64"),
        ("ipv6:[2001:db8:1:2::9]:567", "2001:db8:1:2::/64"),
        ("ipv6:%5B::1%5D:567", "::/64"),
        ("ipv6:%5B::ffff:192.0.2.1%5D:567", "192.0.2.1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:567", "fe80::/64"),
        ("unix:/run/tandem.sock", "unix"),
        ("unix:", "unix"),
        ("", ""),
        ("ipv4:nonsense:567", "ipv4"),
    ],
)
def test_a_peer_is_counted_without_what_it_can_change(peer: str, counted: str) -> None:
    assert address(peer) == counted


@pytest.mark.parametrize("same", ["key id", "peer"])
def test_the_larger_count_decides(same: str) -> None:
    throttled = Throttle(Clock())
    key_id: Callable[[int], str] = lambda n: "k" if same == "key id" else f"{n}"  # noqa: E731
    peer: Callable[[int], str] = lambda n: f"ipv4:192.0.2.{1 if same == 'peer' else n}:1"  # noqa: E731
    limit = KEY_LIMIT if same == "key id" else PEER_LIMIT
    delays = [throttled.failed(key_id(n), peer(n)) for n in range(limit + 5)]
    assert delays[:limit] == [0] * limit
    assert 1 < delays[limit] < delays[-1] < LONGEST_DELAY_SECONDS


def test_what_is_no_key_is_counted_by_its_peer_alone() -> None:
    throttled = Throttle(Clock())
    delays = [throttled.failed("", f"ipv4:192.0.{n // 250}.{n % 250}:1") for n in range(1000)]
    assert set(delays) == {0}
    assert [throttled.failed("", "ipv4:198.51.100.1:1") for _ in range(PEER_LIMIT + 1)][-1] > 1


def test_a_peer_that_fails_often_is_known_by_its_address() -> None:
    throttled = Throttle(Clock())
    for _ in range(PEER_LIMIT):
        throttled.failed("", "ipv4:192.0.2.1:1")
    assert not throttled.fails_often("ipv4:192.0.2.1:2")
    throttled.failed("", "ipv4:192.0.2.1:3")
    assert throttled.fails_often("ipv4:192.0.2.1:2")
    assert not throttled.fails_often("ipv4:192.0.2.2:1")


async def slowed(holder: Holder, secret: str) -> Refused:
    found = await refused(holder.exchange(secret), Reason.LIMIT_EXCEEDED)
    assert found.details["RetryInfo"].retry_delay.seconds >= 1
    return found


async def test_known_and_unknown_key_ids_are_slowed_alike(fresh_holder: Holder) -> None:
    known = f"{(await fresh_holder.create()).api_key.key_prefix}_{'A' * 43}"
    said = []
    for secret in (known, keys.make().text):
        for _ in range(KEY_LIMIT):
            await refused(fresh_holder.exchange(secret), Reason.API_KEY_INVALID)
        said.append(await slowed(fresh_holder, secret))
    first, second = (found.details["RetryInfo"].retry_delay.ToTimedelta() for found in said)
    assert first == pytest.approx(second, abs=second / 10)
    assert said[0].message == said[1].message


async def test_the_right_key_is_served_whatever_strangers_did_under_its_id(
    fresh_holder: Holder,
) -> None:
    answer = await fresh_holder.create()
    wrong = f"{answer.api_key.key_prefix}_{'A' * 43}"
    for _ in range(KEY_LIMIT):
        await refused(fresh_holder.exchange(wrong), Reason.API_KEY_INVALID)
    for _ in range(20):
        await slowed(fresh_holder, wrong)
        assert (await fresh_holder.exchange(answer.secret)).access_token


async def test_the_right_key_is_served_whatever_came_from_its_address(fresh_holder: Holder) -> None:
    answer = await fresh_holder.create()
    for _ in range(PEER_LIMIT):
        await refused(fresh_holder.exchange(keys.make().text), Reason.API_KEY_INVALID)
    for _ in range(20):
        await slowed(fresh_holder, keys.make().text)
        assert (await fresh_holder.exchange(answer.secret)).access_token


async def test_a_key_that_ended_is_slowed_as_others_are(fresh_holder: Holder) -> None:
    """Its secret is right: only who had it knows that."""
    answer = await fresh_holder.create()
    await fresh_holder.revoke(answer.api_key)
    for _ in range(KEY_LIMIT):
        await refused(fresh_holder.exchange(answer.secret), Reason.API_KEY_INVALID)
    await slowed(fresh_holder, answer.secret)


async def test_right_keys_are_not_counted(fresh_holder: Holder) -> None:
    answer = await fresh_holder.create()
    for _ in range(PEER_LIMIT + 5):
        await fresh_holder.exchange(answer.secret)
    await refused(fresh_holder.exchange("x"), Reason.API_KEY_INVALID)
