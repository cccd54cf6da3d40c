"""An issuer's keys as they change, stay away, or come as garbage, over real HTTP."""

import asyncio
import gzip
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from shared.auth.issuers import Issuers, KnownIssuer
from shared.auth.jwks_client import MAXIMUM_BYTES, MAXIMUM_WAITING, IssuerKeys, Times
from shared.auth.key_sources import KeyRing, WithOwnKey
from shared.auth.keys import VerificationKey
from shared.auth.verifier import Verifier
from shared.errors import Refusal
from tests.clock import Clock
from tests.issuer import KEYS, Answer, Issuer, issuing, jwk, published, raw, token, whole
from tests.waiting import until

# Each test has an event loop of its own, which jumps in time.
pytestmark = pytest.mark.asyncio(loop_scope="function")

HOUR = 3600.0
# Within an hour only calls make it fetch, but for the first time.
TIMES = Times(HOUR, HOUR, HOUR, cool_down=1e6 * HOUR, fetch=HOUR / 6, stale=1e9 * HOUR)
FAILURE = "cannot fetch the issuer's keys"
A, B = published("RS256", "a"), published("ES256", "b")
TOKEN_A, TOKEN_B = token("RS256", "a"), token("ES256", "b")


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as issuer:
        issuer.publish(A)
        yield issuer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@asynccontextmanager
async def verifying(url: str, times: Times = TIMES) -> AsyncIterator[Verifier]:
    keys = IssuerKeys(url, times)
    try:
        yield verifier_of(keys)
    finally:
        await keys.close()


def verifier_of(keys: KeyRing) -> Verifier:
    return Verifier(Issuers([KnownIssuer("tandem", ("tandem",), keys)]))


async def said(verifier: Verifier, token: str) -> str:
    """OK, or the reason of the refusal."""
    try:
        await verifier.verify(token)
    except Refusal as refusal:
        return refusal.reason.name
    return "OK"


async def until_said(answer: str, verifier: Verifier, token: str) -> None:
    async def is_said() -> bool:
        return await said(verifier, token) == answer

    await until(is_said)


async def refresh(issuer: Issuer, clock: Clock) -> None:
    """An hour later the next fetch has reached the issuer."""
    before = issuer.fetches
    await clock.advance(1.2 * HOUR)
    await until(lambda: issuer.fetches > before)


def failures(lines: list[EventDict]) -> int:
    return sum(line["event"] == FAILURE for line in lines)


def unknown() -> str:
    return token("RS256", uuid4().hex)


async def test_the_first_call_waits_for_the_keys(issuer: Issuer) -> None:
    async with verifying(issuer.url) as verifier:
        assert await asyncio.gather(*(said(verifier, TOKEN_A) for _ in range(20))) == ["OK"] * 20
        assert issuer.fetches == 1


async def test_a_new_key_is_found_at_the_first_call_that_needs_it(issuer: Issuer) -> None:
    async with verifying(issuer.url) as verifier:
        assert await said(verifier, TOKEN_A) == "OK"
        issuer.publish(A, B)
        assert await said(verifier, TOKEN_B) == "OK"
        assert await said(verifier, TOKEN_A) == "OK"
        assert issuer.fetches == 2


@pytest.mark.parametrize(
    "then", [[B], [B | {"kid": "a"}], [A | {"use": "enc"}, B]], ids=["gone", "replaced", "retired"]
)
async def test_tokens_of_a_key_that_is_gone_are_forgotten(
    issuer: Issuer, clock: Clock, then: list[dict[str, Any]]
) -> None:
    async with verifying(issuer.url) as verifier:
        assert await said(verifier, TOKEN_A) == "OK"
        issuer.publish(*then)
        await refresh(issuer, clock)
        await until_said("TOKEN_INVALID", verifier, TOKEN_A)


async def test_they_are_forgotten_beside_our_own_key_too(issuer: Issuer, clock: Clock) -> None:
    own = VerificationKey("EdDSA", KEYS["EdDSA"].public_key())
    keys = WithOwnKey(own, IssuerKeys(issuer.url, TIMES))
    verifier = verifier_of(keys)
    assert await said(verifier, TOKEN_A) == "OK"
    issuer.publish(B)
    await refresh(issuer, clock)
    await until_said("TOKEN_INVALID", verifier, TOKEN_A)
    await keys.close()
    before = issuer.fetches
    await clock.advance(10 * HOUR)
    await asyncio.sleep(0.1)
    assert issuer.fetches == before


async def test_a_key_belongs_to_its_name(issuer: Issuer) -> None:
    issuer.publish(A, B, published("EdDSA", "c"))
    async with verifying(issuer.url) as verifier:
        for algorithm, kid in [("RS256", "a"), ("ES256", "b"), ("EdDSA", "c")]:
            assert await said(verifier, token(algorithm, kid)) == "OK"
            for other in {"a", "b", "c"} - {kid}:
                assert await said(verifier, token(algorithm, other)) == "TOKEN_INVALID"


