"""Attacks with tokens that are made up, stolen, or meant for something else.

Each attack makes the text of a token; ATTACKS says what it is answered.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.issuer import claims, jwk, public_pem

STRANGERS_KEYS: dict[str, Any] = {
    "HS256": "a secret that a stranger made up, long enough",
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493


@dataclass(frozen=True)
class Target:
    """A service, the issuer that it trusts, and what a stranger knows of both.

    `key` signs good tokens; `own_key` those of agents, under the name `own_kid`.
    """

    algorithm: str
    key: Any
    kid: str | None
    own_key: Any
    own_kid: str | None
    user: UUID
    agent: UUID
    strangers_url: str

    @property
    def strangers_key(self) -> Any:
        return STRANGERS_KEYS[self.algorithm]

    def header(self, **changes: Any) -> dict[str, Any]:
        """That of a good token, but for the changes; None leaves a member out."""
        good = {"alg": self.algorithm, "typ": "JWT", "kid": self.kid, **changes}
        return {name: value for name, value in good.items() if value is not None}

    def claims(self, **changes: Any) -> dict[str, Any]:
        return claims(**{"sub": str(self.user), **changes})

    def good(self, **changes: Any) -> str:
        """What the issuer signs, for us or for another audience."""
        return self.signed(self.header(), self.claims(**changes))

    def raw(self, **changes: str) -> str:
        """The same, with claims that are pieces of JSON."""
        said = {name: json.dumps(value) for name, value in self.claims().items()} | changes
        members = ", ".join(f'"{name}": {value}' for name, value in said.items())
        return self.signed(self.header(), "{" + members + "}")

    def headed(self, **changes: Any) -> str:
        """A good token with another header, which the issuer signed."""
        return self.signed(self.header(**changes), self.claims())

    def strange(self, **changes: Any) -> str:
        """A token that a stranger signed, with another header."""
        return self.signed(self.header(**changes), self.claims(), key=self.strangers_key)

    def signed(self, header: Any, payload: Any, *, key: Any = None, algorithm: str = "") -> str:
        """Header and payload as they are (text as it stands), signed with the issuer's key."""
        signer = jwt.get_algorithm_by_name(algorithm or self.algorithm)
        message = f"{encoded(header)}.{encoded(payload)}"
        prepared = signer.prepare_key(key or self.key)
        return f"{message}.{encoded(signer.sign(message.encode(), prepared))}"

    def resigned(self, change: Callable[[bytes], bytes]) -> str:
        """A good token with another signature."""
        message, _, signature = self.good().rpartition(".")
        return f"{message}.{encoded(change(base64.urlsafe_b64decode(signature + '==')))}"


def encoded(part: Any) -> str:
    """Bytes and texts as they are, all else as JSON."""
    if not isinstance(part, bytes):
        part = (part if isinstance(part, str) else json.dumps(part)).encode()
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


Attack = Callable[[Target], str]


def unsigned(algorithm: Any) -> Attack:
    """Without a signature."""
    return lambda t: f"{encoded(t.header(alg=algorithm))}.{encoded(t.claims())}."


def said(**claims: Any) -> Attack:
    """What the issuer signs, for another audience."""
    return lambda t: t.good(**claims)


def written(name: str, value: str) -> Attack:
    """The same, with one claim that is a piece of JSON."""
    return lambda t: t.raw(**{name: value})


def headed(**header: Any) -> Attack:
    """A good token with another header, which the issuer signed."""
    return lambda t: t.headed(**header)


def by(algorithm: str) -> Attack:
    """The issuer's key, used with another algorithm."""
    return lambda t: t.signed(t.header(alg=algorithm), t.claims(), algorithm=algorithm)


def alg_twice(*algorithms: str) -> Attack:
    """A header with two of them and no signature; of "" the target's own."""

    def attack(target: Target) -> str:
        members = ", ".join(f'"alg": "{name or target.algorithm}"' for name in algorithms)
        return f"{encoded('{' + members + '}')}.{encoded(target.claims())}."

    return attack


def by_public(target: Target, secret: bytes) -> str:
    """HMAC with the public key as the secret, by a signer that does not check that."""
    message = f"{encoded(target.header(alg='HS256'))}.{encoded(target.claims())}"
    return f"{message}.{encoded(hmac.digest(secret, message.encode(), hashlib.sha256))}"


