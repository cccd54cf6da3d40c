"""The keys that an issuer publishes at a URL, refreshed in the background.

A call waits for a fetch only if its token names a key that is not known, and then for one fetch
that all such calls share. Keys stay trusted for a day, so an outage of the issuer, or garbage from
it, rejects no valid token.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import uniform

import structlog

from shared.auth.http_get import get
from shared.auth.jwks import read_key_set
from shared.auth.keys import VerificationKey
from shared.errors import Reason, Refusal

log = structlog.get_logger()

MAXIMUM_BYTES = 256 * 1024
# Calls that wait for a fetch: strangers with made-up tokens must not use up the calls of a server.
MAXIMUM_WAITING = 100
RETRY_AFTER_SECONDS = 5.0
KID_CHARACTERS = 100  # of a name, in the log


@dataclass(frozen=True, slots=True)
class Times:
    """How long things take, in seconds."""

    # From one fetch to the next. Issuers announce a new key well before they sign with it.
    refresh: float = 300.0
    # After a fetch that failed; twice as long after each one more, up to `longest_retry`.
    retry: float = 1.0
    longest_retry: float = 60.0
    # Between two fetches for tokens whose key is not known: strangers can make up such tokens.
    cool_down: float = 30.0
    # One fetch, from the name of the host to the last byte.
    fetch: float = 5.0
    # How long keys are trusted that cannot be fetched again.
    stale: float = 86_400.0


class IssuerKeys:
    """A KeyRing of the keys at a URL. It starts to fetch them in the running event loop."""

    def __init__(self, url: str, times: Times = Times(), name: str | None = None) -> None:
        self._log = log.bind(issuer=name) if name else log
        self._url = url
        self._times = times
        self._keys: dict[str, VerificationKey] = {}
        self._ignored: dict[str, str] = {}
        self._tell: Callable[[], None] = lambda: None
        self._waiting = 0
        self._looked = float("-inf")
        self._answers = True
        self._expiry: asyncio.TimerHandle | None = None
        # Now, so that the first calls find it under way.
        self._fetching = asyncio.create_task(self._fetch_once())
        self._refreshing = asyncio.create_task(self._refresh_forever())

    async def find(self, kid: str | None) -> VerificationKey | None:
        """See KeyRing. A token without `kid` needs none if there is only one key."""
        found = self._known(kid)
        if found is None and (kid is not None or not self._keys):
            if not await self._look_again():
                raise _unavailable()
            found = self._known(kid)
        return found

    def on_change(self, tell: Callable[[], None]) -> None:
        self._tell = tell

    async def close(self) -> None:
        if self._expiry:
            self._expiry.cancel()
        self._refreshing.cancel()
        self._fetching.cancel()
        await asyncio.gather(self._refreshing, self._fetching, return_exceptions=True)

    def _known(self, kid: str | None) -> VerificationKey | None:
        if kid is not None:
            return self._keys.get(kid)
        return next(iter(self._keys.values())) if len(self._keys) == 1 else None

    async def _look_again(self) -> bool:
        """Whether what is known now is what the issuer says."""
        if self._fetching.done():
            now = time.monotonic()
            if now - self._looked < self._times.cool_down:
                return self._answers
            self._looked = now
        if self._waiting >= MAXIMUM_WAITING:
            return False
        self._waiting += 1
        try:
            return await self._fetch()
        finally:
            self._waiting -= 1

    async def _refresh_forever(self) -> None:
        pause = self._times.retry
        while True:
            if await self._fetch():
                pause, wait = self._times.retry, self._times.refresh
            else:
                pause, wait = min(2 * pause, self._times.longest_retry), pause
            await asyncio.sleep(wait * uniform(0.9, 1.1))  # noqa: S311

    async def _fetch(self) -> bool:
        """Fetch the keys, once for all who ask meanwhile; whether that worked."""
        if self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch_once())
        return await asyncio.shield(self._fetching)

    async def _fetch_once(self) -> bool:
        try:
            async with asyncio.timeout(self._times.fetch):
                document = await get(self._url, MAXIMUM_BYTES)
            keys, ignored = read_key_set(document)
        except Exception as error:  # whatever it is, the keys that are there stay
            self._answers = False
            known = len(self._keys)
            self._log.warning("cannot fetch the issuer's keys", cause=repr(error), known=known)
            return False
        self._answers = True
        self._take(keys)
        self._report(ignored)
        return True

    def _take(self, keys: dict[str, VerificationKey]) -> None:
        if self._expiry:
            self._expiry.cancel()
        self._expiry = asyncio.get_running_loop().call_later(self._times.stale, self._expire)
        if keys != self._keys:
            self._log.info("the issuer's keys", kids=[kid[:KID_CHARACTERS] for kid in sorted(keys)])
            self._keys = keys
            self._tell()

    def _expire(self) -> None:
        self._log.error("the issuer's keys are too old to be trusted", seconds=self._times.stale)
        self._keys = {}
        self._tell()

    def _report(self, ignored: dict[str, str]) -> None:
        if ignored != self._ignored:
            self._log.warning("some of the issuer's keys are ignored", keys=ignored)
        self._ignored = ignored


def _unavailable() -> Refusal:
    message = "The keys of the token's issuer cannot be fetched now; try again."
    return Refusal(Reason.ISSUER_UNAVAILABLE, message, retry_after=RETRY_AFTER_SECONDS)
