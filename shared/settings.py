"""The configuration of every Tandem process: environment variables with the prefix ``TANDEM_``."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints
from urllib.parse import urlsplit

from shared.trusted_issuers import NotAllowed, TrustedIssuer, jwks_url, trusted_issuers

PREFIX = "TANDEM_"
DATABASE_URL_FORM = (
    "must be a URL like postgresql://user:password@host:5432/database, "
    "with special characters of the password written as %23 and so on"
)
MINIMUM_SECRET_BYTES = 32  # RFC 7518, 3.2: an HS256 key is at least as long as its hash
MAXIMUM_POOL_SIZE = 100
MAXIMUM_SHUTDOWN_DELAY = 300
MAXIMUM_EVENT_RETENTION_DAYS = 3650
# Clients of agents write a sign of life every 5 seconds at most.
AGENT_TIMEOUTS = 10, 86_400


class SettingsError(Exception):
    """A setting is wrong or missing. The message names the variable and what is allowed."""


class SecretStr:
    """A text that no log, traceback or `repr` shows."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def get_secret_value(self) -> str:
        """The text."""
        return self._value

    def __repr__(self) -> str:
        return "SecretStr('**********')"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretStr) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


def _utf8(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:  # Python keeps bytes that are not UTF-8 as lone surrogates
        raise NotAllowed("must be UTF-8") from None
    return text


def _host_and_port(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise NotAllowed("must be host:port, for example 127.0.0.1:50051")
    return text


def _database_url(text: str) -> SecretStr:
    try:
        scheme = urlsplit(text).scheme
    except ValueError:  # its message repeats the password
        scheme = ""
    if scheme not in ("postgresql", "postgres"):
        raise NotAllowed(DATABASE_URL_FORM)
    return SecretStr(text)


def _hs256_secret(text: str) -> SecretStr:
    if len(text.encode()) < MINIMUM_SECRET_BYTES:
        raise NotAllowed(f"must be at least {MINIMUM_SECRET_BYTES} bytes long")
    return SecretStr(text)


def _integer(lowest: int, highest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        digits = text.isascii() and text.isdecimal() and len(text) <= len(str(highest))
        if not (digits and lowest <= int(text) <= highest):
            raise NotAllowed(f"must be an integer from {lowest} to {highest}")
        return int(text)

    return parse


def _one_of(*words: str) -> Callable[[str], str]:
    """Case does not matter."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise NotAllowed(f"must be one of {', '.join(map(repr, words))}")
        return text.lower()

    return parse


@dataclass(frozen=True)
class Settings:
    """What the environment says, each with what parses its variable, which raises NotAllowed.

    A secret is a SecretStr, so that no log or traceback prints it.
    """

    database_url: Annotated[SecretStr | None, _database_url] = None
    database_owner_url: Annotated[SecretStr | None, _database_url] = None
    database_admin_url: Annotated[SecretStr | None, _database_url] = None
    data_dir: Annotated[Path, Path] = Path(".data")
    agent_address: Annotated[str, _host_and_port] = "127.0.0.1:50051"
    task_address: Annotated[str, _host_and_port] = "127.0.0.1:50052"
    jwt_issuer: Annotated[str, str] = "tandem"
    jwt_audience: Annotated[str, str] = "tandem"
    jwt_secret: Annotated[SecretStr | None, _hs256_secret] = None
    jwt_public_key: Annotated[str | None, str] = None
    jwt_jwks_url: Annotated[str | None, jwks_url] = None
    jwt_private_key: Annotated[SecretStr | None, SecretStr] = None
    jwt_issuers: Annotated[tuple[TrustedIssuer, ...] | None, trusted_issuers] = None
    jwt_provision: Annotated[str, _one_of("never", "first-call")] = "never"
    log_level: Annotated[str, _one_of("debug", "info", "warning", "error")] = "info"
    log_format: Annotated[str, _one_of("auto", "json", "console")] = "auto"
    pool_size: Annotated[int, _integer(1, MAXIMUM_POOL_SIZE)] = 10
    shutdown_delay: Annotated[int, _integer(0, MAXIMUM_SHUTDOWN_DELAY)] = 5  # seconds
    event_retention_days: Annotated[int, _integer(1, MAXIMUM_EVENT_RETENTION_DAYS)] = 90
    agent_timeout: Annotated[int, _integer(*AGENT_TIMEOUTS)] = 90  # seconds

    @property
    def users_come_from_elsewhere(self) -> bool:
        """Whether an issuer of its own signs the tokens of users, and this machine cannot."""
        elsewhere = self.jwt_public_key or self.jwt_jwks_url
        return bool(elsewhere or (self.jwt_issuers and self.jwt_private_key))


def load_settings() -> Settings:
    """Read the environment. The case of a name does not matter; an empty value counts as none.

    Raises SettingsError with one sentence per wrong variable; a value is never repeated in it,
    because it may be a secret.
    """
    environment = {name.upper(): value for name, value in os.environ.items() if value}
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, hint in get_type_hints(Settings, include_extras=True).items():
        (parse,) = hint.__metadata__
        variable = PREFIX + name.upper()
        try:
            if variable in environment:
                values[name] = parse(_utf8(environment[variable]))
        except NotAllowed as allowed:
            problems.append(f"{variable}: {allowed}.")
    if problems:
        raise SettingsError("\n".join(problems)) from None
    return Settings(**values)