def swapped(target: Target) -> str:
    """The signature of one token under the claims of another."""
    header, _, signature = target.good().split(".")
    return f"{header}.{encoded(target.claims(nonce=1))}.{signature}"


def other_half(signature: bytes) -> bytes:
    """The other signature that is as good: ECDSA has two for each message."""
    r, s = signature[:32], int.from_bytes(signature[32:], "big")
    return r + (P256_ORDER - s).to_bytes(32, "big")


def der(signature: bytes) -> bytes:
    halves = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    found = encode_dss_signature(*halves)
    assert decode_dss_signature(found)
    return found


def one_more_order(signature: bytes) -> bytes:
    s = int.from_bytes(signature[32:], "little") + ED25519_ORDER
    return signature[:32] + s.to_bytes(32, "little")


def der_of(target: Target) -> bytes:
    found: bytes = target.key.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    return found


def later(seconds: float) -> int:
    return int(time.time() + seconds)


INVALID, EXPIRED, INACTIVE, OK = "TOKEN_INVALID", "TOKEN_EXPIRED", "CALLER_INACTIVE", "OK"

FORGED: dict[str, Attack] = {
    **{
        f"alg {alg}": unsigned(alg)
        for alg in ("none", "None", "nOnE", "", 0, ["none"], {"a": 1}, True)
    },
    "no alg": unsigned(None),
    "alg none, with a good signature": headed(alg="none"),
    "alg in another case": lambda t: t.headed(alg=t.algorithm.swapcase()),
    "alg twice, none first": alg_twice("none", ""),
    "alg twice, none last": alg_twice("", "none"),
    "a stranger's key": lambda t: t.strange(),
    "jwk: the stranger's key": lambda t: t.strange(
        jwk=jwk(t.algorithm, getattr(t.strangers_key, "public_key", lambda: t.strangers_key)())
    ),
    "jku: the stranger's server": lambda t: t.strange(jku=t.strangers_url),
    "x5u: the stranger's server": lambda t: t.strange(x5u=t.strangers_url),
    "x5c: the stranger's certificate": lambda t: t.strange(x5c=["MIIB"]),
    "kid: the stranger's server": lambda t: t.strange(kid=t.strangers_url, jku=t.strangers_url),
    "kid: a file": lambda t: t.strange(kid="../../../../dev/null"),
    "kid: SQL": lambda t: t.strange(kid="' UNION SELECT 'secret' --"),
    "kid: a shell": lambda t: t.strange(kid="|| id"),
    "kid: NUL": lambda t: t.strange(kid=f"{t.kid}\0"),
    "kid: 5,000 characters": lambda t: t.strange(kid="k" * 5000),
    "kid: nothing": lambda t: t.strange(kid=""),
    "kid: a number, well signed": headed(kid=1),
    "kid: a list, well signed": lambda t: t.headed(kid=[t.kid]),
    "kid: an object, well signed": lambda t: t.headed(kid={"kid": t.kid}),
    "crit: what nobody knows": headed(crit=["http://a/b"], **{"http://a/b": True}),
    "crit: exp": headed(crit=["exp"], exp=1),
    "crit: empty": headed(crit=[]),
    "crit: no list": headed(crit="exp"),
    "b64: payload elsewhere": headed(crit=["b64"], b64=False),
    "no signature": lambda t: t.resigned(lambda _: b""),
    "no signature, nor its dot": lambda t: t.good().rpartition(".")[0],
    "signature: zeros": lambda t: t.resigned(lambda s: bytes(len(s))),
    "signature: one": lambda t: t.resigned(lambda s: bytes(len(s) - 1) + b"\1"),
    "signature: r = s = 0": lambda t: t.resigned(lambda _: bytes(64)),
    "signature: r = s = order": lambda t: t.resigned(lambda _: P256_ORDER.to_bytes(32, "big") * 2),
    "signature: in DER": lambda t: t.resigned(der),
    "signature: a bit flipped": lambda t: t.resigned(lambda s: bytes([s[0] ^ 1]) + s[1:]),
    "signature: cut": lambda t: t.resigned(lambda s: s[:-1]),
    "signature: too long": lambda t: t.resigned(lambda s: s + b"\0"),
    "signature: of another token": swapped,
    "payload: too deep": lambda t: t.signed(t.header(), "[" * 2500 + "]" * 2500),
    "payload: a list": lambda t: t.signed(t.header(), [t.claims()]),
    "payload: a text": lambda t: t.signed(t.header(), '"user"'),
    "payload: not UTF-8": lambda t: t.signed(t.header(), b'{"sub": "\xff"}'),
    "header: too deep": lambda t: t.signed("[" * 2500 + "]" * 2500, t.claims()),
    "header: a list": lambda t: t.signed([t.header()], t.claims()),
    "header: not UTF-8": lambda t: t.signed(b'{"alg": "\xff"}', t.claims()),
    "five parts, as if encrypted": lambda t: t.good() + ".a.b",
    "two tokens in one": lambda t: f"{t.good()},{t.good()}",
    "dots": lambda _: "..",
    "oversized": lambda t: t.good(more="x" * 6200),
}

