"""Encryption of what is stored and read again, against readers of the database alone."""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shared.auth.keys import SigningKey

KEY_BYTES = 32
NONCE_BYTES = 12


class Encryptor:
    """AES-256-GCM under a key that is derived from the one that tokens are signed with.

    Without one the key is random: then only this process can decrypt what it has encrypted.
    """

    def __init__(self, signing: SigningKey | None, purpose: bytes) -> None:
        secret = secrets.token_bytes(KEY_BYTES) if signing is None else _secret_of(signing)
        derived = HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose).derive(secret)
        self._cipher = AESGCM(derived)

    def encrypt(self, content: bytes, context: bytes) -> bytes:
        """The content; `decrypt` needs the same `context`."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, context)

    def decrypt(self, encrypted: bytes, context: bytes) -> bytes | None:
        """The content; None if it was encrypted with another key or context, or was changed."""
        nonce, rest = encrypted[:NONCE_BYTES], encrypted[NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, rest, context)
        except (InvalidTag, ValueError):
            return None


def _secret_of(signing: SigningKey) -> bytes:
    if isinstance(signing.key, str):
        return signing.key.encode()
    encoded: bytes = signing.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return encoded
