"""The keys that tokens are verified by, and the one that tokens of agents are signed with."""

from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from shared.settings import Settings, SettingsError


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """What tokens are verified by. The algorithm is fixed here and never read from a token."""

    algorithm: str
    key: Any
    material: bytes


@dataclass(frozen=True, slots=True)
class SigningKey:
    """What tokens of agents are signed with."""

    algorithm: str
    key: Any


def signing_key(settings: Settings) -> SigningKey | None:
    """The key out of the settings; None where tokens are signed elsewhere."""
    if settings.jwt_secret:
        return SigningKey("HS256", settings.jwt_secret.get_secret_value())
    return None


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
