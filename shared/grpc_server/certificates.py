"""A certificate, its key and the authorities to trust: files, which are read again as they change.

What cannot be used is never used in place of what can: files that are half written, that do not
belong together or that have expired are logged once, and those of before stay.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import Certificate, load_pem_x509_certificates

from shared.settings import SettingsError

log = structlog.get_logger()

LOOK_SECONDS = 5.0
# gRPC speaks TLS with no other keys.
KEYS = "an RSA key of 2,048 bits or more, or an EC key on P-256 or P-384, without a password"
CURVES = ("secp256r1", "secp384r1")
MINIMUM_RSA_BITS = 2048
# An end is announced for the last quarter of a certificate's life, for two weeks at most.
NOTICE = timedelta(days=14)
MARK = b"-----BEGIN CERTIFICATE-----"


class UnusableError(Exception):
    """Files that cannot be used. The message names the setting, and says why."""


@dataclass(frozen=True)
class Files:
    """Where they are, each None or with the settings that name it: `prefix` and its own word."""

    prefix: str
    certificate: Path | None
    key: Path | None
    ca: Path | None
    ca_word: str = "CLIENT_CA"

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise SettingsError(
                f"{self.prefix}CERTIFICATE and {self.prefix}KEY belong together: set both or none."
            )

    def __bool__(self) -> bool:
        return bool(self.certificate or self.ca)

    @property
    def named(self) -> Iterator[tuple[str, Path]]:
        """Those that are set, each with its variable: the certificate, the key, the CA."""
        words = {"CERTIFICATE": self.certificate, "KEY": self.key, self.ca_word: self.ca}
        return ((self.prefix + word, path) for word, path in words.items() if path)


@dataclass(frozen=True)
class Life:
    """From when to when a file of certificates is good, and the serial number of the first."""

    variable: str
    serial: str
    begins: datetime
    ends: datetime

    def has_ended(self, now: datetime) -> bool:
        return now >= self.ends

    def is_near_its_end(self, now: datetime) -> bool:
        return self.ends - now <= min((self.ends - self.begins) / 4, NOTICE)


@dataclass(frozen=True)
class Pem:
    """The contents of the files, which fit together; b"" for those that are not set."""

    certificate: bytes = b""
    key: bytes = field(default=b"", repr=False)
    ca: bytes = b""
    lives: tuple[Life, ...] = field(default=(), compare=False)


def read(files: Files) -> Pem:
    """What is in the files now. Raises UnusableError."""
    found = {variable: _content(variable, path) for variable, path in files.named}
    try:
        return _checked(files, found)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # of what no CA would sign
        raise UnusableError(f"{' or '.join(found)}: cannot be read as certificates.") from None


def _checked(files: Files, found: Mapping[str, bytes]) -> Pem:
    certificate, key = f"{files.prefix}CERTIFICATE", f"{files.prefix}KEY"
    ca, lives = files.prefix + files.ca_word, []
    if certificate in found:
        chain = _certificates(certificate, found[certificate])
        _require_match(certificate, chain[0], key, found[key])
        lives.append(_life(certificate, chain, min(each.not_valid_after_utc for each in chain)))
    if ca in found:
        trusted = _certificates(ca, found[ca])
        lives.append(_life(ca, trusted, max(each.not_valid_after_utc for each in trusted)))
    contents = [found.get(each, b"") for each in (certificate, key, ca)]
    return Pem(contents[0], contents[1], contents[2], tuple(lives))


def _content(variable: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnusableError(f"{variable}: {path}: {error.strerror}.") from None


def _certificates(variable: str, pem: bytes) -> list[Certificate]:
    try:
        found = load_pem_x509_certificates(pem)
    except ValueError:
        found = []
    if not found or len(found) != pem.count(MARK):  # one that was cut off is left out in silence
        raise UnusableError(f"{variable}: must be a file of certificates in PEM.")
    return found


def _require_match(variable: str, leaf: Certificate, key_variable: str, pem: bytes) -> None:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UnusableError(f"{key_variable}: must be a file with {KEYS}, in PEM.") from None
    rsa_fits = isinstance(key, rsa.RSAPrivateKey) and key.key_size >= MINIMUM_RSA_BITS
    ec_fits = isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES
    if not (rsa_fits or ec_fits):
        raise UnusableError(f"{key_variable}: must be a file with {KEYS}, in PEM.")
    if key.public_key() != leaf.public_key():
        raise UnusableError(
            f"{variable}: the first certificate is not that of the key in {key_variable}."
        )


def _life(variable: str, certificates: list[Certificate], ends: datetime) -> Life:
    first = certificates[0]
    return Life(variable, f"{first.serial_number:x}", first.not_valid_before_utc, ends)


class Certificates:
    """What is used now of the files, of which `follow` takes what they become."""

    def __init__(self, files: Files) -> None:
        """Raises SettingsError if they cannot be used."""
        self._files = files
        self._said: set[str] = set()
        self._warned: set[str] = set()
        try:
            self.current = read(files)
        except UnusableError as error:
            raise SettingsError(str(error)) from None
        self._watch_the_end(datetime.now(UTC))

    @property
    def authenticates_clients(self) -> bool:
        """Whether a client has to prove who it is."""
        return bool(self.current.certificate and self.current.ca)

    async def follow(self, on_change: Callable[[], Awaitable[None]] | None = None) -> None:
        """Look at the files every LOOK_SECONDS, until this is cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            # In a thread: files may be on a disk of the network that does not answer.
            found = await asyncio.to_thread(self.find)
            if self.take(found, datetime.now(UTC)) and on_change:
                await on_change()

    def find(self) -> Pem | UnusableError:
        """What is in the files, or why it cannot be used."""
        try:
            return read(self._files)
        except UnusableError as error:
            return error

    def take(self, found: Pem | UnusableError, now: datetime) -> bool:
        """Use what was found, if it can be used and is new; whether it is."""
        self._watch_the_end(now)
        if isinstance(found, UnusableError):
            self._say_once(str(found))
            return False
        if found == self.current:
            self._said.clear()
            return False
        if problem := _is_no_use(found, self.current, now):
            self._say_once(problem)
            return False
        self.current = found
        self._said.clear()
        log.info("certificates replaced", serials={e.variable: e.serial for e in found.lives})
        self._watch_the_end(now)
        return True

    def _say_once(self, problem: str) -> None:
        if problem not in self._said:
            self._said.add(problem)
            log.error("new certificates cannot be used; those of before stay", why=problem)

    def _watch_the_end(self, now: datetime) -> None:
        """Log once a day what ends soon or has ended."""
        for life in self.current.lives:
            if not life.is_near_its_end(now):
                continue
            ended = life.has_ended(now)
            line = f"{life.variable} {life.serial} {ended} {now.date()}"
            if line not in self._warned:
                self._warned.add(line)
                say = log.error if ended else log.warning
                say(
                    "a certificate has expired" if ended else "a certificate expires soon",
                    variable=life.variable,
                    serial=life.serial,
                    expires=life.ends.isoformat(),
                )


def _is_no_use(found: Pem, current: Pem, now: datetime) -> str:
    """Why what was found would be worse than what there is, or nothing."""
    if any(life.has_ended(now) for life in current.lives):
        return ""
    for life in found.lives:
        if life.has_ended(now):
            return f"{life.variable}: expired at {life.ends.isoformat()}."
        if now < life.begins:
            return f"{life.variable}: is not valid before {life.begins.isoformat()}."
    return ""
