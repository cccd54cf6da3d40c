"""What is encrypted is opened with the same key, purpose and context only."""

from cryptography.hazmat.primitives.asymmetric import ed25519

from shared.auth.encryption import Encryptor
from shared.auth.keys import SigningKey

KEY = SigningKey("HS256", "k" * 32)
ENCRYPTED = Encryptor(KEY, b"purpose").encrypt(b"content", b"context")


def test_another_process_with_the_same_key_opens_it() -> None:
    assert Encryptor(KEY, b"purpose").decrypt(ENCRYPTED, b"context") == b"content"
    pair = SigningKey("EdDSA", ed25519.Ed25519PrivateKey.generate())
    encrypted = Encryptor(pair, b"purpose").encrypt(b"content", b"context")
    assert Encryptor(pair, b"purpose").decrypt(encrypted, b"context") == b"content"


def test_nothing_else_opens_it() -> None:
    other = SigningKey("HS256", "o" * 32)
    assert Encryptor(other, b"purpose").decrypt(ENCRYPTED, b"context") is None
    assert Encryptor(None, b"purpose").decrypt(ENCRYPTED, b"context") is None
    assert Encryptor(KEY, b"another purpose").decrypt(ENCRYPTED, b"context") is None
    assert Encryptor(KEY, b"purpose").decrypt(ENCRYPTED, b"another context") is None


def test_what_was_changed_is_not_opened() -> None:
    for place in range(len(ENCRYPTED)):
        changed = bytearray(ENCRYPTED)
        changed[place] ^= 1
        assert Encryptor(KEY, b"purpose").decrypt(bytes(changed), b"context") is None
        assert Encryptor(KEY, b"purpose").decrypt(ENCRYPTED[:place], b"context") is None


def test_without_a_key_it_lasts_as_long_as_its_maker() -> None:
    encryptor = Encryptor(None, b"purpose")
    assert encryptor.decrypt(encryptor.encrypt(b"content", b"context"), b"context") == b"content"
