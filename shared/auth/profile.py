"""What a token of another issuer says about its subject, made fit for a user of ours."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from shared.trusted_issuers import TrustedIssuer

SUBJECT_CHARACTERS = 255
USERNAME_CHARACTERS = 100
EMAIL_CHARACTERS = 255
FULL_NAME_CHARACTERS = 255
# A user without an address of its own has one here; RFC 2606 keeps the domain from being anyone's.
NO_EMAIL_DOMAIN = "users.invalid"
EMAIL = re.compile(r"[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]+@[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)*")
# `email_verified` is true, "true" of some issuers, or left out.
VERIFIED = (True, "true", None)


@dataclass(frozen=True, slots=True)
class Profile:
    """A subject: who it is to the issuer, and what a user that is made of it is called."""

    issuer: str
    subject: str
    username: str
    email: str | None
    full_name: str | None


def read_profile(claims: Mapping[str, Any], issuer: TrustedIssuer) -> Profile | None:
    """What the claims say; None if they name no usable subject."""
    subject = claims.get(issuer.subject_claim)
    if not is_subject(subject):
        return None
    email = _email(claims, issuer)
    names = (claims.get(issuer.username_claim), email, subject)
    username = next((name for each in names if (name := _username(each))), "user")
    full_name = _line(claims.get(issuer.full_name_claim))[:FULL_NAME_CHARACTERS].strip()
    return Profile(issuer.issuer, subject, username, email, full_name or None)


def is_subject(value: Any) -> TypeGuard[str]:
    """Whether a value can be the subject of a token: a text that the database can store."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= SUBJECT_CHARACTERS
        and "\0" not in value
        and _is_utf8(value)
    )


def usernames(username: str, otherwise: str) -> list[str]:
    """What a user may be called if others have that name already; `otherwise` is of no other."""
    suffixes = ["", *(f"-{number}" for number in range(2, 10)), f"-{otherwise}"]
    return [f"{username[: USERNAME_CHARACTERS - len(suffix)]}{suffix}" for suffix in suffixes]


def placeholder_email(user_id: object) -> str:
    """The address of a user whose issuer says none, or one that is taken."""
    return f"{user_id}@{NO_EMAIL_DOMAIN}"


def _email(claims: Mapping[str, Any], issuer: TrustedIssuer) -> str | None:
    email = claims.get(issuer.email_claim)
    if not isinstance(email, str) or len(email) > EMAIL_CHARACTERS or not EMAIL.fullmatch(email):
        return None
    if claims.get("email_verified") not in VERIFIED:
        return None
    return None if email.lower().endswith(f"@{NO_EMAIL_DOMAIN}") else email


def _username(value: Any) -> str:
    return "-".join(_line(value).split())[:USERNAME_CHARACTERS]


def _line(value: Any) -> str:
    """The visible characters of a text, with single spaces; nothing of what is no text."""
    if not isinstance(value, str):
        return ""
    seen = "".join(c if c.isprintable() else " " for c in value)
    return " ".join(seen.split())


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can spell halves of surrogate pairs
        return False
    return True
