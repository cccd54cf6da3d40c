"""From a token to what it says, where a key of ours verifies it."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import jwt

from shared.cache import Cache
from shared.errors import Reason, Refusal
from shared.keys import VerificationKey
from shared.settings import Settings

CACHED_TOKENS = 10_000
CALLERS = ("user", "agent")


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
    """Verifies tokens, and remembers those that it has verified."""

    def __init__(self, settings: Settings, key: VerificationKey) -> None:
        self._key = key
        self._issuer = settings.jwt_issuer
        self._audience = settings.jwt_audience
        self._known: Cache[Claims] = Cache(CACHED_TOKENS)

    async def verify(self, token: str) -> Claims:
        """What the token says.

        Raises Refusal: TOKEN_INVALID, TOKEN_EXPIRED.
        """
        known = self._known.get(token)
        if known is None:
            known = self._decode(token)
            self._known.put(token, known)
        if known.expires_at <= time.time():
            raise _expired()
        return known

    def _decode(self, token: str) -> Claims:
        try:
            payload = jwt.decode(
                token,
                self._key.key,
                algorithms=[self._key.algorithm],
                audience=self._audience,
                issuer=self._issuer,
                options={"require": ["iss", "aud", "sub", "exp", "iat", "typ"]},
            )
            return _claims(payload)
        except jwt.ExpiredSignatureError:
            raise _expired() from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, OSError, AttributeError):
            raise invalid() from None


def _claims(payload: dict[str, Any]) -> Claims:
    kind, subject, key = payload["typ"], UUID(payload["sub"]), payload.get("api_key_id")
    if kind not in CALLERS or (kind == "user" and key is not None):
        raise invalid()
    api_key_id = None if key is None else UUID(key)
    # WhoAmI says when it ends, and can say no time after the year 9999.
    end = datetime.fromtimestamp(float(payload["exp"]), UTC).timestamp()
    return Claims(f"{kind} {subject} {api_key_id}", kind, subject, api_key_id, end)


def invalid() -> Refusal:
    """The refusal of a token, which never says why: only its maker has a right to know."""
    return Refusal(Reason.TOKEN_INVALID, "The token is not valid here.")


def _expired() -> Refusal:
    return Refusal(Reason.TOKEN_EXPIRED, "The token has expired; get a new one.")
