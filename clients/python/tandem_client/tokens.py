"""Where the tokens of calls come from: given, asked for, or exchanged for an API key."""

import base64
import inspect
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

import grpc

from tandem.agent.v1.auth_service_pb2 import ExchangeApiKeyRequest, ExchangeApiKeyResponse
from tandem_client.errors import TandemError
from tandem_client.runtime import Runtime

# A token is renewed when this part of its life is over, so that renewing may fail for some minutes.
RENEWED_AFTER = 0.8
# As long as a token is good, no call waits longer than this for the next one,
RENEWAL_SECONDS = 5.0
# and after a failure the next attempt is as many seconds away.
PAUSE_SECONDS = 10.0


@dataclass(frozen=True)
class Token:
    """A JWT, or a function that gives one and may be asynchronous.

    The function is called before each call, so it should keep a token as long as that is good. If a
    service answers TOKEN_EXPIRED it is called once more, and the call is repeated if it gives
    another token.
    """

    source: str | Callable[[], str | Awaitable[str]] = field(repr=False)


@dataclass(frozen=True)
class ApiKey:
    """An agent's API key, `tdm_<key_id>_<secret>`, which is exchanged for tokens as needed.

    A key that is wrong, revoked or expired makes calls raise TandemError with API_KEY_INVALID.
    """

    secret: str = field(repr=False)


Credentials: TypeAlias = Token | ApiKey | None
Exchange: TypeAlias = Callable[[ExchangeApiKeyRequest, float], Awaitable[ExchangeApiKeyResponse]]
"""Sends a request with a timeout in seconds. Raises TandemError."""


class Tokens(Protocol):
    """Where tokens come from."""

    async def get(self, deadline: float, refused: str = "") -> str:
        """A token, other than `refused` if there is another one; "" to call without.

        Takes until `deadline` on the runtime's clock. Raises TandemError.
        """


class GivenTokens:
    """The caller's own."""

    def __init__(self, token: Token | None = None) -> None:
        self._source = token.source if token else ""

    async def get(self, deadline: float, refused: str = "") -> str:  # noqa: ARG002
        if isinstance(self._source, str):
            return self._source
        token = self._source()
        return await token if inspect.isawaitable(token) else token


class Issued(NamedTuple):
    """A token, and when to renew it and when it ends, on the runtime's clock."""

    token: str
    renew_at: float
    ends_at: float


class ExchangedTokens:
    """Tokens for an API key.

    However many calls need one at once, the key is exchanged once: the others wait for the answer,
    or for the refusal. A token that is good stays in use while the next one is fetched, and if that
    fails.
    """

    def __init__(self, key: ApiKey, runtime: Runtime, exchange: Exchange) -> None:
        self._request = ExchangeApiKeyRequest(api_key=key.secret)
        self._runtime = runtime
        self._exchange = exchange
        self._lock = runtime.lock()
        self._issued = Issued("", 0.0, float("-inf"))
        self._exchanges = 0
        self._failure: TandemError | None = None

    async def get(self, deadline: float, refused: str = "") -> str:
        issued, exchanges, now = self._issued, self._exchanges, self._runtime.now()
        good = now < issued.ends_at and issued.token != refused
        if good and now < issued.renew_at:
            return issued.token
        if not await self._lock.acquire(0.0 if good else deadline - now):
            if good:
                return issued.token
            raise TandemError(grpc.StatusCode.DEADLINE_EXCEEDED, "There was no token in time.")
        try:
            if self._exchanges == exchanges:
                await self._renew(min(deadline, now + RENEWAL_SECONDS) if good else deadline)
        finally:
            self._lock.release()
        if self._failure and not good:
            raise self._failure
        return self._issued.token

    async def _renew(self, deadline: float) -> None:
        # Counted from before the exchange, so never too long, and not by the time of day, which may
        # be wrong here.
        now = self._runtime.now()
        try:
            answer = await self._exchange(self._request, deadline - now)
        except TandemError as error:
            self._failure = error
            self._issued = self._issued._replace(renew_at=now + PAUSE_SECONDS)
        else:
            self._failure = None
            life = lifetime(answer.access_token)
            self._issued = Issued(answer.access_token, now + RENEWED_AFTER * life, now + life)
        self._exchanges += 1


def lifetime(token: str) -> float:
    """The seconds between the `iat` and the `exp` of a token."""
    said = claims(token)
    return float(said["exp"] - said["iat"])


def is_of_an_agent(token: str) -> bool:
    """Whether a token was issued for an agent. Of what is no token the service says so."""
    try:
        return bool(claims(token).get("typ") == "agent")
    except (IndexError, ValueError):
        return False


def claims(token: str) -> dict[str, Any]:
    """What a token says."""
    payload = token.split(".")[1]
    said: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return said


def tokens_for(credentials: Credentials, runtime: Runtime, exchange: Exchange) -> Tokens:
    """Where the tokens of a client come from that got these credentials."""
    if isinstance(credentials, ApiKey):
        return ExchangedTokens(credentials, runtime, exchange)
    return GivenTokens(credentials)
