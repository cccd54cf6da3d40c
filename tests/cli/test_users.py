"""`tandem users`."""

import json
from typing import Any
from uuid import UUID

import pytest

from tests.cli.conftest import Tandem
from tests.local.embedded_postgres.folders import ask

LOGGED = """
SELECT string_agg(
    concat_ws(' ', sequence, type, revision, after ->> 'username'), ', ' ORDER BY sequence
)
FROM events WHERE actor_type = 'system' AND resource_type = 'user'
"""
ROW = "SELECT username || ' ' || email || ' ' || is_superuser FROM users WHERE id = $1"


@pytest.mark.parametrize(("options", "superuser"), [([], "false"), (["--superuser"], "true")])
def test_a_user_is_created_and_the_id_printed(
    tandem: Tandem, database_url: str, options: list[str], superuser: str
) -> None:
    printed = tandem.says("users", "create", "ann", "--email", "ann@example.org", *options)
    user_id = UUID(printed.removesuffix("\n"))
    assert user_id.version == 7
    assert ask(database_url, ROW, user_id) == f"ann ann@example.org {superuser}"


@pytest.mark.parametrize(
    ("name", "email", "taken"),
    [("ann", "new@example.org", "name"), ("new", "ann@example.org", "e-mail address")],
)
def test_what_is_taken_is_named(tandem: Tandem, name: str, email: str, taken: str) -> None:
    tandem.says("users", "create", "ann", "--email", "ann@example.org")
    sentence = tandem.refuses("users", "create", name, "--email", email)
    assert sentence == f"The {taken} is taken by another user.\n"


@pytest.mark.parametrize(
    ("name", "email"),
    [
        ("", "a@example.org"),
        ("two words", "a@example.org"),
        ("x" * 101, "a@example.org"),
        ("bell\a", "a@example.org"),
        ("ann", "nowhere"),
        ("ann", "a@" + "b" * 254),
    ],
)
def test_a_name_or_address_that_is_none_is_a_mistake_in_usage(
    tandem: Tandem, name: str, email: str
) -> None:
    assert tandem("users", "create", name, "--email", email).exit_code == 2


def test_a_database_without_tables_is_told_apart(tandem: Tandem, empty_database_url: str) -> None:
    sentence = tandem.refuses(
        *("users", "create", "ann", "--email", "ann@example.org"),
        TANDEM_DATABASE_URL=empty_database_url,
    )
    assert "run `tandem db upgrade` first" in sentence


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://tandem:hunter2@127.0.0.1:1/tandem",
        "postgresql://tandem:hun/ter2@127.0.0.1:one/tandem",
        "mysql://tandem:hunter2@127.0.0.1/tandem",
    ],
)
def test_a_database_out_of_reach_is_a_sentence_without_its_password(
    tandem: Tandem, url: str
) -> None:
    command = ("users", "create", "ann", "--email", "ann@example.org")
    sentence = tandem.refuses(*command, TANDEM_DATABASE_URL=url)
    assert "ter2" not in sentence
    assert "TANDEM_DATABASE_URL: must be" in sentence or "(ConnectionRefusedError)" in sentence
    assert sentence.strip().endswith((".", "`."))


FULL = {
    "username": "ann",
    "email": "ann@example.org",
    "full_name": None,
    "is_active": True,
    "is_superuser": False,
    "revision": 1,
}
PROJECT = "INSERT INTO projects (id, owner_id, slug, name) SELECT id, id, 'p', 'P' FROM users"


@pytest.fixture
def ann(tandem: Tandem) -> str:
    """The id of a user."""
    return tandem.says("users", "create", "ann", "--email", "ann@example.org").strip()


def shown(tandem: Tandem, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tandem.says("users", "show", name, "--json"))
    return found


def test_a_user_is_shown_to_people_and_programs(tandem: Tandem, ann: str) -> None:
    found = shown(tandem, "ANN")
    assert found.pop("created_at") == found.pop("updated_at")
    assert found == {"id": ann, **FULL}
    lines = tandem.says("users", "show", "ann").splitlines()
    assert ["id", ann] in [line.split() for line in lines]
    assert ["is", "active", "yes"] in [line.split() for line in lines]


def test_users_are_listed_by_name(tandem: Tandem, ann: str) -> None:
    tandem.says("users", "create", "Abe", "--email", "abe@example.org", "--superuser")
    heads, _, abe, second = tandem.says("users", "list").splitlines()
    assert heads.split() == [
        "Name",
        "E-mail",
        "address",
        "Full",
        "name",
        "Active",
        "Superuser",
        "Id",
    ]
    assert abe.split()[:4] == ["Abe", "abe@example.org", "yes", "yes"]
    assert second.split() == ["ann", "ann@example.org", "yes", "no", ann]
    listed = json.loads(tandem.says("users", "list", "--json"))
    assert [user["username"] for user in listed] == ["Abe", "ann"]
    assert listed[1] == shown(tandem, "ann")