MISUSED: dict[str, tuple[Attack, str]] = {
    **{
        f"aud: {json.dumps(aud)}": (said(aud=aud), INVALID)
        for aud in ("else", "tande", "tandem2", "Tandem", "tandem,else", "", 1, True, {"tandem": 1})
    },
    **{
        f"aud: {json.dumps(aud)}": (said(aud=aud), INVALID)
        for aud in ([], ["else", "other"], [["tandem"]], ["tandem", 1])
    },
    "aud: missing": (said(aud=None), INVALID),
    "aud: null": (lambda t: t.raw(aud="null"), INVALID),
    "aud: us and others": (said(aud=["else", "tandem"]), OK),
    **{
        f"iss: {json.dumps(iss)}": (written("iss", json.dumps(iss)), INVALID)
        for iss in ("else", "tandem/", "Tandem", "tand", "", None, ["tandem"], {"tandem": 1}, 1)
    },
    "iss: missing": (said(iss=None), INVALID),
    **{
        f"typ: {json.dumps(typ)}": (written("typ", json.dumps(typ)), INVALID)
        for typ in ("robot", "User", "user ", "", None, ["user"], {"user": 1}, 1, "superuser")
    },
    "typ: missing": (said(typ=None), INVALID),
    "typ: user, with an API key": (lambda t: t.good(api_key_id=str(t.agent)), INVALID),
    "typ: agent, with a user's id": (said(typ="agent"), INACTIVE),
    "typ: user, with an agent's id": (lambda t: t.good(sub=str(t.agent)), INACTIVE),
    "typ: agent, with an API key that is none": (
        lambda t: t.good(typ="agent", sub=str(t.agent), api_key_id="' OR 1=1 --"),
        INVALID,
    ),
    "typ: agent, with an API key of nobody": (
        lambda t: t.good(typ="agent", sub=str(t.agent), api_key_id=str(t.user)),
        INACTIVE,
    ),
    "exp: a second ago": (lambda t: t.good(exp=later(-1)), EXPIRED),
    "exp: negative": (said(exp=-1), EXPIRED),
    "exp: 0": (said(exp=0), EXPIRED),
    **{
        f"exp: {exp}": (written("exp", exp), INVALID)
        for exp in ('"9999999999"', "NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e300")
    },
    **{
        f"exp: {exp}": (written("exp", exp), INVALID)
        for exp in ("null", "true", "[9999999999]", "{}", '""', str(2**63))
    },
    "exp: a number of 400 digits": (written("exp", "9" * 400), INVALID),
    "exp: a number of 5,000 digits": (written("exp", "9" * 5000), INVALID),
    "exp: missing": (said(exp=None), INVALID),
    "exp: after the year 9999": (said(exp=253_402_300_800), INVALID),
    "iat: in a minute": (lambda t: t.good(iat=later(60)), INVALID),
    "iat: in 5 s, by a clock that is ahead": (lambda t: t.good(iat=later(5)), OK),
    "iat: missing": (said(iat=None), INVALID),
    "nbf: in a minute": (lambda t: t.good(nbf=later(60)), INVALID),
    "nbf: in 5 s, by a clock that is ahead": (lambda t: t.good(nbf=later(5)), OK),
    **{
        f"{name}: {value}": (written(name, value), INVALID)
        for name in ("iat", "nbf")
        for value in ('"0"', "NaN", "1e400", "null", "true", "[0]")
    },
    "sub: missing": (said(sub=None), INVALID),
    "sub: of nobody": (lambda t: t.good(sub=str(UUID(int=7))), INACTIVE),
    "sub: a name": (said(sub="alice"), INVALID),
    "sub: a number": (lambda t: t.good(sub=t.user.int), INVALID),
    "sub: a list": (lambda t: t.good(sub=[str(t.user)]), INVALID),
    "sub: in upper case": (lambda t: t.good(sub=str(t.user).upper()), OK),
    "sub: a URN": (lambda t: t.good(sub=t.user.urn), INVALID),
    "sub: in braces": (lambda t: t.good(sub=f"{{{t.user}}}"), INVALID),
    "sub: without hyphens": (lambda t: t.good(sub=t.user.hex), INVALID),
    "sub: with a space": (lambda t: t.good(sub=f"{t.user} "), INVALID),
    "sub: with NUL": (lambda t: t.good(sub=f"{t.user}\0"), INVALID),
    "sub: with an underscore": (lambda t: t.good(sub=f"0_{str(t.user)[2:]}"), INVALID),
    "sub: SQL": (said(sub="' OR ''='"), INVALID),
    "sub twice, the last of nobody": (
        lambda t: t.raw(more=f'0, "sub": "{UUID(int=7)}"'),
        INACTIVE,
    ),
}

