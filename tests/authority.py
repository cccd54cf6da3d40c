"""Certificates as an operator makes them: an authority, and what it signs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from tests.issuer import private_pem

DAY = timedelta(days=1)
HERE: tuple[x509.GeneralName, ...] = (
    x509.DNSName("localhost"),
    x509.IPAddress(ip_address("127.0.0.1")),
)


@dataclass(frozen=True)
class Signed:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: CertificateIssuerPrivateKeyTypes

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return private_pem(self.key).encode()

    @property
    def serial(self) -> int:
        return self.certificate.serial_number


class Authority(Signed):
    """A certificate that vouches for others; each new one is another authority."""

    def __init__(self, name: str = "authority") -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        super().__init__(_sign(name, (), key, name, key, (-DAY, 365 * DAY), is_authority=True), key)
        object.__setattr__(self, "_name", name)

    def signs(
        self,
        *names: x509.GeneralName,
        ends_in: timedelta = 90 * DAY,
        begins_in: timedelta = -90 * DAY,
        key: CertificateIssuerPrivateKeyTypes | None = None,
    ) -> Signed:
        """A certificate with these names."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        life = (begins_in, ends_in)
        return Signed(_sign("anyone", names, key, self._name, self.key, life), key)  # type: ignore[attr-defined]


def _sign(
    subject: str,
    names: Sequence[x509.GeneralName],
    key: CertificateIssuerPrivateKeyTypes,
    issuer: str,
    issuer_key: CertificateIssuerPrivateKeyTypes,
    life: tuple[timedelta, timedelta],
    *,
    is_authority: bool = False,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_named(subject))
        .issuer_name(_named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + life[0])
        .not_valid_after(now + life[1])
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, SHA256())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def written(path: Path, content: bytes) -> Path:
    """A file with this content, which comes into its place whole."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.rename(path)
    return path
