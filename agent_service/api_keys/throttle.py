"""Failed exchanges of API keys, counted per key id and per address, each process for itself.

An attacker gains nothing from a right key being verified, and served, whatever the counts say:
256 random bits are found at no rate of guessing. Were the counts to refuse before that, any
stranger could lock an agent out by failing under its key id, or from the address that it shares
with others. So an address that fails often is only slowed: its keys are looked up one after the
other, which is what bounds the work of the database.
"""

import math
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Network, ip_address
from urllib.parse import unquote

WINDOW_SECONDS = 60.0
# Failures in a window that are answered without a delay. Many agents may share an address.
KEY_LIMIT, PEER_LIMIT = 10, 100
LONGEST_DELAY_SECONDS = 60.0
NAMES = 10_000
OTHERS = "others"
IPV6_PREFIX = 64


class Counts:
    """Counts per name over a sliding window: the last full one wears off during the next.

    When a window has NAMES names, further ones share one count. So a stranger who makes up names
    neither grows the memory nor pushes out the count of another name.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begun = clock()
        self._current: dict[str, int] = {}
        self._last: dict[str, int] = {}

    def add(self, name: str) -> float:
        """Count one more, and say how many there are."""
        self._turn()
        if name not in self._current and len(self._current) >= NAMES:
            name = OTHERS
        self._current[name] = self._current.get(name, 0) + 1
        return self.count(name)

    def count(self, name: str) -> float:
        """How many there are."""
        left = 1 - self._turn() / WINDOW_SECONDS
        return self._current.get(name, 0) + self._last.get(name, 0) * left

    def _turn(self) -> float:
        """The age of the current window, a new one if it is over."""
        age = self._clock() - self._begun
        if age >= WINDOW_SECONDS:
            self._last = self._current if age < 2 * WINDOW_SECONDS else {}
            self._current = {}
            self._begun += age - age % WINDOW_SECONDS
            age %= WINDOW_SECONDS
        return age


class Throttle:
    """How long a client that fails again and again is asked to wait."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = Counts(clock)
        self._peers = Counts(clock)

    def fails_often(self, peer: str) -> bool:
        """Whether the keys from the address of a gRPC peer are looked up more slowly."""
        return self._peers.count(address(peer)) > PEER_LIMIT

    def failed(self, key_id: str, peer: str) -> float:
        """Count a failure under a key id, known or not, by a gRPC peer; the delay in seconds.

        Without a key id, because the key has not the form of one, it is counted by peer alone.
        """
        by_key = delay(self._keys.add(key_id), KEY_LIMIT) if key_id else 0.0
        return max(by_key, delay(self._peers.add(address(peer)), PEER_LIMIT))


def delay(count: float, limit: int) -> float:
    """Seconds: none up to `limit`, then one, twice as many with each `limit` more, to a maximum."""
    if count <= limit:
        return 0.0
    doublings = min((count - limit) / limit, LONGEST_DELAY_SECONDS)  # or it overflows
    return min(math.exp2(doublings), LONGEST_DELAY_SECONDS)


def address(peer: str) -> str:
    """What a gRPC peer ("ipv4:192.0.2.1:567", "ipv6:%5B2001:db8::1%5D:567") is counted as.

    Without the port, which changes; of IPv6 the /64, of which a stranger has every address.
    """
    host = unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]")
    try:
        found = ip_address(host)
    except ValueError:
        return peer.partition(":")[0]
    if isinstance(found, IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or IPv6Network((int(found), IPV6_PREFIX), strict=False))
