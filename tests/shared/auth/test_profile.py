"""What a token of another issuer says, made fit for a user."""

from typing import Any

import pytest

from shared.auth.profile import placeholder_email, read_profile, usernames
from shared.trusted_issuers import TrustedIssuer

ISSUER = TrustedIssuer("https://issuer.example", ("tandem",))


def username(**claims: Any) -> str:
    profile = read_profile({"sub": "subject", **claims}, ISSUER)
    assert profile
    return profile.username


def email(**claims: Any) -> str | None:
    profile = read_profile({"sub": "subject", **claims}, ISSUER)
    assert profile
    return profile.email


def full_name(value: Any) -> str | None:
    profile = read_profile({"sub": "subject", "name": value}, ISSUER)
    assert profile
    return profile.full_name


@pytest.mark.parametrize("subject", ["", "s" * 256, "a\0b", "\ud800", None, 7, True, ["a"], {}])
def test_what_can_be_no_subject_names_nobody(subject: Any) -> None:
    assert read_profile({"sub": subject}, ISSUER) is None


@pytest.mark.parametrize("subject", ["s", "s" * 255, "auth0|5f", "é…", " ", "a'b\"; --", "107691"])
def test_any_other_text_is_a_subject_as_it_is(subject: str) -> None:
    profile = read_profile({"sub": subject}, ISSUER)
    assert profile
    assert (profile.issuer, profile.subject) == ("https://issuer.example", subject)


@pytest.mark.parametrize(
    ("claims", "wanted"),
    [
        ({"preferred_username": "ada", "email": "a@b.example"}, "ada"),
        ({"preferred_username": "", "email": "a@b.example"}, "a@b.example"),
        ({"preferred_username": 7, "email": "a@b.example"}, "a@b.example"),
        ({"email": "a@b.example", "email_verified": False}, "subject"),
        ({}, "subject"),
        ({"preferred_username": "x" * 101}, "x" * 100),
        ({"preferred_username": "Ada  King\tof \0Lovelace\n"}, "Ada-King-of-Lovelace"),
        ({"preferred_username": "\u202eada\u200b"}, "ada"),
        ({"preferred_username": "\ud800"}, "subject"),
        ({"sub": "\n"}, "user"),
    ],
)
def test_a_user_has_the_first_name_that_can_be_one(claims: dict[str, Any], wanted: str) -> None:
    assert username(**claims) == wanted


@pytest.mark.parametrize(
    ("claims", "wanted"),
    [
        ({"email": "ada@example.org"}, "ada@example.org"),
        ({"email": "ada@example.org", "email_verified": True}, "ada@example.org"),
        ({"email": "ada@example.org", "email_verified": "true"}, "ada@example.org"),
        ({"email": "ada@example.org", "email_verified": False}, None),
        ({"email": "ada@example.org", "email_verified": "false"}, None),
        ({"email": "ada@example.org", "email_verified": []}, None),
        ({"email": "ada"}, None),
        ({"email": "ada@@example.org"}, None),
        ({"email": "ada king@example.org"}, None),
        ({"email": "ada@example.org\n"}, None),
        ({"email": f"a@{'b' * 254}"}, None),
        ({"email": ["ada@example.org"]}, None),
        ({"email": placeholder_email("x").upper()}, None),
        ({}, None),
    ],
)
def test_only_an_address_that_is_usable_and_not_unverified_is_taken(
    claims: dict[str, Any], wanted: str | None
) -> None:
    assert email(**claims) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("Ada  Lovelace\0", "Ada Lovelace"), ("x" * 300, "x" * 255), (" ", None), (7, None)],
)
def test_a_full_name_is_one_line(value: Any, wanted: str | None) -> None:
    assert full_name(value) == wanted


def test_claims_may_have_other_names() -> None:
    names = {"subject_claim": "oid", "username_claim": "upn", "full_name_claim": "https://x/name"}
    issuer = TrustedIssuer("i", ("a",), email_claim="mail", **names)
    said = {"sub": "s", "oid": "o", "upn": "u", "mail": "m@x.example", "https://x/name": "N"}
    profile = read_profile(said, issuer)
    assert profile
    assert (profile.subject, profile.username, profile.email) == ("o", "u", "m@x.example")
    assert profile.full_name == "N"
    assert read_profile({"sub": "s"}, issuer) is None


def test_other_names_are_no_longer_than_a_name_may_be() -> None:
    names = usernames("x" * 100, "abc")
    assert names[:3] == ["x" * 100, f"{'x' * 98}-2", f"{'x' * 98}-3"]
    assert names[-1] == f"{'x' * 96}-abc"
    assert {len(name) for name in names} == {100}
