"""HTTPS proves whose answer it is; nothing else about the way to the server is left to chance."""

import datetime
import ssl
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import h11
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from shared.auth import http_get
from tests.issuer import Issuer, issuing, private_pem, raw, whole

TLS_KEY = ec.generate_private_key(ec.SECP256R1())
DAY = datetime.timedelta(days=1)


def certificate(name: x509.GeneralName, ends_in: datetime.timedelta = DAY) -> bytes:
    """A certificate that vouches for itself."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(TLS_KEY.public_key())
        .serial_number(1)
        .not_valid_before(now - 2 * DAY)
        .not_valid_after(now + ends_in)
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(TLS_KEY, SHA256())
    )
    return signed.public_bytes(Encoding.PEM)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as issuer:
        issuer.answer = whole(b"here")
        yield issuer


@pytest.fixture
def trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], int]]:
    """Have this machine trust a certificate, and no other."""
    file = tmp_path / "trusted.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    http_get._tls.cache_clear()
    file.touch()
    yield file.write_bytes
    http_get._tls.cache_clear()


def secure(issuer: Issuer, pem: bytes, folder: Path) -> str:
    """Have the issuer speak TLS with this certificate; its URL."""
    (folder / "server.pem").write_bytes(pem + private_pem(TLS_KEY).encode())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    issuer.wrap(context)
    return issuer.url.replace("http:", "https:")


HERE = x509.IPAddress(ip_address("127.0.0.1"))


async def test_a_certificate_that_the_machine_trusts_is_enough(
    issuer: Issuer, trust: Callable[[bytes], int], tmp_path: Path
) -> None:
    pem = certificate(HERE)
    trust(pem)
    assert await http_get.get(secure(issuer, pem, tmp_path), 10) == b"here"


@pytest.mark.parametrize(
    ("pem", "is_trusted"),
    [
        (certificate(HERE), False),
        (certificate(x509.DNSName("another.example")), True),
        (certificate(HERE, ends_in=-DAY), True),
    ],
    ids=["nobody vouches", "another's", "expired"],
)
async def test_another_certificate_is_none(
    issuer: Issuer, trust: Callable[[bytes], int], tmp_path: Path, pem: bytes, is_trusted: bool
) -> None:
    if is_trusted:
        trust(pem)
    with pytest.raises(ssl.SSLCertVerificationError):
        await http_get.get(secure(issuer, pem, tmp_path), 10)
    assert issuer.fetches == 0


async def test_no_proxy_is_asked(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert await http_get.get(issuer.url + "?tenant=a", 4) == b"here"
    assert issuer.paths == ["/keys?tenant=a"]


async def test_one_byte_too_many_is_too_many(issuer: Issuer) -> None:
    with pytest.raises(http_get.FetchError, match="more than 3 bytes"):
        await http_get.get(issuer.url, 3)


async def test_headers_without_an_end_are_not_gathered(issuer: Issuer) -> None:
    line = b"X-Padding: " + b"a" * 1000 + b"\r\n"
    issuer.answer = raw(b"HTTP/1.1 200 OK\r\n", 300 * line, b"Content-Length: 0\r\n\r\n")
    with pytest.raises(h11.RemoteProtocolError, match="too long"):
        await http_get.get(issuer.url, 10)
