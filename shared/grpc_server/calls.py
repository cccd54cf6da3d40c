"""Counts calls, for processes that publish metrics."""

from collections import Counter, defaultdict

from shared.metrics.catalog import CALL_SECONDS, HANDLED, HANDLING, LIMITS, REFUSED, STARTED
from shared.metrics.instruments import Histogram, Sample

UNARY = "unary"


class MethodCalls:
    """The calls of one method. Whoever serves them has it at hand: a call looks nothing up."""

    __slots__ = ("_handled", "_refused", "_seconds", "labels", "started")

    def __init__(self, labels: tuple[str, str, str], refused: "Counter[str]") -> None:
        """`labels` are its type, service and name; `refused` counts calls of all by limits."""
        self.labels = labels
        self.started = 0
        self._handled: dict[tuple[str, str | None], int] = defaultdict(int)
        self._seconds = Histogram(CALL_SECONDS)
        self._refused = refused

    def ended(self, code: str, reason: str | None, seconds: float) -> None:
        """A call has ended."""
        self._handled[code, reason] += 1
        self._seconds.observe(seconds)

    def refused(self, limit: str) -> None:
        """A call is refused because of load."""
        self._refused[limit] += 1

    def samples(self) -> list[Sample]:
        """What became of them."""
        found = [Sample(STARTED, self.started, self.labels)]
        for (code, reason), number in self._handled.items():
            labels = (*self.labels, _in_go(code), reason or "")
            found.append(Sample(HANDLED, number, labels))
        if self.labels[0] == UNARY:
            found.append(Sample(HANDLING, self._seconds, self.labels))
        return found


class Calls:
    """The calls of all methods of a server."""

    def __init__(self) -> None:
        self._methods: dict[str, MethodCalls] = {}
        self._refused: Counter[str] = Counter(dict.fromkeys(LIMITS, 0))

    def of(self, method: str, kind: str) -> MethodCalls:
        """Those of a method ("/package.Service/Method"), of a kind like UNARY."""
        if method not in self._methods:
            service, _, name = method.removeprefix("/").rpartition("/")
            labels = (kind, service or name, name)
            self._methods[method] = MethodCalls(labels, self._refused)
        return self._methods[method]

    def samples(self) -> list[Sample]:
        """What became of them."""
        each = [sample for method in self._methods.values() for sample in method.samples()]
        return each + [Sample(REFUSED, number, (name,)) for name, number in self._refused.items()]


def _in_go(code: str) -> str:
    """NOT_FOUND as NotFound, which is how dashboards for gRPC servers spell it."""
    words = "".join(word.capitalize() for word in code.split("_"))
    return {"Ok": "OK", "Cancelled": "Canceled"}.get(words, words)
