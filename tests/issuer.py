"""An issuer of tokens: keys of its own, and a real HTTP server where it publishes them."""

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

Answer = Callable[[BaseHTTPRequestHandler], None]

KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
ALICE = UUID(int=1)


def public_pem(key: Any) -> str:
    """The public half of a private key."""
    encoded: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return encoded.decode()


def private_pem(key: Any) -> str:
    """A private key as it stands in a setting."""
    encoded: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return encoded.decode()


def jwk(algorithm: str, key: Any, **more: Any) -> dict[str, Any]:
    """A key, public or private, as a JWK; None leaves a member out."""
    found = jwt.get_algorithm_by_name(algorithm).to_jwk(key, as_dict=True)
    return {name: value for name, value in {**found, **more}.items() if value is not None}


def published(algorithm: str, kid: str | None, **more: Any) -> dict[str, Any]:
    """The public half of one of KEYS as a JWK."""
    return jwk(algorithm, KEYS[algorithm].public_key(), kid=kid, **more)


def claims(**changes: Any) -> dict[str, Any]:
    """What a good token says, but for the changes; None leaves a claim out."""
    now = int(time.time())
    good = {"iss": "tandem", "aud": "tandem", "sub": str(ALICE), "typ": "user", "iat": now}
    return {k: v for k, v in {**good, "exp": now + 3600, **changes}.items() if v is not None}


def token(algorithm: str, kid: str | None, **changes: Any) -> str:
    """A token that is signed with one of KEYS."""
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode(claims(**changes), KEYS[algorithm], algorithm=algorithm, headers=headers)


class Issuer:
    """The HTTP server. It answers as `answer` says, and counts what it was asked for."""

    def __init__(self, port: int = 0) -> None:
        self.paths: list[str] = []
        self.answer: Answer = whole(b"nothing yet")
        self._ended = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/keys"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def fetches(self) -> int:
        return len(self.paths)

    def publish(self, *keys: dict[str, Any]) -> None:
        self.answer = whole(json.dumps({"keys": keys}).encode())

    def hang(self, _: BaseHTTPRequestHandler) -> None:
        """An answer that never comes."""
        self._ended.wait()

    def wrap(self, context: ssl.SSLContext) -> None:
        """Speak TLS from now on."""
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )

    def stop(self) -> None:
        """Refuse connections from now on."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                issuer.paths.append(self.path)
                self.close_connection = True
                with suppress(OSError):  # who asked may be gone
                    issuer.answer(self)

            def log_message(self, *_: object) -> None:
                """Keep the tests' output clean."""

        return Handler


@contextmanager
def issuing(port: int = 0) -> Iterator[Issuer]:
    """An issuer for a while."""
    issuer = Issuer(port)
    try:
        yield issuer
    finally:
        issuer.stop()


def whole(body: bytes, status: int = 200, **headers: str) -> Answer:
    """An answer that is whole, whatever it says."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def raw(*parts: bytes, pause: float = 0.0, forever: bool = False) -> Answer:
    """Bytes that need not be HTTP; the last ones again and again if it goes on `forever`."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        for part in parts:
            handler.wfile.write(part)
        while forever:
            time.sleep(pause)
            handler.wfile.write(parts[-1])

    return answer
