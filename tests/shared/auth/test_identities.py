"""Who the subjects of other issuers are here."""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs
from uuid_utils.compat import uuid7

from shared.auth import rate
from shared.auth.authenticator import Authenticator
from shared.auth.caller import Caller, User
from shared.auth.identities import USERS_PER_SECOND
from shared.auth.issuers import issuers
from shared.auth.profile import NO_EMAIL_DOMAIN
from shared.auth.verifier import Verifier
from shared.errors import Reason, Refusal
from shared.settings import SecretStr, Settings
from tandem.agent.v1.auth_service_pb2 import CALLER_TYPE_AGENT, CALLER_TYPE_USER, WhoAmIRequest
from tests.issuer import KEYS, private_pem
from tests.locks import under_way
from tests.providers import AUTH0, KEYCLOAK, PROVIDERS
from tests.refusals import refused
from tests.world import Client, World

OTHERS = (KEYCLOAK.entry(), AUTH0.entry())
WHO = WhoAmIRequest()


def authenticator(world: World, *, provision: bool = True) -> Authenticator:
    """One that makes users of subjects, unless told otherwise."""
    verifier = Verifier(issuers(Settings(jwt_issuers=OTHERS)))
    return Authenticator(world.database, verifier, provision=provision)


async def caller(found: Authenticator, token: str) -> Caller:
    return (await found.authenticate([f"Bearer {token}"])).caller


async def user(found: Authenticator, token: str) -> User:
    proven = await caller(found, token)
    assert isinstance(proven, User)
    return proven


async def reason(found: Authenticator, token: str) -> str:
    """OK, or the reason of the refusal."""
    try:
        await caller(found, token)
    except Refusal as refusal:
        return refusal.reason.name
    return "OK"


async def link(world: World, issuer: str, subject: str, user_id: UUID) -> None:
    await world.execute(
        "INSERT INTO user_identities (issuer, subject, user_id) VALUES ($1, $2, $3)",
        issuer,
        subject,
        user_id,
    )


async def count(world: World) -> int:
    found: int = await world.value("SELECT count(*) FROM users")
    return found


async def test_a_linked_subject_is_its_user(world: World) -> None:
    ada, root = await world.user("ada"), await world.user(superuser=True)
    await link(world, KEYCLOAK.issuer, KEYCLOAK.subject, ada.id)
    await link(world, AUTH0.issuer, AUTH0.subject, root.id)
    found = authenticator(world, provision=False)
    proven = await user(found, KEYCLOAK.token())
    assert (proven.id, proven.name, proven.is_superuser) == (ada.id, "ada", False)
    assert (await user(found, AUTH0.token())).is_superuser


async def test_a_subject_belongs_to_its_issuer(world: World) -> None:
    ada = await world.user("ada")
    await link(world, KEYCLOAK.issuer, KEYCLOAK.subject, ada.id)
    found = authenticator(world, provision=False)
    assert await reason(found, KEYCLOAK.token()) == "OK"
    # Also while the other one is remembered.
    assert await reason(found, AUTH0.token(sub=KEYCLOAK.subject)) == "CALLER_UNKNOWN"
    assert await reason(found, KEYCLOAK.token(sub=KEYCLOAK.subject.upper())) == "CALLER_UNKNOWN"
    # The id of a user is no subject.
    assert await reason(found, KEYCLOAK.token(sub=str(ada.id))) == "CALLER_UNKNOWN"


async def test_who_is_not_known_is_logged_to_be_linked(world: World) -> None:
    found = authenticator(world, provision=False)
    with capture_logs() as lines:
        assert await reason(found, KEYCLOAK.token()) == "CALLER_UNKNOWN"
    wanted = {"fault": "unknown subject", "found": KEYCLOAK.subject, "issuer": KEYCLOAK.issuer}
    assert wanted.items() <= lines[0].items()
    assert await count(world) == 0


