"""Several issuers at once: none can speak for another one, nor for us."""

import time
from contextlib import ExitStack
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from shared.auth.issuers import issuers
from shared.auth.keys import public_key, signing_key, thumbprint
from shared.auth.signing import sign_agent_token
from shared.auth.verifier import Claims, Verifier
from shared.errors import Refusal
from shared.settings import SecretStr, Settings, SettingsError
from shared.trusted_issuers import TrustedIssuer
from tests.issuer import ALICE, KEYS, claims, issuing, jwk, private_pem, public_pem
from tests.providers import AUTH0, GOOGLE, KEYCLOAK, PROVIDERS
from tests.shared.auth.attacks import STRANGERS_KEYS
from tests.world import SECRET

# Keycloak's key is that of the tests; Auth0's is this one, under the same name.
# Tokens are made when this is imported, which may be minutes before they are used.
DAY = 24 * 3600
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OWN = KEYS["ES256"]
OWN_KID = thumbprint(public_key(OWN.public_key()))  # type: ignore[arg-type]
PRIVATE = SecretStr(private_pem(OWN))


def others() -> tuple[TrustedIssuer, ...]:
    """Two issuers whose keys are given."""
    auth0 = TrustedIssuer(AUTH0.issuer, (AUTH0.audience,), public_key=public_pem(OTHER))
    return KEYCLOAK.entry(), auth0


async def read(settings: Settings, token: str) -> Claims:
    trusted = issuers(settings)
    try:
        return await Verifier(trusted).verify(token)
    finally:
        await trusted.close()


async def said(settings: Settings, token: str) -> str:
    """The kind of caller, or the reason of the refusal."""
    try:
        return (await read(settings, token)).kind
    except Refusal as refusal:
        return refusal.reason.name


SETTINGS = Settings(jwt_private_key=PRIVATE, jwt_issuers=others())


def agents_token(**changes: Any) -> str:
    """What our own key signs for an agent, but for the changes."""
    said = {**claims(typ="agent"), **changes}
    return jwt.encode(said, OWN, algorithm="ES256", headers={"kid": OWN_KID})


