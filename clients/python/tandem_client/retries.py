"""When a call that failed is sent again. Pure: no clock, no I/O."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from grpc import StatusCode

from tandem.agent.v1.error_reason_pb2 import ErrorReason
from tandem_client.errors import TandemError


@dataclass(frozen=True)
class Retries:
    """Exponential backoff with full jitter; the call's timeout bounds all attempts together.

    A call is repeated after UNAVAILABLE, after DEADLINE_EXCEEDED if its own time is not over, after
    ABORTED with the reason CONFLICT, and after RESOURCE_EXHAUSTED if that says how long to wait;
    after nothing else. That is safe for every method: reads change nothing, and a change carries
    the same `request_id` in each attempt.

    attempts: how often a call is sent at most. 1 turns retries off.
    first_backoff: the most seconds to wait before the second attempt; it doubles from then on.
    longest_backoff: the most seconds to wait before any attempt.
    attempt_timeout: seconds that one attempt may take; None: all that the call has left.
    jitter: gives a number from 0 to 1, by which each backoff is multiplied.

    If the service says how long to wait (`TandemError.retry_after`), the backoff is added to that.
    """

    attempts: int = 6
    first_backoff: float = 0.2
    longest_backoff: float = 5.0
    attempt_timeout: float | None = None
    jitter: Callable[[], float] = random.random

    def wait(self, failures: int, error: TandemError) -> float | None:
        """Seconds to wait after as many failures, the last one being `error`; None: give up."""
        if failures >= self.attempts or not is_transient(error):
            return None
        return (error.retry_after or 0.0) + self.backoff(failures)

    def backoff(self, failures: int) -> float:
        """Seconds to wait after as many failures, from 1 on."""
        # No more doublings than a float can take: a watch goes on however often it fails.
        longest = self.first_backoff * 2.0 ** min(failures - 1, 60)
        return min(self.longest_backoff, longest) * self.jitter()

    def timeout(self, left: float) -> float:
        """Seconds that an attempt may take of a call that has so many left."""
        return left if self.attempt_timeout is None else min(left, self.attempt_timeout)


def is_transient(error: TandemError) -> bool:
    """Whether the same call may succeed if it is sent again."""
    match error.code:
        case StatusCode.UNAVAILABLE | StatusCode.DEADLINE_EXCEEDED:
            return True
        case StatusCode.ABORTED:
            return error.reason == ErrorReason.ERROR_REASON_CONFLICT
        case StatusCode.RESOURCE_EXHAUSTED:
            return error.retry_after is not None
    return False
