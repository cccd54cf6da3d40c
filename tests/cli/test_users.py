"""`tandem users`."""

from uuid import UUID

import pytest

from tests.cli.conftest import Tandem
from tests.local.embedded_postgres.folders import ask

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
