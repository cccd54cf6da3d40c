"""What is wrong with a token stands in the log, and never the token."""

import base64
import time
from typing import Any

import jwt
import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from shared.auth import rate
from shared.auth.faults import LINES_AT_ONCE, LINES_PER_SECOND, Fault, FaultLog, shown
from shared.auth.issuers import issuers
from shared.auth.verifier import Verifier
from shared.errors import Refusal
from shared.settings import Settings
from tests.issuer import KEYS, claims
from tests.providers import AUTH0, KEYCLOAK
from tests.shared.auth.attacks import STRANGERS_KEYS
from tests.world import SECRET

SETTINGS = Settings(jwt_secret=SECRET, jwt_issuers=(KEYCLOAK.entry(), AUTH0.entry()))
ISSUER = KEYCLOAK.issuer
# Texts that no log may repeat.
LONG = "hunter2" * 20
ODD = "hunter2\0"


def ours(**changes: Any) -> str:
    return jwt.encode(claims(**changes), SECRET.get_secret_value(), algorithm="HS256")


FAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "no token": ("hunter2.hunter2", {"fault": "malformed"}),
    "an API key": ("tdm_hunter2_hunter2", {"fault": "malformed"}),
    "unknown issuer": (
        KEYCLOAK.token(iss="https://else.example"),
        {
            "fault": "unknown issuer",
            "claim": "iss",
            "expected": f"{ISSUER}, {AUTH0.issuer}, tandem",
            "found": "https://else.example",
        },
    ),
    "an issuer with a long name": (KEYCLOAK.token(iss=LONG), {"found": "(not shown)"}),
    "an issuer with an odd name": (KEYCLOAK.token(iss=ODD), {"found": "(not shown)"}),
    "an issuer that is an object": (
        KEYCLOAK.token(iss={"hunter2": 1}),
        {"fault": "unknown issuer", "found": "(not shown)"},
    ),
    "no issuer": (KEYCLOAK.token(iss=None), {"fault": "unknown issuer", "claim": "iss"}),
    "audience": (
        KEYCLOAK.token(aud="account"),
        {"fault": "audience", "expected": "tandem", "found": "account", "issuer": ISSUER},
    ),
    "audiences": (KEYCLOAK.token(aud=["account", "broker"]), {"found": "account, broker"}),
    "many audiences": (KEYCLOAK.token(aud=["a"] * 6), {"found": "(not shown)"}),
    "a long audience": (KEYCLOAK.token(aud=[LONG]), {"found": "(not shown)"}),
    "signature": (
        KEYCLOAK.token(key=STRANGERS_KEYS["RS256"]),
        {"fault": "signature", "issuer": ISSUER},
    ),
    "algorithm": (
        jwt.encode(KEYCLOAK.claims(), KEYS["ES256"], algorithm="ES256"),
        {"fault": "algorithm", "claim": "alg", "expected": "RS256", "issuer": ISSUER},
    ),
    "no exp": (KEYCLOAK.token(exp=None), {"fault": "missing claim", "claim": "exp"}),
    "no sub": (KEYCLOAK.token(sub=None), {"fault": "missing claim", "claim": "sub"}),
    "sub": (
        KEYCLOAK.token(sub=""),
        {"fault": "subject", "claim": "sub", "expected": "a text of 1 to 255 characters"},
    ),
    "exp": (KEYCLOAK.token(exp="soon"), {"fault": "not a time", "claim": "exp", "found": "soon"}),
    "nbf": (
        KEYCLOAK.token(nbf=int(time.time()) + 3600),
        {"fault": "not yet valid", "claim": "nbf", "issuer": ISSUER},
    ),
    "expired": (KEYCLOAK.token(exp=1), {"fault": "expired", "found": "1", "issuer": ISSUER}),
    "ours, without typ": (
        ours(typ=None),
        {"fault": "missing claim", "claim": "typ", "issuer": "tandem"},
    ),
    "ours, without iat": (ours(iat=None), {"fault": "missing claim", "claim": "iat"}),
    "ours, of another kind": (
        ours(typ="Bearer"),
        {
            "fault": "kind of caller",
            "claim": "typ",
            "expected": "user, agent",
            "found": "Bearer",
        },
    ),
    "ours, with a name": (ours(sub="ada"), {"fault": "not an id", "claim": "sub", "found": "ada"}),
}


async def reported(token: str) -> list[EventDict]:
    """The lines of a token that is refused."""
    verifier = Verifier(issuers(SETTINGS))
    with capture_logs() as lines, pytest.raises(Refusal):
        await verifier.verify(token)
    return lines


def parts(token: str) -> list[str]:
    """What would show a token, or what one says as a whole."""
    found = [part for part in token.split(".") if len(part) > 3]
    return found + [base64.urlsafe_b64decode(f"{part}===").decode("latin1") for part in found]


@pytest.mark.parametrize("name", FAULTS)
async def test_each_fault_is_said_and_no_token_is_shown(name: str) -> None:
    token, said = FAULTS[name]
    lines = await reported(token)
    assert [line["event"] for line in lines] == ["token refused"]
    assert said.items() <= lines[0].items()
    for part in ("hunter2", *parts(token)):
        assert part not in str(lines)


async def test_a_key_that_is_not_published_is_named() -> None:
    with capture_logs() as lines:
        FaultLog().report(Fault("unknown key", "kid", found="key-7", issuer="i"))
    wanted = {"fault": "unknown key", "claim": "kid", "found": "key-7", "issuer": "i"}
    assert wanted.items() <= lines[0].items()


@pytest.mark.parametrize("value", ["\n", "\u202e", "x" * 101, {}, [], [[1]] * 6, b"x"])
def test_what_is_long_or_not_printable_is_not_shown(value: Any) -> None:
    assert shown(value) == "(not shown)"


def test_strangers_cannot_fill_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(rate, "monotonic", lambda: now)
    faults = FaultLog()
    with capture_logs() as lines:
        for _ in range(10_000):
            faults.report(Fault("malformed"))
        assert len(lines) == LINES_AT_ONCE
        now = 1.0
        for _ in range(10_000):
            faults.report(Fault("malformed"))
    assert len(lines) == LINES_AT_ONCE + LINES_PER_SECOND
    assert lines[LINES_AT_ONCE]["left_out"] == 10_000 - LINES_AT_ONCE
    assert "left_out" not in lines[-1]