def test_what_is_given_is_changed(tandem: Tandem, ann: str) -> None:
    command = ("users", "update", "Ann")
    assert tandem.says(*command, "--name", "Anna", "--full-name", "Anna A") == ""
    tandem.says("users", "update", "anna", "--email", "anna@example.org")
    found = shown(tandem, "anna")
    assert (found["id"], found["username"], found["revision"]) == (ann, "Anna", 3)
    assert (found["email"], found["full_name"]) == ("anna@example.org", "Anna A")
    tandem.says("users", "update", "anna", "--full-name", "")
    assert shown(tandem, "anna")["full_name"] is None
    assert tandem("users", "update", "anna").exit_code == 2
    assert tandem("users", "update", "anna", "--email", "nowhere").exit_code == 2


def test_what_is_taken_is_not_given_twice(tandem: Tandem, ann: str) -> None:
    tandem.says("users", "create", "bob", "--email", "bob@example.org")
    sentence = tandem.refuses("users", "update", "bob", "--name", "ANN")
    assert sentence == 'There is a user with the username "ANN" already.\n'
    sentence = tandem.refuses("users", "update", "bob", "--email", "Ann@example.org")
    assert sentence == 'There is a user with the email "Ann@example.org" already.\n'
    assert shown(tandem, "ann")["id"] == ann


def test_a_user_is_deactivated_and_activated(tandem: Tandem, ann: str) -> None:
    for command, active in (("deactivate", False), ("activate", True), ("activate", True)):
        tandem.says("users", command, "ann")
        assert shown(tandem, "ann")["is_active"] is active
    assert shown(tandem, "ann")["id"] == ann
    assert shown(tandem, "ann")["revision"] == 3


def test_the_last_active_superuser_stays(tandem: Tandem, ann: str) -> None:
    tandem.says("users", "superuser", "ann", "on")
    assert shown(tandem, "ann")["is_superuser"]
    for command in (("superuser", "ann", "off"), ("deactivate", "ann"), ("delete", "ann", "--yes")):
        sentence = tandem.refuses("users", *command)
        assert sentence == 'The user "ann" is the last active superuser.\n'
    tandem.says("users", "create", "bob", "--email", "bob@example.org", "--superuser")
    tandem.says("users", "superuser", "ann", "off")
    assert not shown(tandem, "ann")["is_superuser"]
    assert shown(tandem, "ann")["id"] == ann


def test_a_deletion_has_to_be_confirmed(tandem: Tandem, ann: str) -> None:
    assert "Add --yes" in tandem.refuses("users", "delete", "ann")
    assert shown(tandem, "ann")["id"] == ann
    tandem.says("users", "delete", "ann", "--yes")
    assert tandem.refuses("users", "show", "ann") == "There is no user ann.\n"


def test_an_owner_is_not_deleted(tandem: Tandem, database_url: str, ann: str) -> None:
    ask(database_url, PROJECT)
    sentence = tandem.refuses("users", "delete", "ann", "--yes")
    assert sentence == f"The user owns a project, to be transferred or deleted first.\n  {ann}\n"


@pytest.mark.parametrize(
    "command",
    [
        *(("show",), ("activate",), ("deactivate",), ("delete", "--yes")),
        *(("update", "--name", "b"), ("superuser", "on")),
    ],
)
def test_a_user_that_does_not_exist_is_named(tandem: Tandem, command: tuple[str, ...]) -> None:
    verb, *options = command
    assert tandem.refuses("users", verb, "nobody", *options) == "There is no user nobody.\n"


@pytest.mark.parametrize("command", [("list",), ("show", "ann"), ("deactivate", "ann")])
def test_a_database_without_tables_is_told_apart_by_each(
    tandem: Tandem, empty_database_url: str, command: tuple[str, ...]
) -> None:
    sentence = tandem.refuses("users", *command, TANDEM_DATABASE_URL=empty_database_url)
    assert "run `tandem db upgrade` first" in sentence
    password = "hun/ter2"  # pragma: allowlist secret
    for url in ("postgresql://tandem:{}@127.0.0.1:1/tandem", "mysql://tandem:{}@127.0.0.1/tandem"):
        sentence = tandem.refuses("users", *command, TANDEM_DATABASE_URL=url.format(password))
        assert "ter2" not in sentence


def test_what_is_done_to_users_is_in_the_log(tandem: Tandem, database_url: str) -> None:
    tandem.says("users", "create", "ann", "--email", "ann@example.org")
    tandem.says("users", "deactivate", "ann")
    tandem.says("users", "delete", "ann", "--yes")
    told = ask(database_url, LOGGED)
    assert told == "1 user.created 1 ann, 2 user.updated 2 ann, 3 user.deleted 3 ann"
