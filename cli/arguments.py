"""The allowed values of arguments. Any other is a usage error, with exit code 2."""

import os
import re
from collections.abc import Callable
from datetime import timedelta
from typing import TypeAlias

import click
from click.core import ParameterSource

from shared.auth.profile import is_subject
from shared.settings.environment import in_file
from shared.settings.variables import IN_FILE
from shared.trusted_issuers import NotAllowed

Check: TypeAlias = Callable[[click.Context, click.Parameter, str], str]

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
LONGEST = timedelta(days=365)


def user_name(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """1 to 100 visible characters, no spaces."""
    if not (0 < len(value) <= 100 and value.isprintable() and " " not in value):
        raise click.BadParameter("a name has 1 to 100 visible characters and no spaces")
    return value


def email(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """Up to 255 characters, one of them an @ inside."""
    if len(value) > 255 or not re.fullmatch(r"[^@\s]+@[^@\s]+", value):
        raise click.BadParameter("an e-mail address is like name@example.org")
    return value


def identity(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """1 to 255 characters without U+0000, as in a token."""
    if not is_subject(value):
        raise click.BadParameter("an issuer and a subject have 1 to 255 characters")
    return value


def full_name(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """Up to 255 characters."""
    if len(value) > 255 or "\0" in value:
        raise click.BadParameter("a full name has at most 255 characters")
    return value


def or_in_file(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """A secret of the command line, of the environment, or in a file that the environment names."""
    assert parameter.name
    assert isinstance(parameter.envvar, str)
    variable = parameter.envvar + IN_FILE
    path = os.environ.get(variable)
    source = context.get_parameter_source(parameter.name)
    if not path or source is ParameterSource.COMMANDLINE:
        return value
    if value:
        raise click.BadParameter(f"{variable} must not be set beside {parameter.envvar}")
    try:
        return in_file(path)
    except NotAllowed as allowed:
        raise click.BadParameter(f"{variable}: {allowed}") from None


def if_given(check: Check) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """The same check of an option that may be left out."""
    return lambda context, parameter, value: (
        None if value is None else check(context, parameter, value)
    )


def address(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """host:port"""
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise click.BadParameter("an address is like 127.0.0.1:50051")
    return value


def lifetime(_context: click.Context, _parameter: click.Parameter, value: str) -> timedelta:
    """A whole number with a unit: 90s, 30m, 12h, 7d; from a second to a year."""
    found = re.fullmatch(r"([1-9]\d{0,8})([smhd])", value)
    length = timedelta(**{UNITS[found[2]]: int(found[1])}) if found else timedelta()
    if not timedelta() < length <= LONGEST:
        raise click.BadParameter("a lifetime is like 90s, 30m, 12h or 7d, and at most 365d")
    return length
