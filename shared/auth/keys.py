"""The keys that tokens are verified by, and the one that tokens of agents are signed with."""

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_pem_public_key,
)
from jwt import get_algorithm_by_name

from shared.settings import Settings, SettingsError

CALLERS = ("user", "agent")
# Below, a signature can be forged; above, verifying one takes longer than a call may.
RSA_BITS = range(2048, 8193)
KINDS = f"RSA of {RSA_BITS[0]} to {RSA_BITS[-1]} bits, EC on P-256, or Ed25519"
# What RFC 7638 makes a thumbprint of.
THUMBPRINT_MEMBERS = ("crv", "e", "kty", "n", "x", "y")


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """What tokens are verified by. The algorithm is fixed here and never read from a token.

    `callers` are the kinds of callers ("user", "agent") that its tokens may name.
    """

    algorithm: str
    key: Any
    callers: tuple[str, ...] = CALLERS


@dataclass(frozen=True, slots=True)
class SigningKey:
    """What tokens of agents are signed with. `kid` names the key in their headers."""

    algorithm: str
    key: Any
    kid: str | None = None


def signing_key(settings: Settings) -> SigningKey | None:
    """The key out of the settings; None if tokens are signed elsewhere.

    Raises SettingsError if it is of no use.
    """
    if settings.jwt_secret:
        return SigningKey("HS256", settings.jwt_secret.get_secret_value())
    if not settings.jwt_private_key:
        return None
    key = _private_key(settings.jwt_private_key.get_secret_value())
    public = public_key(key.public_key())
    return SigningKey(public.algorithm, key, thumbprint(public)) if public else None


def public_key(key: Any) -> VerificationKey | None:
    """The key with the algorithm of its type; None for another type, or a weak key."""
    algorithm = None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size in RSA_BITS:
        algorithm = "RS256"
    elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        algorithm = "ES256"
    elif isinstance(key, ed25519.Ed25519PublicKey):
        algorithm = "EdDSA"
    return VerificationKey(algorithm, key) if algorithm else None


def public_key_of_pem(pem: str, setting: str = "TANDEM_JWT_PUBLIC_KEY:") -> VerificationKey:
    """Raises SettingsError, which names the setting, if the key is of no use."""
    try:
        found = public_key(load_pem_public_key(pem.encode()))
    except (ValueError, UnsupportedAlgorithm):
        found = None
    if found is None:
        raise SettingsError(f"{setting} must be a public key in PEM: {KINDS}.")
    return found


def thumbprint(public: VerificationKey) -> str:
    """The name that RFC 7638 gives to the key: the same wherever it is computed."""
    jwk = get_algorithm_by_name(public.algorithm).to_jwk(public.key, as_dict=True)
    members = {name: jwk[name] for name in THUMBPRINT_MEMBERS if name in jwk}
    digest = hashlib.sha256(orjson.dumps(members)).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _private_key(pem: str) -> Any:
    try:
        key: Any = load_pem_private_key(pem.encode(), password=None)
        if public_key(key.public_key()):
            return key
    except (ValueError, TypeError, AttributeError, UnsupportedAlgorithm):
        pass
    # Without the cause, which may show what is in the file.
    raise SettingsError(
        "TANDEM_JWT_PRIVATE_KEY: must be a private key in PEM (PKCS #8) without a password: "
        f"{KINDS}."
    )
