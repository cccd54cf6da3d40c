"""How long API keys and their tokens live."""

from datetime import UTC, datetime, timedelta

import pytest

from agent_service.api_keys.expiry import is_allowed, renewed, token_end

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)


@pytest.mark.parametrize(
    ("ahead", "allowed"),
    [
        (-DAY, False),
        (timedelta(), False),
        (DAY - 61 * SECOND, False),
        (DAY - 60 * SECOND, True),
        (DAY, True),
        (365 * DAY, True),
        (365 * DAY + 60 * SECOND, True),
        (365 * DAY + 61 * SECOND, False),
    ],
)
def test_a_key_lives_for_a_day_to_a_year(ahead: timedelta, allowed: bool) -> None:
    assert is_allowed(NOW + ahead, NOW) is allowed


@pytest.mark.parametrize(
    ("lived", "lives"),
    [(30 * DAY, 30 * DAY), (SECOND, DAY), (-DAY, DAY), (9999 * DAY, 365 * DAY)],
)
def test_a_successor_lives_as_long_within_the_same_limits(
    lived: timedelta, lives: timedelta
) -> None:
    created = NOW - 20 * DAY
    assert renewed(created, created + lived, NOW) == NOW + lives


def test_a_successor_of_what_never_ends_never_ends() -> None:
    assert renewed(NOW, None, NOW) is None


@pytest.mark.parametrize(
    ("ahead", "seconds"),
    [(None, 900), (DAY, 900), (900 * SECOND, 900), (899.5 * SECOND, 899), (SECOND, 1)],
)
def test_a_token_ends_with_its_key(ahead: timedelta | None, seconds: int) -> None:
    expires_at = None if ahead is None else NOW + ahead
    assert token_end(expires_at, NOW.timestamp()) == NOW.timestamp() + seconds