async def test_an_inactive_user_stays_out_however_it_proves_itself(world: World) -> None:
    ada = await world.user("ada", active=False)
    await link(world, KEYCLOAK.issuer, KEYCLOAK.subject, ada.id)
    assert await reason(authenticator(world), KEYCLOAK.token()) == "CALLER_INACTIVE"
    assert await count(world) == 1


@pytest.mark.parametrize("name", PROVIDERS)
async def test_an_unknown_subject_becomes_a_user_at_its_first_call(world: World, name: str) -> None:
    provider = PROVIDERS[name]
    verifier = Verifier(issuers(Settings(jwt_issuers=(provider.entry(),))))
    found = Authenticator(world.database, verifier, provision=True)
    proven = await user(found, provider.token())
    assert (proven.email, proven.full_name) == ("ada@example.org", "Ada Lovelace")
    assert not proven.is_superuser
    assert proven.id.version == 7
    again = await user(Authenticator(world.database, verifier), provider.token(name="Other"))
    assert (again.id, again.full_name) == (proven.id, "Ada Lovelace")


async def test_an_equal_name_or_address_takes_over_nobody(world: World) -> None:
    root = await world.user("ADA", superuser=True)
    await world.execute("UPDATE users SET email = 'Ada@Example.org'")
    found = authenticator(world)
    first = await user(found, KEYCLOAK.token())
    second = await user(found, KEYCLOAK.token(sub="another"))
    third = await user(found, AUTH0.token(preferred_username="ada"))
    assert len({root.id, first.id, second.id, third.id}) == 4
    assert [each.name for each in (first, second, third)] == ["ada-2", "ada-3", "ada-4"]
    for each in (first, second, third):
        assert each.email == f"{each.id}@{NO_EMAIL_DOMAIN}"
        assert not each.is_superuser


async def test_after_many_equal_names_one_is_made_up(world: World) -> None:
    for name in ("ada", *(f"Ada-{number}" for number in range(2, 10))):
        await world.user(name)
    proven = await user(authenticator(world), KEYCLOAK.token())
    assert proven.name.startswith("ada-")
    assert len(proven.name) == 16


@pytest.mark.parametrize(
    ("claims", "email"),
    [
        ({"email_verified": False}, None),
        ({"email": None}, None),
        ({"email": "nonsense"}, None),
        ({"email": f"root@{NO_EMAIL_DOMAIN}"}, None),
        ({"email_verified": None}, "ada@example.org"),
    ],
)
async def test_only_a_sound_address_is_taken(
    world: World, claims: dict[str, Any], email: str | None
) -> None:
    proven = await user(authenticator(world), KEYCLOAK.token(**claims))
    assert proven.email == (email or f"{proven.id}@{NO_EMAIL_DOMAIN}")


async def test_first_calls_at_once_make_one_user(world: World) -> None:
    processes = [authenticator(world) for _ in range(USERS_PER_SECOND)]
    for subject in ("one", "two", "three"):
        # Other claims make the name no reason to wait for each other.
        tokens = [
            KEYCLOAK.token(sub=subject, preferred_username=f"{subject}{number % 2}", email=None)
            for number, _ in enumerate(processes)
        ]
        callers = await asyncio.gather(*map(user, processes, tokens))
        assert len({each.id for each in callers}) == 1
    assert await count(world) == 3


@pytest.mark.parametrize(
    ("name", "email", "wanted"),
    [("Ada", "else@example.org", "ada-2"), ("else", "Ada@example.org", "ada")],
)
async def test_a_name_or_address_that_is_taken_meanwhile_is_another_s(
    world: World, name: str, email: str, wanted: str
) -> None:
    taken = "INSERT INTO users (id, username, email) VALUES ($1, $2, $3)"
    async with under_way(world.url, taken, uuid7(), name, email) as blocked:
        calling = asyncio.create_task(user(authenticator(world), KEYCLOAK.token()))
        await blocked.wait()
    proven = await calling
    assert proven.name == wanted
    assert proven.email.endswith(NO_EMAIL_DOMAIN) == (email == "Ada@example.org")


