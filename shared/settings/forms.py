"""The values that variables may have: each form in words, and as what reads it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shared.trusted_issuers import NotAllowed, jwks_url, trusted_issuers

DATABASE_URL_FORM = (
    "must be a URL like postgresql://user:password@host:5432/database, "
    "with special characters of the password written as %23 and so on"
)
NAMES_FORM = "must be names as in certificates, separated by commas, for example tasks.example.org"
MINIMUM_SECRET_BYTES = 32  # RFC 7518, 3.2: an HS256 key is at least as long as its hash


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


@dataclass(frozen=True)
class Form:
    """What a variable may say, in Markdown, and what parses it, which raises NotAllowed.

    One that `may_be_in_a_file` is a secret or has several lines: a second variable, with `_FILE` at
    the end of its name, can name a file that has the value.
    """

    words: str
    parse: Callable[[str], Any]
    may_be_in_a_file: bool = False

    @property
    def can_be_wrong(self) -> bool:
        """Whether there are texts that it refuses."""
        return not isinstance(self.parse, type)


def integer(lowest: int, highest: int, unit: str = "") -> Form:
    """A whole number; `unit` is for people only."""

    def parse(text: str) -> int:
        digits = text.isascii() and text.isdecimal() and len(text) <= len(str(highest))
        if not (digits and lowest <= int(text) <= highest):
            raise NotAllowed(f"must be an integer from {lowest} to {highest}")
        return int(text)

    return Form(f"{lowest}–{highest:,} {unit}".rstrip(), parse)  # noqa: RUF001


def share() -> Form:
    """A number from 0 to 1, with up to six digits behind the point."""

    def parse(text: str) -> float:
        if not re.fullmatch(r"(0|1|0?\.[0-9]{1,6}|1\.0{1,6})", text):
            raise NotAllowed("must be a number from 0 to 1, for example 0.01")
        return float(text)

    return Form("0–1", parse)  # noqa: RUF001


def one_of(*words: str) -> Form:
    """Case does not matter."""

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise NotAllowed(f"must be one of {', '.join(map(repr, words))}")
        return text.lower()

    return Form(", ".join(f"`{word}`" for word in words), parse)


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


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(re.fullmatch(r"[!-~]+", name) for name in names):
        raise NotAllowed(NAMES_FORM)
    return names


TEXT = Form("text", str)
FOLDER = Form("path of a folder", Path)
PEM_FILE = Form("path of a file in PEM", Path)
NAMES = Form("names, separated by commas", _names)
ADDRESS = Form("`host:port`", _host_and_port)
DATABASE_URL = Form("`postgresql://user:password@host:5432/database`", _database_url, True)
HS256_SECRET = Form(f"text of {MINIMUM_SECRET_BYTES} bytes or more", _hs256_secret, True)
PRIVATE_KEY = Form("private key in PEM (PKCS #8)", SecretStr, True)
PUBLIC_KEY = Form("public key in PEM", str, True)
JWKS_URL = Form("URL: https, or http on this machine itself", jwks_url)
ISSUERS = Form("list in JSON", trusted_issuers, True)