FROM_KEYCLOAK = {"sub": str(ALICE), "typ": "agent", "api_key_id": str(ALICE), "project_id": "x"}
ATTACKS: dict[str, str] = {
    "B's key signs with A's iss": KEYCLOAK.token(key=OTHER),
    "A's key signs with B's iss": AUTH0.token(key=KEYS["RS256"]),
    "A's iss, B's audience": KEYCLOAK.token(aud=AUTH0.audience),
    "our audience, A's key, A's iss": KEYCLOAK.token(aud="other"),
    "our iss and audience, A's key": KEYCLOAK.token(iss="tandem", aud="tandem", typ="user"),
    "our iss, A's key, an agent": KEYCLOAK.token(iss="tandem", aud="tandem", **FROM_KEYCLOAK),
    "our iss and kid, A's key, an agent": jwt.encode(
        claims(typ="agent"), KEYS["RS256"], algorithm="RS256", headers={"kid": OWN_KID}
    ),
    "our key signs with A's iss": jwt.encode(
        KEYCLOAK.claims(), OWN, algorithm="ES256", headers={"kid": OWN_KID}
    ),
    "our key names a user": agents_token(typ="user"),
    "an issuer that is not trusted": KEYCLOAK.token(iss="https://else.example"),
    "the iss of A with a slash": KEYCLOAK.token(iss=f"{KEYCLOAK.issuer}/"),
    "the iss of A in another case": KEYCLOAK.token(iss=KEYCLOAK.issuer.upper()),
    "two iss": KEYCLOAK.token(iss=[KEYCLOAK.issuer, AUTH0.issuer]),
    "no iss": KEYCLOAK.token(iss=None),
    "no aud": KEYCLOAK.token(aud=None),
    "no exp": KEYCLOAK.token(exp=None),
    "no sub": KEYCLOAK.token(sub=None),
    "an exp that is text": KEYCLOAK.token(exp="9999999999"),
    "a sub of 256 characters": KEYCLOAK.token(sub="s" * 256),
    "a sub that is a number": KEYCLOAK.token(sub=7),
    "a sub with NUL": KEYCLOAK.token(sub="a\0"),
    "a sub that is half a character": KEYCLOAK.token(sub="\ud800"),
    "an empty sub": KEYCLOAK.token(sub=""),
    "nbf to come": KEYCLOAK.token(nbf=int(time.time()) + DAY),
    "iat to come": KEYCLOAK.token(iat=int(time.time()) + DAY),
    "a stranger's key": KEYCLOAK.token(key=STRANGERS_KEYS["RS256"]),
    "no signature": KEYCLOAK.token().rpartition(".")[0] + ".",
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_no_issuer_speaks_for_another(attack: str) -> None:
    assert await said(SETTINGS, ATTACKS[attack]) == "TOKEN_INVALID"


async def test_each_issuer_speaks_for_itself() -> None:
    assert await said(SETTINGS, KEYCLOAK.token()) == "external"
    assert await said(SETTINGS, AUTH0.token(key=OTHER)) == "external"
    assert await said(SETTINGS, agents_token()) == "agent"
    assert await said(SETTINGS, KEYCLOAK.token(exp=int(time.time()) - 1)) == "TOKEN_EXPIRED"


async def test_one_key_name_at_two_issuers_is_two_keys() -> None:
    public = {"RS256": KEYS["RS256"].public_key(), "other": OTHER.public_key()}
    with ExitStack() as stack:
        one, two = stack.enter_context(issuing()), stack.enter_context(issuing())
        one.publish(jwk("RS256", public["RS256"], kid="key-1"))
        two.publish(jwk("RS256", public["other"], kid="key-1"))
        both = Settings(jwt_issuers=(KEYCLOAK.entry(one.url), AUTH0.entry(two.url)))
        assert await said(both, KEYCLOAK.token()) == "external"
        assert await said(both, AUTH0.token(key=OTHER)) == "external"
        assert await said(both, AUTH0.token()) == "TOKEN_INVALID"
        assert await said(both, KEYCLOAK.token(key=OTHER)) == "TOKEN_INVALID"


async def test_no_token_of_another_issuer_is_an_agent_s() -> None:
    read_claims = await read(SETTINGS, KEYCLOAK.token(**FROM_KEYCLOAK))
    assert (read_claims.kind, read_claims.subject, read_claims.api_key_id) == (
        "external",
        None,
        None,
    )
    profile = read_claims.profile
    assert profile
    assert (profile.issuer, profile.subject) == (KEYCLOAK.issuer, str(ALICE))
    # Nor do its claims meet those of ours in the cache of callers.
    assert read_claims.identity != (await read(SETTINGS, agents_token())).identity


async def test_typ_and_iat_are_demanded_of_our_own_only() -> None:
    assert await said(SETTINGS, KEYCLOAK.token(typ=None, iat=None)) == "external"
    assert await said(SETTINGS, KEYCLOAK.token(typ=["any", "thing"])) == "external"
    for missing in ("typ", "iat"):
        left = {name: value for name, value in claims(typ="agent").items() if name != missing}
        token = jwt.encode(left, OWN, algorithm="ES256", headers={"kid": OWN_KID})
        assert await said(SETTINGS, token) == "TOKEN_INVALID"


@pytest.mark.parametrize("name", PROVIDERS)
async def test_the_tokens_of_a_provider_are_read(name: str) -> None:
    provider = PROVIDERS[name]
    with issuing() as published:
        # Keycloak publishes a key for encryption, too.
        key = KEYS["RS256"].public_key()
        encryption = jwk("RS256", key, kid="enc", alg="RSA-OAEP", use="enc")
        published.publish(encryption, jwk("RS256", key, kid="key-1", alg="RS256", use="sig"))
        settings = Settings(jwt_issuers=(provider.entry(published.url),))
        found = await read(settings, provider.token())
    profile = found.profile
    assert profile
    assert (profile.issuer, profile.subject) == (provider.issuer, provider.subject)
    names = {"Keycloak": "ada", "Auth0": "ada@example.org", "Google": "ada@example.org"}
    assert (profile.username, profile.email) == (names[name], "ada@example.org")
    assert profile.full_name == "Ada Lovelace"


async def test_another_claim_can_name_the_subject() -> None:
    entry = TrustedIssuer(
        KEYCLOAK.issuer, ("a", "b"), public_key=public_pem(KEYS["RS256"]), subject_claim="oid"
    )
    settings = Settings(jwt_issuers=(entry,))
    found = await read(settings, KEYCLOAK.token(aud=["b", "c"], sub=None, oid="the subject"))
    assert found.profile
    assert found.profile.subject == "the subject"
    assert await said(settings, KEYCLOAK.token(aud="b")) == "TOKEN_INVALID"


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, "TANDEM_JWT_ISSUERS"),
        ({"jwt_private_key": PRIVATE}, "TANDEM_JWT_ISSUERS"),
        (
            {"jwt_issuers": others(), "jwt_issuer": AUTH0.issuer},
            "TANDEM_JWT_ISSUERS: entry 2: issuer must differ from TANDEM_JWT_ISSUER",
        ),
        (
            {"jwt_issuers": (TrustedIssuer("i", ("a",), public_key="-----BEGIN PUBLIC KEY"),)},
            "TANDEM_JWT_ISSUERS: entry 1: public_key must be a public key in PEM",
        ),
        ({"jwt_issuers": others(), "jwt_secret": SECRET, "jwt_private_key": PRIVATE}, "only one"),
    ],
)
def test_issuers_of_no_use_keep_a_service_from_starting(
    settings: dict[str, Any], wanted: str
) -> None:
    with pytest.raises(SettingsError, match=wanted):
        issuers(Settings(**settings))


