"""How long API keys and the tokens that are given for them live. Pure."""

from datetime import datetime, timedelta

SHORTEST, LONGEST = timedelta(days=1), timedelta(days=365)
# A client that asks for exactly one day or one year has another clock, and asks a moment before.
SLACK = timedelta(minutes=1)
TOKEN_SECONDS = 15 * 60


def is_allowed(expires_at: datetime, now: datetime) -> bool:
    """Whether a new API key may end then."""
    return now + SHORTEST - SLACK <= expires_at <= now + LONGEST + SLACK


def renewed(created_at: datetime, expires_at: datetime | None, now: datetime) -> datetime | None:
    """When the key ends that takes the place of one with these times: it lives as long again."""
    if expires_at is None:
        return None
    return now + min(max(expires_at - created_at, SHORTEST), LONGEST)


def token_end(expires_at: datetime | None, now: float) -> int:
    """When a token ends that is given for a key with this end; seconds since 1970."""
    end = int(now) + TOKEN_SECONDS
    return end if expires_at is None else min(end, int(expires_at.timestamp()))
