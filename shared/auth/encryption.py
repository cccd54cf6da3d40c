"""Sealing what is stored and must be read again, but by nobody who only reads the database."""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shared.auth.keys import SigningKey

KEY_BYTES = 32
NONCE_BYTES = 12


class Sealer:
    """AES-256-GCM under a key that is derived from the one that tokens are signed with.

    Without one it is random: what is sealed can be opened by nobody else, and lasts no longer than
    the process.
    """

    def __init__(self, signing: SigningKey | None, purpose: bytes) -> None:
        secret = secrets.token_bytes(KEY_BYTES) if signing is None else _secret_of(signing)
        derived = HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose).derive(secret)
        self._cipher = AESGCM(derived)

    def seal(self, content: bytes, context: bytes) -> bytes:
        """The content, to be opened with the same `context` only."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, context)

    def open(self, sealed: bytes, context: bytes) -> bytes | None:
        """The content; None where it was sealed with another key or context, or was changed."""
        nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, rest, context)
        except (InvalidTag, ValueError):
            return None


def _secret_of(signing: SigningKey) -> bytes:
    if isinstance(signing.key, str):
        return signing.key.encode()
    encoded: bytes = signing.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return encoded