async def test_a_token_without_a_name_needs_a_single_key(issuer: Issuer) -> None:
    async with verifying(issuer.url) as verifier:
        assert await said(verifier, token("RS256", None)) == "OK"
        assert await said(verifier, token("ES256", None)) == "TOKEN_INVALID"
        issuer.publish(A, B)
        assert await said(verifier, TOKEN_B) == "OK"
        assert await said(verifier, token("RS256", None)) == "TOKEN_INVALID"
        assert issuer.fetches == 2


async def test_made_up_names_cause_one_fetch_per_cool_down(issuer: Issuer) -> None:
    async with verifying(issuer.url) as verifier:
        assert await said(verifier, TOKEN_A) == "OK"
        for _ in range(10):
            answers = [said(verifier, unknown()) for _ in range(100)]
            assert set(await asyncio.gather(*answers)) == {"TOKEN_INVALID"}
        assert issuer.fetches == 2


async def test_after_the_cool_down_a_new_name_is_looked_for_again(
    issuer: Issuer, clock: Clock
) -> None:
    async with verifying(issuer.url, Times(refresh=HOUR, cool_down=60)) as verifier:
        for known, answer in [(TOKEN_A, "OK"), (unknown(), "TOKEN_INVALID")]:
            assert await said(verifier, known) == answer
        issuer.publish(A, B)
        fetches = issuer.fetches
        assert await said(verifier, TOKEN_B) == "TOKEN_INVALID"
        assert issuer.fetches == fetches
        await clock.advance(60)
        assert await said(verifier, TOKEN_B) == "OK"


def head(*lines: str) -> bytes:
    return "\r\n".join(("HTTP/1.1 200 OK", *lines, "", "")).encode()


GOOD = json.dumps({"keys": [A]}).encode()
HUGE = json.dumps({"keys": [B], "more": "x" * MAXIMUM_BYTES}).encode()
GARBAGE: dict[str, Answer] = {
    "500": whole(GOOD, 500),
    "404": whole(GOOD, 404),
    "204": whole(b"", 204),
    "nothing": raw(),
    "no HTTP": raw(b"SSH-2.0-OpenSSH_9.9\r\n"),
    "no JSON": whole(b"<html>It works!</html>"),
    "another JSON": whole(b'["keys"]'),
    "no keys": whole(b'{"keys": []}'),
    "secret keys": whole(json.dumps({"keys": [jwk("ES256", KEYS["ES256"], kid="b")]}).encode()),
    "1,000 keys": whole(json.dumps({"keys": [B | {"kid": str(n)} for n in range(1000)]}).encode()),
    "too large": whole(HUGE),
    "too large, in pieces": raw(
        head("Transfer-Encoding: chunked"), b"400\r\n" + b" " * 1024 + b"\r\n", forever=True
    ),
    "endless": raw(head(), b" " * 1024, forever=True),
    "endless headers": raw(head().rstrip(), b"\r\nX: " + b"x" * 1000, forever=True),
    "endless beginnings": raw(b"HTTP/1.1 100 Continue\r\n\r\n", forever=True),
    "cut": raw(head("Content-Length: 5000"), GOOD),
    "zipped": whole(gzip.compress(GOOD), Content_Encoding="gzip"),
    "too deep": whole(b'{"keys":' * 20_000),
    "elsewhere": whole(b"", 302, Location="/elsewhere"),
    "elsewhere for good": whole(b"", 308, Location="https://127.0.0.1:1/keys"),
    "never": lambda _: time.sleep(2),
    "a byte at a time": raw(head("Content-Length: 5000"), b" ", pause=0.05, forever=True),
}


# They end when time is up.
UNENDING = {"endless beginnings", "never", "a byte at a time"}


@pytest.mark.parametrize("name", GARBAGE)
async def test_garbage_changes_nothing(issuer: Issuer, clock: Clock, name: str) -> None:
    async def fetch_fails(number: int) -> None:
        await until(lambda: issuer.fetches == 1 + number)
        if name in UNENDING:
            await clock.advance(TIMES.fetch)
        await until(lambda: failures(lines) == number)

    async with verifying(issuer.url) as verifier:
        assert await said(verifier, TOKEN_A) == "OK"
        issuer.answer = GARBAGE[name]
        with capture_logs() as lines:
            await refresh(issuer, clock)
            await fetch_fails(1)
            assert await said(verifier, token("RS256", "a", nonce=1)) == "OK"
            waiting = asyncio.create_task(said(verifier, TOKEN_B))
            await fetch_fails(2)
            assert await waiting == "ISSUER_UNAVAILABLE"
        assert set(issuer.paths) == {"/keys"}
        issuer.publish(A, B)
        await refresh(issuer, clock)
        await until_said("OK", verifier, TOKEN_B)


