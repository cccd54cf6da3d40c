"""Verifies tokens by the keys of their issuers, and reads their claims."""

import time
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import jwt
from jwt.types import Options

from shared.auth.cache import Cache
from shared.auth.faults import Fault, FaultLog, listed
from shared.auth.issuers import Issuers, KnownIssuer
from shared.auth.keys import VerificationKey
from shared.auth.profile import SUBJECT_CHARACTERS, Profile, read_profile
from shared.errors import Reason, Refusal
from shared.trusted_issuers import TrustedIssuer

CACHED_TOKENS = 10_000
# How far the issuer's clock may be ahead of ours. The end of a token allows nothing.
LEEWAY_SECONDS = 10
# What every token needs, and what ours need besides. The subject may have another name.
REQUIRED = ["iss", "aud", "exp"]
REQUIRED_OF_OURS = [*REQUIRED, "sub", "iat", "typ"]
# Times are ours to check: PyJWT takes texts for numbers.
CHECKS: Options = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}
UNVERIFIED: Options = {"verify_signature": False}
# What the libraries raise at a token that is none.
MALFORMED = (jwt.PyJWTError, ValueError, TypeError, OverflowError, OSError, AttributeError)
# A user of another issuer, beside "user" and "agent", which tokens of ours name as their `typ`.
EXTERNAL = "external"
SUBJECT = f"a text of 1 to {SUBJECT_CHARACTERS} characters"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token that was verified says.

    `kind` is "user" or "agent", whose id is `subject`, or EXTERNAL with a `profile`. `api_key_id`
    names the row of the API key that the token was given for; an issuer that has no API keys leaves
    it out. `identity` is the same for all tokens of the same caller. `expires_at` is in seconds
    since 1970.
    """

    identity: Hashable
    issuer: str
    kind: str
    expires_at: float
    subject: UUID | None = None
    api_key_id: UUID | None = None
    profile: Profile | None = None


class Verifier:
    """Verifies tokens, and remembers those that it has verified until other keys are trusted."""

    def __init__(self, issuers: Issuers) -> None:
        self._issuers = issuers
        self.faults = FaultLog()
        self._forget()
        issuers.on_change(self._forget)

    async def verify(self, token: str) -> Claims:
        """What the token says.

        Raises Refusal: TOKEN_INVALID, TOKEN_EXPIRED, ISSUER_UNAVAILABLE.
        """
        known = self._known.get(token)
        if known is None:
            known = await self._read(token)
        if known.expires_at <= time.time():
            self._report_end(known)
            raise Refusal(Reason.TOKEN_EXPIRED, "The token has expired; get a new one.")
        return known

    def _forget(self) -> None:
        self._known: Cache[Claims] = Cache(CACHED_TOKENS)

    async def _read(self, token: str) -> Claims:
        issuer = None
        try:
            header, unproven = _unverified(token)
            issuer = self._issuer(unproven)
            key = await issuer.keys.find(header.get("kid"))
            if key is None:
                raise Fault("unknown key", "kid", found=header.get("kid"))
            # Nothing is awaited from here on: the token of a key that goes meanwhile would stay
            # known.
            claims = _claims(_payload(token, key, issuer), key, issuer)
        except Fault as fault:
            fault.issuer = issuer.name if issuer else None
            self.faults.report(fault)
            raise invalid() from None
        self._known.put(token, claims)
        return claims

    def _issuer(self, unproven: dict[str, Any]) -> KnownIssuer:
        """The issuer that the token names: its keys have to verify that."""
        issuer = self._issuers.find(unproven.get("iss"))
        if issuer is None:
            names = listed(self._issuers.names)
            raise Fault("unknown issuer", "iss", names, unproven.get("iss"))
        return issuer

    def _report_end(self, claims: Claims) -> None:
        end = int(claims.expires_at)
        self.faults.report(Fault("expired", "exp", found=end, issuer=claims.issuer))


def _unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header and the claims of a token, which nothing proves yet."""
    try:
        read = jwt.decode_complete(token, options=UNVERIFIED)
    except MALFORMED:
        raise Fault("malformed") from None
    return read["header"], read["payload"]


