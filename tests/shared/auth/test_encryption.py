"""What is sealed is opened with the same key, purpose and context only."""

from cryptography.hazmat.primitives.asymmetric import ed25519

from shared.auth.encryption import Sealer
from shared.auth.keys import SigningKey

KEY = SigningKey("HS256", "k" * 32)
SEALED = Sealer(KEY, b"purpose").seal(b"content", b"context")


def test_another_process_with_the_same_key_opens_it() -> None:
    assert Sealer(KEY, b"purpose").open(SEALED, b"context") == b"content"
    pair = SigningKey("EdDSA", ed25519.Ed25519PrivateKey.generate())
    sealed = Sealer(pair, b"purpose").seal(b"content", b"context")
    assert Sealer(pair, b"purpose").open(sealed, b"context") == b"content"


def test_nothing_else_opens_it() -> None:
    other = SigningKey("HS256", "o" * 32)
    assert Sealer(other, b"purpose").open(SEALED, b"context") is None
    assert Sealer(None, b"purpose").open(SEALED, b"context") is None
    assert Sealer(KEY, b"another purpose").open(SEALED, b"context") is None
    assert Sealer(KEY, b"purpose").open(SEALED, b"another context") is None


def test_what_was_changed_is_not_opened() -> None:
    for place in range(len(SEALED)):
        changed = bytearray(SEALED)
        changed[place] ^= 1
        assert Sealer(KEY, b"purpose").open(bytes(changed), b"context") is None
        assert Sealer(KEY, b"purpose").open(SEALED[:place], b"context") is None


def test_without_a_key_it_lasts_as_long_as_its_maker() -> None:
    sealer = Sealer(None, b"purpose")
    assert sealer.open(sealer.seal(b"content", b"context"), b"context") == b"content"
