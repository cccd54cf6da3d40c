"""Settings: a wrong one is named, and never repeated."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from shared.settings import Settings, SettingsError, load_settings, setting_variables

ROOT = Path(__file__).parents[2]
DATABASE = "postgresql://tandem:hunter2@127.0.0.1:5432/tandem"
PRIVATE = "-----BEGIN PRIVATE KEY-----"  # pragma: allowlist secret
ENTRY = {"issuer": "https://i.example", "audience": "a", "jwks_url": "https://i.example/keys"}
WRONG_ISSUERS: list[tuple[Any, str]] = [
    ({"issuer": "hunter2"}, "a list"),
    ([], "a list"),
    ([ENTRY] * 21, "20"),
    (["hunter2"], "entry 1: must be an object"),
    ([ENTRY, {**ENTRY, "hunter2": 1}], "entry 2: may have the fields issuer, audience, jwks_url"),
    ([ENTRY, ENTRY], "entry 2: issuer must differ"),
    ([{"audience": "hunter2", "jwks_url": "https://i.example/keys"}], "issuer is missing"),
    ([{"issuer": "hunter2", "jwks_url": "https://i.example/keys"}], "audience is missing"),
    ([{"issuer": "hunter2", "audience": "a"}], "exactly one of jwks_url and public_key"),
    ([{**ENTRY, "public_key": "hunter2"}], "exactly one of jwks_url and public_key"),
    ([{**ENTRY, "issuer": ""}], "entry 1: issuer must be a text"),
    ([{**ENTRY, "issuer": "hunter2\0"}], "entry 1: issuer must be a text"),
    ([{**ENTRY, "issuer": "hunter2" * 37}], "entry 1: issuer must be a text of 1 to 255"),
    ([{**ENTRY, "issuer": ["hunter2"]}], "entry 1: issuer must be a text"),
    ([{**ENTRY, "audience": []}], "entry 1: audience must be"),
    ([{**ENTRY, "audience": ["hunter2", 1]}], "entry 1: audience must be"),
    ([{**ENTRY, "audience": None}], "entry 1: audience must be"),
    ([{**ENTRY, "audience": ["hunter2"] * 21}], "entry 1: audience must be"),
    ([{**ENTRY, "jwks_url": "http://hunter2.example/keys"}], "entry 1: jwks_url must be a URL"),
    ([{**ENTRY, "jwks_url": 1}], "entry 1: jwks_url must be a URL"),
    (
        [{"issuer": "i", "audience": "a", "public_key": f"{PRIVATE}\nhunter2"}],
        "entry 1: public_key must be a public key in PEM",
    ),
    ([{"issuer": "i", "audience": "a", "public_key": 1}], "entry 1: public_key must be"),
    ([{**ENTRY, "subject_claim": ""}], "entry 1: subject_claim must be a text"),
    ([{**ENTRY, "username_claim": 1}], "entry 1: username_claim must be a text"),
    ([{**ENTRY, "email_claim": None}], "entry 1: email_claim must be a text"),
    ([{**ENTRY, "full_name_claim": ["hunter2"]}], "entry 1: full_name_claim must be a text"),
]
WRONG = [
    ("DATABASE_URL", "mysql://u:hunter2@h/d", "postgresql://"),
    ("DATABASE_URL", "hunter2", "postgresql://"),
    ("DATABASE_URL", "postgresql+asyncpg://u:hunter2@h/d", "postgresql://"),
    ("DATABASE_URL", "postgresql://u:hunter2@[h/d", "postgresql://"),
    ("DATABASE_URL", "postgresql://u:hunter2\u2100@h/d", "postgresql://"),
    ("DATABASE_OWNER_URL", "mysql://u:hunter2@h/d", "postgresql://"),
    ("DATABASE_ADMIN_URL", "hunter2", "postgresql://"),
    ("AGENT_ADDRESS", "hunter2", "host:port"),
    ("AGENT_ADDRESS", ":50051", "host:port"),
    ("AGENT_ADDRESS", "hunter2:", "host:port"),
    ("TASK_ADDRESS", "hunter2:65536", "host:port"),
    ("TASK_ADDRESS", "hunter2:\u00b2", "host:port"),
    ("TASK_ADDRESS", "hunter2:-1", "host:port"),
    ("AGENT_METRICS_ADDRESS", "hunter2", "host:port"),
    ("TASK_METRICS_ADDRESS", "9464", "host:port"),
    ("AGENT_TLS_TASK_SERVICES", "hunter2,", "separated by commas"),
    ("AGENT_TLS_TASK_SERVICES", "hunter2 a", "separated by commas"),
    ("PLAINTEXT", "hunter2", "'network'"),
    ("JWT_SECRET", "hunter2", "32 bytes"),
    ("JWT_SECRET", "h" * 31, "32 bytes"),
    ("JWT_SECRET", "hunter2" * 5 + "\udcff", "UTF-8"),
    ("JWT_JWKS_URL", "hunter2", "https://"),
    ("JWT_JWKS_URL", "https://", "https://"),
    ("JWT_JWKS_URL", "http://hunter2.example/keys", "this machine"),
    ("JWT_JWKS_URL", "http://127.0.0.1.hunter2.example/keys", "this machine"),
    ("JWT_JWKS_URL", "file:///hunter2", "https://"),
    ("JWT_JWKS_URL", "https://user:hunter2@issuer.example/keys", "without a user"),
    ("JWT_JWKS_URL", "http://localhost@hunter2.example/keys", "without a user"),
    ("JWT_JWKS_URL", "https://issuer.example:hunter2/keys", "https://"),
    ("JWT_JWKS_URL", "https://issuer.example:0/hunter2", "https://"),
    ("JWT_JWKS_URL", "https://issuer.example/hun ter2", "https://"),
    ("JWT_JWKS_URL", "https://issuer.example/hunter2\r\nHost: x", "https://"),
    ("JWT_JWKS_URL", "https://[hunter2/keys", "https://"),
    *[("JWT_ISSUERS", json.dumps(value), allowed) for value, allowed in WRONG_ISSUERS],
    ("JWT_ISSUERS", "hunter2", "JSON"),
    ("JWT_ISSUERS", '[{"issuer": "hunter2"', "JSON"),
    ("JWT_PROVISION", "hunter2", "'first-call'"),
    ("LOG_LEVEL", "hunter2", "'debug'"),
    ("LOG_FORMAT", "hunter2", "'console'"),
    ("LOG_SAMPLE", "hunter2", "from 0 to 1"),
    ("LOG_SAMPLE", "1.1", "from 0 to 1"),
    ("LOG_SAMPLE", "-0.1", "from 0 to 1"),
    ("LOG_SAMPLE", "nan", "from 0 to 1"),
    ("LOG_SAMPLE", "1e-9", "from 0 to 1"),
    ("LOG_SLOW_MS", "hunter2", "integer"),
    ("LOG_SLOW_MS", "600001", "600000"),
    ("POOL_SIZE", "hunter2", "integer"),
    ("POOL_SIZE", "0", "1"),
    ("POOL_SIZE", "101", "100"),
    ("POOL_SIZE", "9" * 5000, "100"),
    ("SHUTDOWN_DELAY", "hunter2", "integer"),
    ("SHUTDOWN_DELAY", "-1", "0"),
    ("SHUTDOWN_DELAY", "301", "300"),
    ("EVENT_RETENTION_DAYS", "hunter2", "integer"),
    ("EVENT_RETENTION_DAYS", "0", "1"),
    ("EVENT_RETENTION_DAYS", "3651", "3650"),
    ("AGENT_TIMEOUT", "hunter2", "integer"),
    ("AGENT_TIMEOUT", "9", "10"),
    ("AGENT_TIMEOUT", "86401", "86400"),
]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that says nothing about Tandem."""
    for name in [name for name in os.environ if name.upper().startswith("TANDEM_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(("name", "value", "allowed"), WRONG)
def test_a_wrong_value_is_named_and_not_repeated(
    name: str, value: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"TANDEM_{name}", value)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    sentence = str(raised.value)
    assert sentence.startswith(f"TANDEM_{name}: ")
    assert sentence.endswith(".")
    assert allowed in sentence
    assert "\n" not in sentence
    assert "hunter2" not in sentence
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_every_setting_that_can_be_wrong_is_tested() -> None:
    checked = {each.field for each in setting_variables() if each.setting.form.can_be_wrong}
    assert {name.lower() for name, _, _ in WRONG} == checked, "WRONG has other settings."


def test_every_setting_is_used() -> None:
    folders = ("agent_service", "task_service", "shared", "cli")
    code = "".join(path.read_text() for f in folders for path in (ROOT / f).rglob("*.py"))
    unused = {name for name in Settings.__dataclass_fields__ if f"settings.{name}" not in code}
    assert not unused, f"No code reads {unused}."


def test_a_setting_with_a_secret_is_never_printed_and_may_be_in_a_file() -> None:
    secret = {each.field for each in setting_variables() if each.is_secret}
    words = {"secret", "password", "token", "private"}
    assert {name for name in Settings.__dataclass_fields__ if words & {*name.split("_")}} < secret
    assert all(each.file_name for each in setting_variables() if each.is_secret)


def test_no_setting_has_the_name_of_the_file_of_another_one() -> None:
    files = {each.file_name for each in setting_variables()}
    assert not files & {each.name for each in setting_variables()}


def test_every_wrong_value_has_its_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_LOG_LEVEL", "loud")
    monkeypatch.setenv("TANDEM_POOL_SIZE", "many")
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert len(str(raised.value).splitlines()) == 2


def test_the_defaults_are_those_of_the_manual() -> None:
    settings = load_settings()
    assert (settings.agent_address, settings.task_address) == ("127.0.0.1:50051", "127.0.0.1:50052")
    assert (settings.jwt_issuer, settings.jwt_audience) == ("tandem", "tandem")
    assert (settings.data_dir, settings.database_url) == (Path(".data"), None)


def test_an_empty_value_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "JWT_SECRET", "AGENT_ADDRESS", "POOL_SIZE"):
        monkeypatch.setenv(f"TANDEM_{name}", "")
    assert load_settings() == Settings()


def test_case_does_not_matter_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_LOG_LEVEL", "WARNING")
    assert load_settings().log_level == "warning"


def test_a_secret_is_never_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_DATABASE_URL", DATABASE)
    monkeypatch.setenv("TANDEM_JWT_SECRET", "hunter2" * 5)
    monkeypatch.setenv("TANDEM_JWT_PRIVATE_KEY", "hunter2")
    settings = load_settings()
    for text in (repr(settings), str(settings), str(asdict(settings))):
        assert "hunter2" not in text
    assert settings.database_url
    assert settings.database_url.get_secret_value() == DATABASE


@pytest.mark.parametrize("url", [DATABASE, "postgres://h/d", "postgresql:///d?host=/tmp"])
def test_a_database_url_is_accepted(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_DATABASE_URL", url)
    assert load_settings().database_url


@pytest.mark.parametrize(
    "url",
    [
        "https://issuer.example/.well-known/jwks.json?tenant=a",
        "HTTPS://issuer.example:8443",
        "http://localhost:8080/keys",
        "http://127.0.0.1/keys",
        "http://[::1]:8080/keys",
    ],
)
def test_a_jwks_url_is_accepted(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_JWT_JWKS_URL", url)
    assert load_settings().jwt_jwks_url == url


def test_an_issuer_of_tokens_is_read_with_what_it_leaves_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more = {"issuer": "i", "audience": ["a", "b"], "public_key": "-----BEGIN PUBLIC KEY-----"}
    monkeypatch.setenv("TANDEM_JWT_ISSUERS", json.dumps([ENTRY, {**more, "subject_claim": "oid"}]))
    first, second = load_settings().jwt_issuers or ()
    assert (first.issuer, first.audience) == ("https://i.example", ("a",))
    assert (first.subject_claim, first.username_claim) == ("sub", "preferred_username")
    assert (first.email_claim, first.full_name_claim) == ("email", "name")
    assert (second.audience, second.jwks_url, second.subject_claim) == (("a", "b"), None, "oid")
