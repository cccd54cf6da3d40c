"""How often something may happen."""

from time import monotonic


class Rate:
    """Lets `per_second` of something happen, and as many at once as were not used before, up to
    `burst`."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._left = float(burst)
        self._at = monotonic()

    def take(self) -> bool:
        """Whether it may happen now; it counts if so."""
        now = monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
