"""Which files can be used, and what is said of their end."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from structlog.testing import capture_logs

from shared.grpc_server.certificates import Certificates, Files
from shared.settings import SettingsError
from tests.authority import DAY, HERE, Authority, Signed, written

AUTHORITY = Authority()
HOUR = timedelta(hours=1)
GOOD = AUTHORITY.signs(*HERE)


def files(folder: Path, own: Signed) -> Files:
    certificate = written(folder / "own.pem", own.pem)
    key, ca = written(folder / "own.key", own.key_pem), written(folder / "ca.pem", AUTHORITY.pem)
    return Files("TANDEM_AGENT_TLS_", certificate, key, ca)


def looked(certificates: Certificates, now: datetime) -> tuple[bool, list[Any]]:
    """Whether what is in the files now is taken, and the lines of the log."""
    with capture_logs() as lines:
        return certificates.take(certificates.find(), now), lines


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP521R1()),
        rsa.generate_private_key(public_exponent=65537, key_size=1024),  # noqa: S505
    ],
    ids=["P-521", "RSA 1024"],
)
def test_a_key_that_cannot_serve_is_refused_at_the_start(tmp_path: Path, key: Any) -> None:
    with pytest.raises(SettingsError, match="TANDEM_AGENT_TLS_KEY: must be a file with an RSA key"):
        Certificates(files(tmp_path, AUTHORITY.signs(*HERE, key=key)))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda f: f.key.write_bytes(AUTHORITY.key_pem), "CERTIFICATE: the first certificate is"),
        (lambda f: f.certificate.write_bytes(AUTHORITY.pem + GOOD.pem), "CERTIFICATE: the first"),
        (lambda f: f.certificate.write_bytes(GOOD.pem[:-40]), "CERTIFICATE: must be a file of"),
        (lambda f: f.ca.write_bytes(b""), "CLIENT_CA: must be a file of certificates"),
        (lambda f: f.key.write_bytes(GOOD.pem), "KEY: must be a file with"),
        (lambda f: f.ca.unlink(), "CLIENT_CA: .*ca.pem: No such file or directory"),
    ],
)
def test_what_is_wrong_is_said_at_the_start(
    tmp_path: Path, spoil: Callable[[Any], object], sentence: str
) -> None:
    named = files(tmp_path, GOOD)
    spoil(named)
    with pytest.raises(SettingsError, match=f"^TANDEM_AGENT_TLS_{sentence}"):
        Certificates(named)


def test_ed25519_is_refused_as_grpc_does_not_speak_it(tmp_path: Path) -> None:
    named = files(tmp_path, GOOD)
    assert named.key
    named.key.write_bytes(Signed(GOOD.certificate, ed25519.Ed25519PrivateKey.generate()).key_pem)
    with pytest.raises(SettingsError, match="KEY: must be a file with an RSA key"):
        Certificates(named)


@pytest.mark.parametrize(
    ("life", "notice"), [(90 * DAY, 14 * DAY), (365 * DAY, 14 * DAY), (4 * DAY, DAY)]
)
def test_the_end_is_announced_and_said_once_a_day(
    tmp_path: Path, life: timedelta, notice: timedelta
) -> None:
    own = AUTHORITY.signs(*HERE, begins_in=timedelta(), ends_in=life)
    end = own.certificate.not_valid_after_utc
    certificates = Certificates(files(tmp_path, own))

    def events(now: datetime) -> list[str]:
        return [
            line["event"] for line in looked(certificates, now)[1] if "AGENT_TLS_CERT" in str(line)
        ]

    assert events(end - notice - HOUR) == []
    assert events(end - notice + HOUR) == ["a certificate expires soon"]
    assert events(end - notice + HOUR) == []
    assert events(end + HOUR) == ["a certificate has expired"]
    assert events(end + HOUR) == []
    assert events(end + HOUR + DAY) == ["a certificate has expired"]


@pytest.mark.parametrize("life", [{"ends_in": -DAY}, {"begins_in": DAY}])
def test_what_has_expired_does_not_replace_what_is_valid(
    tmp_path: Path, life: dict[str, Any]
) -> None:
    certificates, now = Certificates(files(tmp_path, GOOD)), datetime.now(UTC)
    before = certificates.current
    files(tmp_path, AUTHORITY.signs(*HERE, **life))
    taken, lines = looked(certificates, now)
    assert (taken, [line["log_level"] for line in lines]) == (False, ["error"])
    assert looked(certificates, now) == (False, [])
    assert certificates.current is before


def test_what_has_expired_is_replaced_by_anything_that_fits(tmp_path: Path) -> None:
    certificates = Certificates(files(tmp_path, AUTHORITY.signs(*HERE, ends_in=-DAY)))
    files(tmp_path, GOOD)
    assert looked(certificates, datetime.now(UTC))[0]
    assert certificates.current.certificate == GOOD.pem


def test_a_key_is_not_printed(tmp_path: Path) -> None:
    assert "PRIVATE" not in repr(Certificates(files(tmp_path, GOOD)).current)