BY_PUBLIC_KEY: dict[str, Attack] = {
    "HMAC with the public key": lambda t: by_public(t, public_pem(t.key).encode()),
    "HMAC with the public key, stripped": lambda t: by_public(
        t, public_pem(t.key).strip().encode()
    ),
    "HMAC with the public key, in DER": lambda t: by_public(t, der_of(t)),
    "HMAC with the public key, as a JWK": lambda t: by_public(
        t, json.dumps(jwk(t.algorithm, t.key.public_key())).encode()
    ),
    "HMAC with nothing": lambda t: by_public(t, b""),
    "our own key: a user": lambda t: t.signed(
        {"alg": "ES256", "kid": t.own_kid}, t.claims(), key=t.own_key, algorithm="ES256"
    ),
    "our own key: an agent, without kid": lambda t: t.signed(
        {"alg": "ES256"}, t.claims(typ="agent", sub=str(t.agent)), key=t.own_key, algorithm="ES256"
    ),
    "our own kid, the issuer's key": lambda t: t.headed(kid=t.own_kid),
    "our own kid, a stranger's key": lambda t: t.signed(
        {"alg": "ES256", "kid": t.own_kid},
        t.claims(typ="agent", sub=str(t.agent)),
        key=STRANGERS_KEYS["ES256"],
        algorithm="ES256",
    ),
}

BY_ALGORITHM: dict[str, dict[str, tuple[Attack, str]]] = {
    "HS256": {
        f"{other} with the same secret": (by(other), INVALID) for other in ("HS384", "HS512")
    },
    "RS256": {
        f"{other} with the same key": (by(other), INVALID)
        for other in ("RS384", "RS512", "PS256", "PS512")
    },
    "ES256": {
        **{
            f"called {other}": (headed(alg=other), INVALID)
            for other in ("ES384", "ES256K", "ES521", "RS256", "EdDSA")
        },
        "the other half of the signature, as good": (lambda t: t.resigned(other_half), OK),
    },
    "EdDSA": {
        "called ES256": (headed(alg="ES256"), INVALID),
        "called Ed448": (headed(alg="Ed448"), INVALID),
        "a signature with one more order": (lambda t: t.resigned(one_more_order), INVALID),
    },
}


def attacks(algorithm: str) -> dict[str, tuple[Attack, str]]:
    """Each attack on a service that takes tokens of this algorithm, and its answer."""
    public = BY_PUBLIC_KEY if algorithm != "HS256" else {}
    forged = {name: (attack, INVALID) for name, attack in {**FORGED, **public}.items()}
    return {**forged, **MISUSED, **BY_ALGORITHM[algorithm]}
