"""What an argument may be. A wrong one is a mistake in usage, with exit code 2."""

import re
from datetime import timedelta

import typer

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
LONGEST = timedelta(days=365)


def user_name(value: str) -> str:
    """1 to 100 visible characters, no blanks."""
    if not (0 < len(value) <= 100 and value.isprintable() and " " not in value):
        raise typer.BadParameter("a name has 1 to 100 visible characters and no blanks")
    return value


def email(value: str) -> str:
    """Up to 255 characters with an @ in between."""
    if len(value) > 255 or not re.fullmatch(r"[^@\s]+@[^@\s]+", value):
        raise typer.BadParameter("an e-mail address is like name@example.org")
    return value


def lifetime(value: str) -> timedelta:
    """A whole number with a unit: 90s, 30m, 12h, 7d; at least a second, at most a year."""
    found = re.fullmatch(r"([1-9]\d{0,8})([smhd])", value)
    length = timedelta(**{UNITS[found[2]]: int(found[1])}) if found else timedelta()
    if not timedelta() < length <= LONGEST:
        raise typer.BadParameter("a lifetime is like 90s, 30m, 12h or 7d, and at most 365d")
    return length
