"""A JWK Set (RFC 7517): the document in which an issuer publishes its keys."""

from typing import Any

import orjson
from jwt import PyJWTError, get_algorithm_by_name

from shared.auth.keys import VerificationKey, public_key, thumbprint

MAXIMUM_KEYS = 100
# By the type and curve of a key; everything else is ignored.
ALGORITHMS = {("RSA", None): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}
PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


class JwksError(ValueError):
    """What was answered is no set of keys that anything can be verified by."""


def read_key_set(document: bytes) -> tuple[dict[str, VerificationKey], dict[str, str]]:
    """The keys of use by `kid`, and why each of the others is of none.

    A key without a `kid` goes by its thumbprint; of two with the same one, the first counts.
    Raises JwksError if it is no JWK Set, has too many keys, or has none of use.
    """
    keys: dict[str, VerificationKey] = {}
    ignored: dict[str, str] = {}
    for number, jwk in enumerate(_keys(document)):
        try:
            kid, key = _read(jwk)
            if kid in keys:
                raise JwksError("another one before it has the same kid")
            keys[kid] = key
        except (JwksError, PyJWTError, ValueError, TypeError) as error:
            ignored[f"keys[{number}]"] = _why(error)
    if not keys:
        raise JwksError(f"none of its keys is of use: {ignored}")
    return keys, ignored


def _keys(document: bytes) -> list[Any]:
    try:
        read = orjson.loads(document)
    except orjson.JSONDecodeError:
        raise JwksError("it is no JSON") from None
    found = read.get("keys") if isinstance(read, dict) else None
    if not isinstance(found, list):
        raise JwksError("it is no JWK Set")
    if len(found) > MAXIMUM_KEYS:
        raise JwksError(f"it has {len(found)} keys, more than {MAXIMUM_KEYS}")
    return found


def _read(jwk: Any) -> tuple[str, VerificationKey]:
    if not isinstance(jwk, dict):
        raise JwksError("it is no key")
    algorithm = _algorithm(jwk)
    key = public_key(get_algorithm_by_name(algorithm).from_jwk(jwk))
    if key is None:
        raise JwksError("it is of a size that is not taken")
    kid = jwk.get("kid", thumbprint(key))
    if not isinstance(kid, str):
        raise JwksError("its kid is no text")
    return kid, key


def _algorithm(jwk: dict[str, Any]) -> str:
    """The one algorithm that the key verifies, by its type and curve.

    Raises JwksError if it has none or is said to be for something else.
    """
    kind = (jwk.get("kty"), jwk.get("crv"))
    algorithm = next((name for known, name in ALGORITHMS.items() if known == kind), None)
    if algorithm is None:
        raise JwksError("its type is not taken")
    if PRIVATE_MEMBERS & jwk.keys():
        raise JwksError("it is a private key, so that any reader can sign with it")
    if jwk.get("alg", algorithm) != algorithm or jwk.get("use", "sig") != "sig":
        raise JwksError("it is for another algorithm or use")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise JwksError("it is not for verifying")
    return algorithm


def _why(error: Exception) -> str:
    # Another's text may repeat what is in the key.
    return str(error) if isinstance(error, JwksError) else "it cannot be read"
