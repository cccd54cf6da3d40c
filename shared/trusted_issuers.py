"""The issuers of users' tokens beside our own: the setting TANDEM_JWT_ISSUERS, in JSON."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlsplit

import orjson

THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
JWKS_URL_FORM = (
    "must be a URL like https://issuer.example/.well-known/jwks.json, without a user or password; "
    "http:// is for this machine itself only (localhost, 127.0.0.1, [::1]), because anyone who can "
    "change the answer on its way could make keys"
)
MAXIMUM_ISSUERS = 20
MAXIMUM_AUDIENCES = 20
MAXIMUM_CHARACTERS = 255
TEXT = f"must be a text of 1 to {MAXIMUM_CHARACTERS} visible characters"
AUDIENCE = f"{TEXT}, or a list of up to {MAXIMUM_AUDIENCES} of them"


class NotAllowed(Exception):  # noqa: N818
    """The message says what is allowed. It never repeats the value, which may be a secret."""


@dataclass(frozen=True)
class TrustedIssuer:
    """An entry of the setting: whose tokens, for whom, verified by what, and what its claims say.

    Exactly one of `jwks_url` and `public_key` (PEM) is set.
    """

    issuer: str
    audience: tuple[str, ...]
    jwks_url: str | None = None
    public_key: str | None = None
    subject_claim: str = "sub"
    username_claim: str = "preferred_username"
    email_claim: str = "email"
    full_name_claim: str = "name"


def jwks_url(text: str) -> str:
    """The URL of a key set. Raises NotAllowed."""
    try:
        url = urlsplit(text)
        sound = text.isascii() and text.isprintable() and " " not in text and url.port != 0
    except ValueError:
        sound = False
    if not sound or not url.hostname or "@" in url.netloc:
        raise NotAllowed(JWKS_URL_FORM)
    if url.scheme != "https" and not (url.scheme == "http" and url.hostname in THIS_MACHINE):
        raise NotAllowed(JWKS_URL_FORM)
    return text


def trusted_issuers(text: str) -> tuple[TrustedIssuer, ...]:
    """The entries. Raises NotAllowed, which names the entry (from 1) and its field."""
    try:
        entries = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise NotAllowed("must be JSON: a list of objects, one for each issuer") from None
    if not isinstance(entries, list) or not 0 < len(entries) <= MAXIMUM_ISSUERS:
        raise NotAllowed(f"must be a list of 1 to {MAXIMUM_ISSUERS} objects")
    found = tuple(_entry(f"entry {n}", entry) for n, entry in enumerate(entries, 1))
    names = [each.issuer for each in found]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise NotAllowed(f"entry {number + 1}: issuer must differ from that of other entries")
    return found


def _entry(where: str, entry: Any) -> TrustedIssuer:
    if not isinstance(entry, dict):
        raise NotAllowed(f"{where}: must be an object")
    if not entry.keys() <= PARSERS.keys():
        raise NotAllowed(f"{where}: may have the fields {', '.join(PARSERS)}, and no others")
    for name in ("issuer", "audience"):
        if name not in entry:
            raise NotAllowed(f"{where}: {name} is missing")
    if ("jwks_url" in entry) == ("public_key" in entry):
        raise NotAllowed(f"{where}: must have exactly one of jwks_url and public_key")
    return TrustedIssuer(**{name: _parsed(where, name, entry[name]) for name in entry})


def _parsed(where: str, name: str, value: Any) -> Any:
    try:
        return PARSERS[name](value)
    except NotAllowed as allowed:
        raise NotAllowed(f"{where}: {name} {allowed}") from None


def _text(value: Any) -> str:
    if not (isinstance(value, str) and 0 < len(value) <= MAXIMUM_CHARACTERS):
        raise NotAllowed(TEXT)
    if not value.isprintable():
        raise NotAllowed(TEXT)
    return value


def _audience(value: Any) -> tuple[str, ...]:
    found = value if isinstance(value, list) else [value]
    if not 0 < len(found) <= MAXIMUM_AUDIENCES:
        raise NotAllowed(AUDIENCE)
    try:
        return tuple(map(_text, found))
    except NotAllowed:
        raise NotAllowed(AUDIENCE) from None


def _url(value: Any) -> str:
    if not isinstance(value, str):
        raise NotAllowed(JWKS_URL_FORM)
    return jwks_url(value)


def _pem(value: Any) -> str:
    if not isinstance(value, str) or "PUBLIC KEY-----" not in value:
        raise NotAllowed(r"must be a public key in PEM, with \n for the ends of its lines")
    return value


PARSERS: dict[str, Callable[[Any], Any]] = {
    **{field.name: _text for field in fields(TrustedIssuer)},
    "audience": _audience,
    "jwks_url": _url,
    "public_key": _pem,
}
