"""From the metadata of a call to the active user who makes it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from sqlalchemy import bindparam, select

from shared.caller import Caller
from shared.database import Database
from shared.errors import Reason, Refusal, caller_inactive
from shared.schema import users
from shared.settings import Settings, SettingsError
from shared.statements import Statement

MAXIMUM_TOKEN_CHARACTERS = 8192
CACHED_TOKENS = 10_000
CACHED_CALLERS = 10_000
# How long a change of a user may go unnoticed; the promise is "within seconds".
CALLER_SECONDS = 1.0
BEARER = "bearer "

V = TypeVar("V")

# The user whom a token names.
USER = Statement(
    select(
        users.c.id,
        users.c.username,
        users.c.email,
        users.c.full_name,
        users.c.is_active,
        users.c.is_superuser,
    ).where(users.c.id == bindparam("id"))
)


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """What tokens are verified by. The algorithm is fixed here and never read from a token."""

    algorithm: str
    key: Any
    material: bytes


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token that was verified says; `expires_at` in seconds since 1970."""

    subject: UUID
    expires_at: float


@dataclass(frozen=True, slots=True)
class Proof:
    """Who calls, and the token that proves it, with its end in seconds since 1970."""

    caller: Caller
    token: str
    expires_at: float


class _Cache(Generic[V]):
    """A dict that forgets what it has had for longest when it is full."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: dict[Any, V] = {}

    def get(self, key: Any) -> V | None:
        return self._entries.get(key)

    def put(self, key: Any, value: V) -> None:
        self._entries.pop(key, None)
        if len(self._entries) >= self._size:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = value


class Authenticator:
    """Verifies tokens and loads the users whom they name."""

    def __init__(self, database: Database, settings: Settings, key: VerificationKey) -> None:
        self._database = database
        self._key = key
        self._issuer = settings.jwt_issuer
        self._audience = settings.jwt_audience
        self._claims: _Cache[Claims] = _Cache(CACHED_TOKENS)
        self._callers: _Cache[tuple[Caller, float]] = _Cache(CACHED_CALLERS)

    async def authenticate(self, authorization: Sequence[str]) -> Proof:
        """The caller whom the `authorization` metadata proves.

        Raises Refusal: TOKEN_MISSING, TOKEN_INVALID, TOKEN_EXPIRED, CALLER_INACTIVE.
        """
        token = _bearer(authorization)
        claims = self._verified(token)
        cached = self._callers.get(claims.subject)
        if cached is not None and time.monotonic() - cached[1] < CALLER_SECONDS:
            return Proof(cached[0], token, claims.expires_at)
        return Proof(await self._load(claims), token, claims.expires_at)

    async def _load(self, claims: Claims) -> Caller:
        row = await self._database.read(lambda c: USER.row(c, id=claims.subject))
        if row is None or not row["is_active"]:
            raise caller_inactive()
        caller = Caller(
            id=claims.subject,
            username=row["username"],
            email=row["email"],
            full_name=row["full_name"],
            is_superuser=row["is_superuser"],
        )
        self._callers.put(claims.subject, (caller, time.monotonic()))
        return caller

    def _verified(self, token: str) -> Claims:
        claims = self._claims.get(token)
        if claims is None:
            claims = self._decode(token)
            self._claims.put(token, claims)
        if claims.expires_at <= time.time():
            raise _expired()
        return claims

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
            if payload["typ"] != "user":
                raise _invalid()
            # WhoAmI says when it ends, and can say no time after the year 9999.
            end = datetime.fromtimestamp(float(payload["exp"]), UTC)
            return Claims(UUID(payload["sub"]), end.timestamp())
        except jwt.ExpiredSignatureError:
            raise _expired() from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, OSError, AttributeError):
            raise _invalid() from None


def verification_key(settings: Settings) -> VerificationKey:
    """The key out of the settings.

    Raises SettingsError where there is none, more than one, or one that is of no use.
    """
    if settings.jwt_secret and settings.jwt_public_key:
        raise SettingsError("Set only one of TANDEM_JWT_SECRET and TANDEM_JWT_PUBLIC_KEY.")
    if settings.jwt_secret:
        secret = settings.jwt_secret.get_secret_value()
        return VerificationKey("HS256", secret, secret.encode())
    if settings.jwt_public_key:
        return _public_key(settings.jwt_public_key)
    raise SettingsError(
        "No key to verify tokens by: set TANDEM_JWT_PUBLIC_KEY (a PEM public key for RS256, ES256 "
        "or EdDSA), or TANDEM_JWT_SECRET (at least 32 bytes, HS256) for development."
    )


def _public_key(pem: str) -> VerificationKey:
    wrong = SettingsError(
        "TANDEM_JWT_PUBLIC_KEY: must be a public key in PEM: RSA of at least 2048 bits, "
        "EC on P-256, or Ed25519."
    )
    try:
        key = load_pem_public_key(pem.encode())
    except ValueError:
        raise wrong from None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048:
        return VerificationKey("RS256", key, pem.encode())
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return VerificationKey("ES256", key, pem.encode())
    if isinstance(key, ed25519.Ed25519PublicKey):
        return VerificationKey("EdDSA", key, pem.encode())
    raise wrong


def _bearer(authorization: Sequence[str]) -> str:
    if not authorization:
        message = "The call has no metadata authorization: Bearer <JWT>."
        raise Refusal(Reason.TOKEN_MISSING, message)
    if len(authorization) > 1:
        raise Refusal(Reason.TOKEN_INVALID, "The call has more than one authorization metadata.")
    value = authorization[0]
    if value[: len(BEARER)].lower() != BEARER or len(value) > MAXIMUM_TOKEN_CHARACTERS:
        message = (
            f"The authorization is not Bearer <JWT> of up to {MAXIMUM_TOKEN_CHARACTERS} characters."
        )
        raise Refusal(Reason.TOKEN_INVALID, message)
    return value[len(BEARER) :].strip()


def _invalid() -> Refusal:
    return Refusal(Reason.TOKEN_INVALID, "The token is not valid here.")


def _expired() -> Refusal:
    return Refusal(Reason.TOKEN_EXPIRED, "The token has expired; get a new one.")
