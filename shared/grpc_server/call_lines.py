"""Which calls have a line in the log, and at which level."""

from dataclasses import dataclass, replace

# Of a probe that has done its work; a watch of the health ends by its client's leaving.
ORDINARY_ENDS = ("OK", "CANCELLED")


@dataclass(frozen=True, slots=True)
class CallLines:
    """Lines of the calls of a method.

    Of the calls that succeed, the share `sample` has a line, and those that take `slow_ms`, unless
    the method `waits` for something by design. What a probe does is for the level `debug`.
    """

    sample: float = 1.0
    slow_ms: float = 1000.0
    is_probe: bool = False
    waits: bool = False

    def of(self, *, is_probe: bool, waits: bool) -> "CallLines":
        """The same for a method."""
        return replace(self, is_probe=is_probe, waits=waits)

    def is_slow(self, ms: float) -> bool:
        """Whether a call that has succeeded has a line because it took so long."""
        return ms >= self.slow_ms and not self.waits


ALL_CALLS = CallLines()
