"""Verifies tokens by the keys that are trusted, and reads their claims."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import jwt
from jwt.types import Options

from shared.auth.cache import Cache
from shared.auth.key_sources import KeyRing
from shared.auth.keys import VerificationKey
from shared.errors import Reason, Refusal
from shared.settings import Settings

CACHED_TOKENS = 10_000
# How far the issuer's clock may be ahead of ours. The end of a token allows nothing.
LEEWAY_SECONDS = 10
CHECKS: Options = {
    "require": ["iss", "aud", "sub", "exp", "iat", "typ"],
    # Times are ours to check: PyJWT takes texts for numbers.
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
}
# What the libraries raise at a token that is none.
MALFORMED = (jwt.PyJWTError, ValueError, TypeError, OverflowError, OSError, AttributeError)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token that was verified says.

    `kind` is "user" or "agent". `api_key_id` names the row of the API key that the token was given
    for; an issuer that has no API keys leaves it out. `identity` is the same for all tokens of
    which these three are the same. `expires_at` is in seconds since 1970.
    """

    identity: str
    kind: str
    subject: UUID
    api_key_id: UUID | None
    expires_at: float


class Verifier:
    """Verifies tokens, and remembers those that it has verified until other keys are trusted."""

    def __init__(self, settings: Settings, keys: KeyRing) -> None:
        self._keys = keys
        self._issuer = settings.jwt_issuer
        self._audience = settings.jwt_audience
        self._forget()
        keys.on_change(self._forget)

    async def verify(self, token: str) -> Claims:
        """What the token says.

        Raises Refusal: TOKEN_INVALID, TOKEN_EXPIRED, ISSUER_UNAVAILABLE.
        """
        known = self._known.get(token)
        if known is None:
            known = await self._read(token)
        if known.expires_at <= time.time():
            raise Refusal(Reason.TOKEN_EXPIRED, "The token has expired; get a new one.")
        return known

    def _forget(self) -> None:
        self._known: Cache[Claims] = Cache(CACHED_TOKENS)

    async def _read(self, token: str) -> Claims:
        key = await self._keys.find(_kid(token))
        if key is None:
            raise invalid()
        # Nothing is awaited from here on: the token of a key that goes meanwhile would stay known.
        claims = _claims(self._payload(token, key), key)
        self._known.put(token, claims)
        return claims

    def _payload(self, token: str, key: VerificationKey) -> dict[str, Any]:
        try:
            return jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                audience=self._audience,
                issuer=self._issuer,
                options=CHECKS,
            )
        except MALFORMED:
            raise invalid() from None


def _kid(token: str) -> str | None:
    """What the token says about its key, which is not verified yet."""
    try:
        kid: str | None = jwt.get_unverified_header(token).get("kid")
    except MALFORMED:
        raise invalid() from None
    return kid


def _claims(payload: dict[str, Any], verified_by: VerificationKey) -> Claims:
    kind, api_key = payload["typ"], payload.get("api_key_id")
    if kind not in verified_by.callers or (kind == "user" and api_key is not None):
        raise invalid()
    latest = time.time() + LEEWAY_SECONDS
    if not (_number(payload["iat"]) <= latest and _number(payload.get("nbf", 0)) <= latest):
        raise invalid()
    subject = _id(payload["sub"])
    api_key_id = None if api_key is None else _id(api_key)
    identity = f"{kind} {subject} {api_key_id}"
    return Claims(identity, kind, subject, api_key_id, _end(payload["exp"]))


def _number(value: Any) -> float:
    if type(value) not in (int, float):  # a bool is an int, too
        raise invalid()
    number: float = value
    return number


def _end(value: Any) -> float:
    try:
        # WhoAmI says when it ends, and can say no time after the year 9999.
        return datetime.fromtimestamp(_number(value), UTC).timestamp()
    except (ValueError, OverflowError, OSError):
        raise invalid() from None


def _id(text: Any) -> UUID:
    """The id, in the form that ids have everywhere; UUID() takes many others."""
    try:
        found = UUID(text)
    except (ValueError, TypeError, AttributeError):
        raise invalid() from None
    if str(found) != text.lower():
        raise invalid()
    return found


def invalid() -> Refusal:
    """The refusal of a token, which never says why: only its maker has a right to know."""
    return Refusal(Reason.TOKEN_INVALID, "The token is not valid here.")