async def test_an_issuer_that_is_gone_changes_nothing_for_a_day(clock: Clock) -> None:
    times = Times()
    with issuing() as issuer:
        issuer.publish(A)
        async with verifying(issuer.url, times) as verifier:
            assert await said(verifier, TOKEN_A) == "OK"
            issuer.stop()
            await fail(clock, times.refresh, *[times.longest_retry] * 5)
            await clock.advance(times.stale - 1000)
            assert await said(verifier, TOKEN_A) == "OK"
            assert await said(verifier, token("RS256", "a", nonce=1)) == "OK"
            await clock.advance(1000)
            for late in (TOKEN_A, unknown(), token("RS256", None)):
                assert await said(verifier, late) == "ISSUER_UNAVAILABLE"
            with issuing(issuer.port) as back:
                back.publish(A)
                await clock.advance(times.longest_retry)
                await until_said("OK", verifier, TOKEN_A)


async def fail(clock: Clock, *pauses: float) -> None:
    """After each pause the next fetch fails."""
    with capture_logs() as lines:
        for number, pause in enumerate(pauses, start=1):
            await clock.advance(1.2 * pause)
            await until(lambda: failures(lines) >= number)  # noqa: B023


async def test_nothing_is_known_of_an_issuer_that_never_answered(issuer: Issuer) -> None:
    issuer.answer = whole(b"", 503)
    async with verifying(issuer.url) as verifier:
        for _ in range(5):
            assert await said(verifier, TOKEN_A) == "ISSUER_UNAVAILABLE"
        assert issuer.fetches <= 2
        with pytest.raises(Refusal) as raised:
            await verifier.verify(TOKEN_A)
        assert raised.value.retry_after


async def test_pauses_between_failures_grow(issuer: Issuer, clock: Clock) -> None:
    issuer.answer = whole(b"", 503)
    growing = Times(retry=100, longest_retry=400, fetch=HOUR)
    with capture_logs() as lines:
        async with verifying(issuer.url, growing):
            for number, pause in enumerate((100, 200, 400, 400), start=1):
                await until(lambda: failures(lines) == number)  # noqa: B023
                await clock.advance(0.8 * pause)
                await asyncio.sleep(0.05)
                assert issuer.fetches == number
                await clock.advance(0.4 * pause)
                await until(lambda: issuer.fetches == number + 1)  # noqa: B023


async def test_while_the_issuer_hangs_known_keys_are_as_quick_as_ever(issuer: Issuer) -> None:
    async with verifying(issuer.url, Times(HOUR, cool_down=0, fetch=HOUR)) as verifier:
        assert await said(verifier, TOKEN_A) == "OK"
        issuer.answer = issuer.hang
        waiting = [asyncio.create_task(said(verifier, unknown())) for _ in range(10)]
        await until(lambda: issuer.fetches == 2)
        fresh = [token("RS256", "a", nonce=n) for n in range(100)]
        assert {await said(verifier, token) for token in fresh} == {"OK"}
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()


async def test_a_fetch_has_an_end_that_those_who_wait_share(issuer: Issuer, clock: Clock) -> None:
    async with verifying(issuer.url) as verifier:
        assert await said(verifier, TOKEN_A) == "OK"
        issuer.answer = issuer.hang
        many = [asyncio.create_task(said(verifier, unknown())) for _ in range(1000)]
        await until(lambda: issuer.fetches == 2)
        for part_of_time in (0.0, 0.9):
            await clock.advance(part_of_time * TIMES.fetch)
            assert sum(not task.done() for task in many) == MAXIMUM_WAITING
        await clock.advance(0.1 * TIMES.fetch)
        assert set(await asyncio.gather(*many)) == {"ISSUER_UNAVAILABLE"}


async def test_who_stops_waiting_does_not_end_the_fetch_of_others(issuer: Issuer) -> None:
    answered = threading.Event()

    def late(handler: BaseHTTPRequestHandler) -> None:
        answered.wait()
        whole(GOOD)(handler)

    issuer.answer = late
    async with verifying(issuer.url) as verifier:
        patient = asyncio.create_task(said(verifier, TOKEN_A))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(said(verifier, TOKEN_A), 0.1)
        answered.set()
        assert await patient == "OK"
        assert issuer.fetches == 1


async def test_a_closed_one_fetches_no_more(issuer: Issuer, clock: Clock) -> None:
    async with verifying(issuer.url) as verifier:
        assert await said(verifier, TOKEN_A) == "OK"
        issuer.answer = issuer.hang
        await refresh(issuer, clock)
    # It has not waited for the end of the fetch: that did not come.
    await clock.advance(10 * HOUR)
    await asyncio.sleep(0.1)
    assert issuer.fetches == 2
    assert asyncio.all_tasks() == {asyncio.current_task()}
