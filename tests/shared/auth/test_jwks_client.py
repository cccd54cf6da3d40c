"""An issuer's keys as they change, stay away, or come as garbage, over real HTTP."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any
from uuid import uuid4

import pytest

from shared.auth.jwks_client import MAXIMUM_BYTES, MAXIMUM_WAITING, IssuerKeys, Times
from shared.auth.key_sources import WithOwnKey
from shared.auth.keys import VerificationKey
from shared.auth.verifier import Verifier
from shared.errors import Refusal
from shared.settings import Settings
from tests.issuer import KEYS, Answer, Issuer, issuing, jwk, published, raw, token, whole

# So that a test sees in a second what a service sees in a day.
QUICK = Times(refresh=0.05, retry=0.05, longest_retry=0.05, cool_down=0.2, fetch=0.5, stale=60)
# So that only calls make it fetch, but for the first time.
CALM = Times(refresh=600, retry=600, longest_retry=600, cool_down=600, fetch=1.0)
A, B = published("RS256", "a"), published("ES256", "b")
TOKEN_A, TOKEN_B = token("RS256", "a"), token("ES256", "b")


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as issuer:
        issuer.publish(A)
        yield issuer


@asynccontextmanager
async def verifying(url: str, times: Times) -> AsyncIterator[Verifier]:
    keys = IssuerKeys(url, times)
    try:
        yield Verifier(Settings(), keys)
    finally:
        await keys.close()


async def said(verifier: Verifier, token: str) -> str:
    """OK, or the reason of the refusal."""
    try:
        await verifier.verify(token)
    except Refusal as refusal:
        return refusal.reason.name
    return "OK"


async def until(happened: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def fetched_again(issuer: Issuer) -> None:
    """Two fetches have begun since, so that one of them is over."""
    before = issuer.fetches
    await until(lambda: issuer.fetches >= before + 2)


def unknown() -> str:
    return token("RS256", uuid4().hex)


async def test_the_first_call_waits_for_the_keys(issuer: Issuer) -> None:
    async with verifying(issuer.url, CALM) as verifier:
        assert await asyncio.gather(*(said(verifier, TOKEN_A) for _ in range(20))) == ["OK"] * 20
        assert issuer.fetches == 1


async def test_a_new_key_is_found_at_the_first_call_that_needs_it(issuer: Issuer) -> None:
    async with verifying(issuer.url, CALM) as verifier:
        assert await said(verifier, TOKEN_A) == "OK"
        issuer.publish(A, B)
        assert await said(verifier, TOKEN_B) == "OK"
        assert await said(verifier, TOKEN_A) == "OK"
        assert issuer.fetches == 2


@pytest.mark.parametrize(
    "then", [[B], [B | {"kid": "a"}], [A | {"use": "enc"}, B]], ids=["gone", "replaced", "retired"]
)
async def test_tokens_of_a_key_that_is_gone_are_forgotten(
    issuer: Issuer, then: list[dict[str, Any]]
) -> None:
    async with verifying(issuer.url, QUICK) as verifier:
        assert await said(verifier, TOKEN_A) == "OK"
        issuer.publish(*then)
        await fetched_again(issuer)
        assert await said(verifier, TOKEN_A) == "TOKEN_INVALID"


async def test_they_are_forgotten_beside_our_own_key_too(issuer: Issuer) -> None:
    own = VerificationKey("EdDSA", KEYS["EdDSA"].public_key())
    keys = WithOwnKey(own, IssuerKeys(issuer.url, QUICK))
    verifier = Verifier(Settings(), keys)
    assert await said(verifier, TOKEN_A) == "OK"
    issuer.publish(B)
    await fetched_again(issuer)
    assert await said(verifier, TOKEN_A) == "TOKEN_INVALID"
    await keys.close()
    before = issuer.fetches
    await asyncio.sleep(0.2)
    assert issuer.fetches == before


async def test_a_key_belongs_to_its_name(issuer: Issuer) -> None:
    issuer.publish(A, B, published("EdDSA", "c"))
    async with verifying(issuer.url, CALM) as verifier:
        for algorithm, kid in [("RS256", "a"), ("ES256", "b"), ("EdDSA", "c")]:
            assert await said(verifier, token(algorithm, kid)) == "OK"
            for other in {"a", "b", "c"} - {kid}:
                assert await said(verifier, token(algorithm, other)) == "TOKEN_INVALID"


async def test_a_token_without_a_name_needs_a_single_key(issuer: Issuer) -> None:
    async with verifying(issuer.url, CALM) as verifier:
        assert await said(verifier, token("RS256", None)) == "OK"
        assert await said(verifier, token("ES256", None)) == "TOKEN_INVALID"
        issuer.publish(A, B)
        assert await said(verifier, TOKEN_B) == "OK"
        assert await said(verifier, token("RS256", None)) == "TOKEN_INVALID"
        assert issuer.fetches == 2


async def test_made_up_names_cause_one_fetch_per_cool_down(issuer: Issuer) -> None:
    async with verifying(issuer.url, CALM) as verifier:
        assert await said(verifier, TOKEN_A) == "OK"
        for _ in range(10):
            answers = [said(verifier, unknown()) for _ in range(100)]
            assert set(await asyncio.gather(*answers)) == {"TOKEN_INVALID"}
        assert issuer.fetches == 2


async def test_after_the_cool_down_a_new_name_is_looked_for_again(issuer: Issuer) -> None:
    async with verifying(issuer.url, Times(refresh=600, cool_down=0.3)) as verifier:
        for known, answer in [(TOKEN_A, "OK"), (unknown(), "TOKEN_INVALID")]:
            assert await said(verifier, known) == answer
        issuer.publish(A, B)
        fetches = issuer.fetches
        assert await said(verifier, TOKEN_B) == "TOKEN_INVALID"
        assert issuer.fetches == fetches
        await asyncio.sleep(0.3)
        assert await said(verifier, TOKEN_B) == "OK"


def late(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(0.3)
    whole(GOOD)(handler)


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


@pytest.mark.parametrize("name", GARBAGE)
async def test_garbage_changes_nothing(issuer: Issuer, name: str) -> None:
    async with verifying(issuer.url, QUICK) as verifier:
        assert await said(verifier, TOKEN_A) == "OK"
        issuer.answer = GARBAGE[name]
        await fetched_again(issuer)
        assert await said(verifier, token("RS256", "a", nonce=1)) == "OK"
        assert await said(verifier, TOKEN_B) == "ISSUER_UNAVAILABLE"
        assert set(issuer.paths) == {"/keys"}
        issuer.publish(A, B)
        await fetched_again(issuer)
        assert await said(verifier, TOKEN_B) == "OK"


async def test_an_issuer_that_is_gone_changes_nothing_for_a_while() -> None:
    times = Times(refresh=0.05, retry=0.05, longest_retry=0.05, cool_down=0, stale=2.0)
    with issuing() as issuer:
        issuer.publish(A)
        async with verifying(issuer.url, times) as verifier:
            assert await said(verifier, TOKEN_A) == "OK"
            issuer.stop()
            gone = time.monotonic()
            await asyncio.sleep(0.4)
            assert await said(verifier, TOKEN_A) == "OK"
            assert await said(verifier, token("RS256", "a", nonce=1)) == "OK"
            while await said(verifier, TOKEN_A) == "OK":
                assert time.monotonic() < gone + 4
                await asyncio.sleep(0.01)
            assert time.monotonic() > gone + 1
            for late in (TOKEN_A, unknown(), token("RS256", None)):
                assert await said(verifier, late) == "ISSUER_UNAVAILABLE"
            with issuing(issuer.port) as back:
                back.publish(A)
                assert await said(verifier, TOKEN_A) == "OK"


async def test_nothing_is_known_of_an_issuer_that_never_answered(issuer: Issuer) -> None:
    issuer.answer = whole(b"", 503)
    async with verifying(issuer.url, CALM) as verifier:
        for _ in range(5):
            assert await said(verifier, TOKEN_A) == "ISSUER_UNAVAILABLE"
        assert issuer.fetches <= 2
        with pytest.raises(Refusal) as raised:
            await verifier.verify(TOKEN_A)
        assert raised.value.retry_after


async def test_pauses_between_failures_grow(issuer: Issuer) -> None:
    issuer.answer = whole(b"", 503)
    growing = Times(retry=0.1, longest_retry=0.4)
    async with verifying(issuer.url, growing):
        await asyncio.sleep(1.5)  # 0, 0.1, 0.3, 0.7, 1.1, 1.5
        assert 4 <= issuer.fetches <= 6


async def test_while_the_issuer_hangs_known_keys_are_as_quick_as_ever(issuer: Issuer) -> None:
    times = Times(refresh=600, cool_down=0, fetch=30)
    async with verifying(issuer.url, times) as verifier:
        assert await said(verifier, TOKEN_A) == "OK"
        issuer.answer = issuer.hang
        waiting = [asyncio.create_task(said(verifier, unknown())) for _ in range(10)]
        await until(lambda: issuer.fetches == 2)
        fresh = [token("RS256", "a", nonce=n) for n in range(100)]
        assert {await said(verifier, token) for token in fresh} == {"OK"}
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()


async def test_a_fetch_has_an_end_that_those_who_wait_share(issuer: Issuer) -> None:
    async with verifying(issuer.url, CALM) as verifier:
        assert await said(verifier, TOKEN_A) == "OK"
        issuer.answer = issuer.hang
        many = [said(verifier, unknown()) for _ in range(1000)]
        begun = time.monotonic()
        assert set(await asyncio.gather(*many)) == {"ISSUER_UNAVAILABLE"}
        assert CALM.fetch <= time.monotonic() - begun < CALM.fetch + 3
        assert issuer.fetches == 2


async def test_only_so_many_wait(issuer: Issuer) -> None:
    async with verifying(issuer.url, CALM) as verifier:
        assert await said(verifier, TOKEN_A) == "OK"
        issuer.answer = issuer.hang
        many = [asyncio.create_task(said(verifier, unknown())) for _ in range(1000)]
        await until(lambda: issuer.fetches == 2)
        assert sum(not task.done() for task in many) == MAXIMUM_WAITING
        await asyncio.gather(*many)


async def test_who_stops_waiting_does_not_end_the_fetch_of_others(issuer: Issuer) -> None:
    issuer.answer = late
    async with verifying(issuer.url, CALM) as verifier:
        patient = asyncio.create_task(said(verifier, TOKEN_A))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(said(verifier, TOKEN_A), 0.1)
        assert await patient == "OK"
        assert issuer.fetches == 1


async def test_a_closed_one_fetches_no_more(issuer: Issuer) -> None:
    before = asyncio.all_tasks()
    async with verifying(issuer.url, Times(refresh=0.05, fetch=30)) as verifier:
        assert await said(verifier, TOKEN_A) == "OK"
        issuer.answer = issuer.hang
        await until(lambda: issuer.fetches > 1)
        begun = time.monotonic()
    assert time.monotonic() - begun < 5
    fetches = issuer.fetches
    await asyncio.sleep(0.3)
    assert issuer.fetches == fetches
    assert asyncio.all_tasks() <= before