def _payload(token: str, key: VerificationKey, issuer: KnownIssuer) -> dict[str, Any]:
    """What a token says whose signature, audience and issuer are as they must be."""
    try:
        return jwt.decode(
            token,
            key.key,
            algorithms=[key.algorithm],
            audience=issuer.audience,
            issuer=issuer.name,
            options={**CHECKS, "require": _required(issuer.said)},
        )
    except jwt.InvalidAlgorithmError:
        raise Fault("algorithm", "alg", key.algorithm) from None
    except jwt.InvalidSignatureError:
        raise Fault("signature") from None
    except jwt.MissingRequiredClaimError as error:
        raise Fault("missing claim", error.claim) from None
    except jwt.InvalidAudienceError:
        found = _unverified(token)[1].get("aud")
        raise Fault("audience", "aud", listed(issuer.audience), found) from None
    except MALFORMED:
        raise Fault("malformed") from None


def _required(other: TrustedIssuer | None) -> list[str]:
    return [*REQUIRED, other.subject_claim] if other else REQUIRED_OF_OURS


def _claims(payload: dict[str, Any], verified_by: VerificationKey, issuer: KnownIssuer) -> Claims:
    latest = time.time() + LEEWAY_SECONDS
    for claim in ("iat", "nbf"):
        if not _number(claim, payload.get(claim, 0)) <= latest:
            raise Fault("not yet valid", claim, found=payload[claim])
    if issuer.said:
        return _claims_of_another(payload, issuer.name, issuer.said)
    return _claims_of_ours(payload, verified_by, issuer.name)


def _claims_of_another(payload: dict[str, Any], issuer: str, said: TrustedIssuer) -> Claims:
    """A user's, whatever else they say: only our own tokens say who is an agent."""
    profile = read_profile(payload, said)
    if profile is None:
        found = payload.get(said.subject_claim)
        raise Fault("subject", said.subject_claim, SUBJECT, found)
    identity = (issuer, profile.subject)
    return Claims(identity, issuer, EXTERNAL, _end(payload["exp"]), profile=profile)


def _claims_of_ours(payload: dict[str, Any], verified_by: VerificationKey, issuer: str) -> Claims:
    kind, api_key = payload["typ"], payload.get("api_key_id")
    if kind not in verified_by.callers:
        raise Fault("kind of caller", "typ", listed(verified_by.callers), kind)
    if kind == "user" and api_key is not None:
        raise Fault("kind of caller", "api_key_id", "none, because typ is user")
    subject = _id("sub", payload["sub"])
    api_key_id = None if api_key is None else _id("api_key_id", api_key)
    identity = f"{kind} {subject} {api_key_id}"
    return Claims(identity, issuer, kind, _end(payload["exp"]), subject, api_key_id)


def _number(claim: str, value: Any) -> float:
    if type(value) not in (int, float):  # a bool is an int, too
        raise Fault("not a time", claim, found=value)
    number: float = value
    return number


def _end(value: Any) -> float:
    try:
        # WhoAmI says when it ends, and can say no time after the year 9999.
        return datetime.fromtimestamp(_number("exp", value), UTC).timestamp()
    except (ValueError, OverflowError, OSError):
        raise Fault("not a time", "exp", found=value) from None


def _id(claim: str, text: Any) -> UUID:
    """The id, in the form that ids have everywhere; UUID() takes many others."""
    try:
        found = UUID(text)
    except (ValueError, TypeError, AttributeError):
        raise Fault("not an id", claim, "a UUID", text) from None
    if str(found) != text.lower():
        raise Fault("not an id", claim, "a UUID", text)
    return found


def invalid() -> Refusal:
    """The refusal of a token, which never says why: only its maker has a right to know."""
    return Refusal(Reason.TOKEN_INVALID, "The token is not valid here.")
