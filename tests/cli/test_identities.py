"""`tandem users link`, `unlink` and `identities`."""

import pytest

from tests.cli.conftest import Tandem

ISSUER, SUBJECT = "https://issuer.example", "auth0|507f1f77"
ADA = ("ada", "--issuer", ISSUER, "--subject", SUBJECT)
BOB = ("bob", *ADA[1:])


@pytest.fixture
def people(tandem: Tandem) -> Tandem:
    """With two users."""
    for name in ("ada", "bob"):
        tandem.says("users", "create", name, "--email", f"{name}@example.org")
    return tandem


def test_a_subject_is_linked_listed_and_unlinked(people: Tandem) -> None:
    assert people.says("users", "link", *ADA) == ""
    people.says("users", "link", "ada", "--issuer", ISSUER, "--subject", "another")
    assert people.says("users", "identities", "ada") == (f"{ISSUER} another\n{ISSUER} {SUBJECT}\n")
    assert people.says("users", "identities", "bob") == ""
    people.says("users", "unlink", *ADA)
    assert people.says("users", "identities", "ada") == f"{ISSUER} another\n"
    assert people.refuses("users", "unlink", *ADA) == (
        "The subject is not linked to the user ada.\n"
    )


def test_a_link_can_be_repeated_and_is_not_taken_over(people: Tandem) -> None:
    people.says("users", "link", *ADA)
    people.says("users", "link", *ADA)
    assert people.refuses("users", "link", *BOB) == (
        "The subject is linked to the user ada: unlink it.\n"
    )
    assert "not linked to the user bob" in people.refuses("users", "unlink", *BOB)
    assert people.says("users", "identities", "ada") == f"{ISSUER} {SUBJECT}\n"
    people.says("users", "unlink", *ADA)
    people.says("users", "link", *BOB)
    assert people.says("users", "identities", "bob") == f"{ISSUER} {SUBJECT}\n"


def test_our_own_tokens_need_no_link(people: Tandem) -> None:
    sentence = people.refuses("users", "link", "ada", "--issuer", "tandem", "--subject", "x")
    assert "TANDEM_JWT_ISSUER" in sentence


def test_a_user_who_does_not_exist_is_named(tandem: Tandem) -> None:
    for command in (("link", *ADA), ("unlink", *ADA), ("identities", "ada")):
        assert "There is no user ada" in tandem.refuses("users", *command)


@pytest.mark.parametrize("value", ["", "x" * 256])
@pytest.mark.parametrize("option", ["--issuer", "--subject"])
def test_what_no_token_says_is_a_mistake_in_usage(tandem: Tandem, option: str, value: str) -> None:
    assert tandem("users", "link", *ADA, option, value).exit_code == 2
