"""API keys as text: `tdm_<key_id>_<secret>`. Pure.

The hash is SHA-256, which is fast: slow hashes protect passwords that people choose. 256 random
bits cannot be guessed at any speed, and a slow hash would let strangers keep the service busy.
"""

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field

PREFIX = "tdm"
KEY_ID_BYTES = 10
SECRET_BYTES = 32
# The key id has no "_", so that the secret may: base32 in lower case, then base64 for URLs.
FORM = re.compile(rf"{PREFIX}_([a-z2-7]{{16}})_[A-Za-z0-9_-]{{43}}")
# A hash that no key is known to have, as long as any other.
NO_HASH = "0" * 64


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made; `text` is shown once and never stored."""

    key_id: str
    text: str = field(repr=False)

    @property
    def prefix(self) -> str:
        """How the key begins, up to its secret."""
        return f"{PREFIX}_{self.key_id}"


def make() -> NewKey:
    """A new key out of the system's randomness."""
    key_id = base64.b32encode(secrets.token_bytes(KEY_ID_BYTES)).decode().lower()
    return NewKey(key_id, f"{PREFIX}_{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}")


def key_id_of(text: str) -> str:
    """The key id in a key; empty, which no key has, if the text does not have a key's form."""
    found = FORM.fullmatch(text)
    return found[1] if found else ""


def hash_of(text: str) -> str:
    """What is stored of a key: SHA-256 of all of it, in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def matches(text: str, stored_hash: str) -> bool:
    """Whether a key has this hash, in a time that does not depend on where they differ."""
    return hmac.compare_digest(hash_of(text).encode(), stored_hash.encode())
