"""Keys that an issuer publishes: which of them count."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from shared.auth.jwks import MAXIMUM_KEYS, JwksError, read_key_set
from shared.auth.keys import VerificationKey, thumbprint
from tests.issuer import KEYS, jwk, published

RSA = KEYS["RS256"]
WEAK = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505
P384 = ec.generate_private_key(ec.SECP384R1())


def key_set(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


@pytest.mark.parametrize("algorithm", KEYS)
def test_the_type_of_a_key_fixes_its_algorithm(algorithm: str) -> None:
    wanted = {"a": VerificationKey(algorithm, KEYS[algorithm].public_key())}
    for more in ({}, {"alg": algorithm}, {"use": "sig"}, {"key_ops": ["verify"]}):
        assert read_key_set(key_set(published(algorithm, "a", **more))) == (wanted, {})


IGNORED: dict[str, tuple[Any, str]] = {
    "for another algorithm": (published("RS256", "x", alg="PS256"), "another algorithm"),
    "for HMAC": (published("RS256", "x", alg="HS256"), "another algorithm"),
    "for no algorithm": (published("RS256", "x", alg="none"), "another algorithm"),
    "for encryption": (published("ES256", "x", use="enc"), "another algorithm or use"),
    "for signing only": (published("ES256", "x", key_ops=["sign"]), "not for verifying"),
    "a secret": ({"kty": "oct", "kid": "x", "k": "c2VjcmV0"}, "type is not taken"),
    "private": (jwk("RS256", RSA, kid="x"), "private key"),
    "private, of a curve": (jwk("ES256", KEYS["ES256"], kid="x"), "private key"),
    "short RSA": (jwk("RS256", WEAK.public_key(), kid="x", key_ops=None), "size"),
    "huge RSA": (published("RS256", "x", n="_" * 20_000), "size"),
    "RSA with the exponent 1": (published("RS256", "x", e="AQ"), "cannot be read"),
    "RSA without a number": (published("RS256", "x", n=None), "cannot be read"),
    "RSA with numbers": (published("RS256", "x", n=5), "cannot be read"),
    "P-384": (jwk("ES384", P384.public_key(), kid="x"), "type is not taken"),
    "P-384 by another name": (
        jwk("ES384", P384.public_key(), kid="x", crv="P-256"),
        "cannot be read",
    ),
    "not on its curve": (published("ES256", "x", x="A" * 43), "cannot be read"),
    "X25519": (published("EdDSA", "x", crv="X25519"), "type is not taken"),
    "of an unknown type": ({"kty": "AKP", "kid": "x"}, "type is not taken"),
    "of a type that is none": ({"kty": ["RSA"], "kid": "x"}, "type is not taken"),
    "of no type": ({}, "type is not taken"),
    "no object": ("key", "it is no key"),
    "a name that is none": (published("RS256", None) | {"kid": 5}, "kid is no text"),
    "a name that is taken": (published("RS256", "a"), "same kid"),
}


@pytest.mark.parametrize("name", IGNORED)
def test_a_key_of_no_use_is_ignored(name: str) -> None:
    wrong, why = IGNORED[name]
    keys, ignored = read_key_set(key_set(published("EdDSA", "a"), wrong))
    assert keys == {"a": VerificationKey("EdDSA", KEYS["EdDSA"].public_key())}
    assert list(ignored) == ["keys[1]"]
    assert why in ignored["keys[1]"]


NO_SET: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"<html>",
    "not UTF-8": b'{"keys": "\xff"}',
    "too deep": b"[" * 100_000,
    "a list": b"[]",
    "no keys": b"{}",
    "keys that are none": b'{"keys": {}}',
    "no key": key_set(),
    "no key of use": key_set(*(wrong for wrong, why in IGNORED.values() if "same" not in why)),
    "too many": key_set(*(published("ES256", str(n)) for n in range(MAXIMUM_KEYS + 1))),
}


@pytest.mark.parametrize("name", NO_SET)
def test_what_is_no_set_of_keys_is_none(name: str) -> None:
    with pytest.raises(JwksError) as raised:
        read_key_set(NO_SET[name])
    assert jwk("RS256", RSA)["d"] not in str(raised.value)


def test_a_key_without_a_name_goes_by_its_thumbprint() -> None:
    keys, _ = read_key_set(key_set(published("RS256", None), published("ES256", None)))
    assert [thumbprint(key) for key in keys.values()] == list(keys)


def test_the_thumbprint_is_that_of_the_rfc() -> None:
    """RFC 8037, A.3, and RFC 7638, 3.1."""
    ed25519 = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    rsa_n = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWK"
        "RXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMic"
        "AtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3"
        "XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    keys, _ = read_key_set(key_set(ed25519, {"kty": "RSA", "e": "AQAB", "n": rsa_n}))
    assert list(keys) == [
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
        "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
    ]


JSON = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(), x, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["kty", "crv", "n", "e", "x", "y", "kid", "key_ops"]), JSON))
def test_no_key_is_beyond_reading(wrong: dict[str, Any]) -> None:
    for kind in (
        {},
        {"kty": "RSA"},
        {"kty": "EC", "crv": "P-256"},
        {"kty": "OKP", "crv": "Ed25519"},
    ):
        keys, _ = read_key_set(key_set(published("EdDSA", "a"), {**wrong, **kind}))
        assert keys["a"].algorithm == "EdDSA"