async def test_a_link_that_is_made_meanwhile_is_the_user(world: World) -> None:
    bob = await world.user("bob")
    linked = "INSERT INTO user_identities (issuer, subject, user_id) VALUES ($1, $2, $3)"
    identity = (KEYCLOAK.issuer, KEYCLOAK.subject)
    async with under_way(world.url, linked, *identity, bob.id) as blocked:
        calling = asyncio.create_task(user(authenticator(world), KEYCLOAK.token()))
        await blocked.wait()
    assert (await calling).id == bob.id
    assert await count(world) == 1


async def test_first_calls_of_many_with_one_name_make_a_user_each(world: World) -> None:
    processes = [authenticator(world) for _ in range(4)]
    tokens = [KEYCLOAK.token(sub=f"subject {number}") for number in range(4)]
    callers = await asyncio.gather(*map(user, processes, tokens))
    assert len({each.id for each in callers}) == 4
    assert {each.name for each in callers} == {"ada", "ada-2", "ada-3", "ada-4"}
    assert sum(each.email == "ada@example.org" for each in callers) == 1


async def test_a_storm_of_new_subjects_is_bounded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate, "monotonic", lambda: 0.0)
    found = authenticator(world)
    storm = [KEYCLOAK.token(sub=f"subject {number}") for number in range(3 * USERS_PER_SECOND)]
    answers = [await reason(found, token) for token in storm]
    limit = USERS_PER_SECOND
    assert answers == ["OK"] * limit + ["LIMIT_EXCEEDED"] * (len(storm) - limit)
    assert await count(world) == limit
    # Those of another issuer, and those who are known, do not notice.
    assert await reason(found, AUTH0.token()) == "OK"
    assert await reason(found, storm[0]) == "OK"
    monkeypatch.setattr(rate, "monotonic", lambda: 1.0)
    assert await reason(found, storm[-1]) == "OK"


async def test_a_user_is_looked_up_once_a_second(world: World) -> None:
    ada = await world.user("ada")
    await link(world, KEYCLOAK.issuer, KEYCLOAK.subject, ada.id)
    found = authenticator(world)
    proven = await user(found, KEYCLOAK.token())
    # Another token of the same subject is the same caller.
    assert await user(found, KEYCLOAK.token(jti="another")) is proven


async def test_every_call_knows_who_calls(world: World) -> None:
    """Over the wire: a new user, its project, a task assigned to its agent, and that agent."""
    settings = Settings(
        jwt_issuers=OTHERS,
        jwt_provision="first-call",
        jwt_private_key=SecretStr(private_pem(KEYS["ES256"])),
    )
    async with World.built(world.database, settings) as theirs:
        ada = Client(theirs.channels, KEYCLOAK.token())
        project = await ada.project()
        agent = await ada.agent(project)
        task = await ada.task(project, assigned_to=agent.id, assigned_to_type=1)
        assert task.assigned_to == agent.id
        told = await ada.auth.WhoAmI(WHO)
        assert (told.caller_type, told.user.username) == (CALLER_TYPE_USER, "ada")
        scout = await (await ada.as_agent(agent)).auth.WhoAmI(WHO)
        assert (scout.caller_type, scout.caller_id) == (CALLER_TYPE_AGENT, agent.id)
        posing = Client(theirs.channels, KEYCLOAK.token(sub=agent.id, typ="agent"))
        assert (await posing.auth.WhoAmI(WHO)).caller_type == CALLER_TYPE_USER
    never = replace(settings, jwt_provision="never")
    async with World.built(world.database, never) as theirs:
        stranger = Client(theirs.channels, KEYCLOAK.token(sub="a stranger"))
        await refused(stranger.auth.WhoAmI(WHO), Reason.CALLER_UNKNOWN)
        known = Client(theirs.channels, KEYCLOAK.token())
        assert (await known.auth.WhoAmI(WHO)).user.username == "ada"