async def test_other_issuers_stand_beside_each_key_of_our_own() -> None:
    ours = jwt.encode(claims(), SECRET.get_secret_value(), algorithm="HS256")
    with_secret = Settings(jwt_secret=SECRET, jwt_issuers=others())
    assert await said(with_secret, ours) == "user"
    assert await said(with_secret, KEYCLOAK.token()) == "external"
    with_public = Settings(jwt_public_key=public_pem(OWN), jwt_issuers=others())
    assert await said(with_public, agents_token(typ="user")) == "user"
    assert await said(with_public, KEYCLOAK.token()) == "external"
    without = Settings(jwt_issuers=others())
    assert await said(without, KEYCLOAK.token()) == "external"
    for token in (ours, agents_token(), agents_token(typ="user")):
        assert await said(without, token) == "TOKEN_INVALID"


async def test_what_the_agent_service_signs_is_good_beside_other_issuers() -> None:
    key = signing_key(SETTINGS)
    assert key
    end = int(time.time()) + 60
    token = sign_agent_token(SETTINGS, key, ALICE, UUID(int=2), UUID(int=3), [], end)
    found = await read(SETTINGS, token)
    assert (found.kind, found.subject, found.api_key_id) == ("agent", ALICE, UUID(int=3))


async def test_a_new_key_is_found_and_an_old_one_forgotten_at_each_issuer() -> None:
    with issuing() as one, issuing() as two:
        one.publish(jwk("RS256", KEYS["RS256"].public_key(), kid="key-1"))
        two.publish(jwk("RS256", OTHER.public_key(), kid="key-1"))
        trusted = issuers(Settings(jwt_issuers=(KEYCLOAK.entry(one.url), GOOGLE.entry(two.url))))
        verifier = Verifier(trusted)
        old, other = KEYCLOAK.token(), GOOGLE.token(key=OTHER)
        new = jwt.encode(KEYCLOAK.claims(), OTHER, algorithm="RS256", headers={"kid": "key-2"})
        try:
            for token in (old, other):
                await verifier.verify(token)
            one.publish(jwk("RS256", OTHER.public_key(), kid="key-2"))
            await verifier.verify(new)
            await verifier.verify(other)
            with pytest.raises(Refusal, match="TOKEN_INVALID"):
                await verifier.verify(old)
            assert (one.fetches, two.fetches) == (2, 1)
        finally:
            await trusted.close()
