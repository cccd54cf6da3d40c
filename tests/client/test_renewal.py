"""Tokens: which one a call carries, and when an API key is exchanged again, by a fake clock."""

import asyncio
import time
from concurrent.futures import Future
from typing import Any

import grpc
import jwt
import pytest

from shared.errors import Reason
from tandem.agent.v1.auth_service_pb2 import ExchangeApiKeyResponse
from tandem.task.v1.task_service_pb2 import GetTaskRequest, Task
from tandem_client import ApiKey, ErrorReason, TandemError, Token
from tandem_client.sync import Tandem
from tests.client.fake import Call, Services, in_thread, result_of

GET, EXCHANGE = "TaskService.GetTask", "AuthService.ExchangeApiKey"
KEY = ApiKey("tdm_key_secret")
LIFE_SECONDS = 900
MINUTE = 60.0


def test_a_client_without_credentials_sends_none(services: Services) -> None:
    assert token_of_a_call(services, services.client()) is None


@pytest.mark.parametrize("source", ["mine", lambda: "mine"], ids=["text", "function"])
def test_a_token_goes_with_the_call(services: Services, source: Any) -> None:
    assert token_of_a_call(services, services.client(Token(source))) == "mine"


def test_an_authorization_of_the_caller_replaces_it(services: Services) -> None:
    client = services.client(KEY)
    metadata = (("authorization", "Bearer another"),)
    call = in_thread(lambda: client.tasks.GetTask(GetTaskRequest(), metadata=metadata))
    assert bearer(services.answer(GET, Task())) == "another"
    result_of(call)


def test_an_api_key_is_exchanged_before_the_first_call_and_then_not(services: Services) -> None:
    client = services.client(KEY)
    call = get(client)
    exchanged = services.answer(EXCHANGE, issued("first"))
    assert exchanged.request.api_key == KEY.secret
    assert bearer(exchanged) is None
    assert token_of(services, call) == token("first")
    services.clock.sleep_for(11 * MINUTE)
    assert token_of_a_call(services, client) == token("first")


def test_a_token_is_renewed_before_it_ends(services: Services) -> None:
    client = client_with(services, "first")
    services.clock.sleep_for(12 * MINUTE)
    call = get(client)
    services.answer(EXCHANGE, issued("second"))
    assert token_of(services, call) == token("second")


def test_the_life_of_a_token_counts_from_before_the_exchange(services: Services) -> None:
    client = services.client(KEY)
    call = get(client)
    services.answer(EXCHANGE, issued("first"), takes=20.0)
    assert token_of(services, call) == token("first")
    services.clock.sleep_for(0.8 * LIFE_SECONDS - 20.0)
    call = get(client)
    services.answer(EXCHANGE, issued("second"))
    assert token_of(services, call) == token("second")


@pytest.mark.parametrize("reason", [Reason.API_KEY_INVALID, Reason.LIMIT_EXCEEDED])
def test_a_good_token_outlives_a_renewal_that_fails(services: Services, reason: Reason) -> None:
    client = client_with(services, "first")
    services.clock.sleep_for(12 * MINUTE)
    call = get(client)
    services.refuse(EXCHANGE, reason)
    assert token_of(services, call) == token("first")
    assert token_of_a_call(services, client) == token("first")
    services.clock.sleep_for(10.0)
    call = get(client)
    services.answer(EXCHANGE, issued("second"))
    assert token_of(services, call) == token("second")


def test_a_renewal_under_way_holds_up_no_call_that_has_a_good_token(services: Services) -> None:
    client = client_with(services, "first")
    services.clock.sleep_for(12 * MINUTE)
    slow = get(client)
    renewal = services.take(EXCHANGE)
    assert renewal.timeout == 5.0
    assert token_of_a_call(services, client) == token("first")
    renewal.answer(issued("second"))
    assert token_of(services, slow) == token("second")


def test_many_calls_at_once_exchange_the_key_once(services: Services) -> None:
    client = services.client(KEY)
    calls = [get(client) for _ in range(8)]
    services.answer(EXCHANGE, issued("first"))
    assert tokens_of(services, calls) == {token("first")}


def test_calls_that_wait_for_an_exchange_share_its_refusal(services: Services) -> None:
    client = services.client(KEY)
    calls = [get(client) for _ in range(8)]
    exchange = services.take(EXCHANGE)
    while services.waiting < len(calls):
        time.sleep(0.001)
    exchange.refuse(Reason.API_KEY_INVALID)
    for call in calls:
        with pytest.raises(TandemError, match="API_KEY_INVALID"):
            result_of(call)


def test_a_key_that_was_refused_is_exchanged_again_by_the_next_call(services: Services) -> None:
    client = services.client(KEY)
    call = get(client)
    services.refuse(EXCHANGE, Reason.API_KEY_INVALID)
    with pytest.raises(TandemError) as raised:
        result_of(call)
    assert raised.value.reason == ErrorReason.ERROR_REASON_API_KEY_INVALID
    assert raised.value.code is grpc.StatusCode.UNAUTHENTICATED
    call = get(client)
    services.answer(EXCHANGE, issued("first"))
    assert token_of(services, call) == token("first")


def test_a_refusal_is_raised_when_the_token_is_over(services: Services) -> None:
    client = client_with(services, "first")
    services.clock.sleep_for(LIFE_SECONDS)
    call = get(client)
    services.refuse(EXCHANGE, Reason.API_KEY_INVALID)
    with pytest.raises(TandemError, match="API_KEY_INVALID"):
        result_of(call)


def test_an_exchange_is_repeated_within_the_time_of_the_call(services: Services) -> None:
    client = services.client(KEY)
    call = in_thread(lambda: client.tasks.GetTask(GetTaskRequest(), timeout=30.0))
    assert services.fail(EXCHANGE, grpc.StatusCode.UNAVAILABLE, takes=10.0).timeout == 30.0
    exchanged = services.answer(EXCHANGE, issued("first"), takes=10.0)
    assert exchanged.timeout == pytest.approx(19.8)
    assert services.answer(GET, Task()).timeout == pytest.approx(9.8)
    result_of(call)


def test_a_token_that_a_service_calls_expired_is_renewed_once(services: Services) -> None:
    client = client_with(services, "first")
    call = get(client)
    assert bearer(services.refuse(GET, Reason.TOKEN_EXPIRED)) == token("first")
    services.answer(EXCHANGE, issued("second"))
    assert token_of(services, call) == token("second")
    call = get(client)
    services.refuse(GET, Reason.TOKEN_EXPIRED)
    services.answer(EXCHANGE, issued("third"))
    assert bearer(services.refuse(GET, Reason.TOKEN_EXPIRED)) == token("third")
    with pytest.raises(TandemError, match="TOKEN_EXPIRED"):
        result_of(call)
    assert services.sleeps == []


def test_calls_whose_token_expired_renew_it_together(services: Services) -> None:
    client = client_with(services, "first")
    calls = [get(client) for _ in range(8)]
    refused = [services.take(GET) for _ in calls]
    for sent in refused:
        sent.refuse(Reason.TOKEN_EXPIRED)
    services.answer(EXCHANGE, issued("second"))
    assert tokens_of(services, calls) == {token("second")}


def test_a_renewal_that_is_refused_says_so_instead_of_expired(services: Services) -> None:
    client = client_with(services, "first")
    call = get(client)
    services.refuse(GET, Reason.TOKEN_EXPIRED)
    services.refuse(EXCHANGE, Reason.API_KEY_INVALID)
    with pytest.raises(TandemError, match="API_KEY_INVALID"):
        result_of(call)


def test_a_function_is_asked_again_when_its_token_expired(services: Services) -> None:
    given = iter(["first", "second", "third"])
    client = services.client(Token(lambda: next(given)))
    call = get(client)
    services.refuse(GET, Reason.TOKEN_EXPIRED)
    assert token_of(services, call) == "second"
    assert token_of_a_call(services, client) == "third"


@pytest.mark.parametrize("source", ["mine", lambda: "mine"], ids=["text", "function"])
def test_a_token_that_stays_the_same_is_not_sent_again(services: Services, source: Any) -> None:
    call = get(services.client(Token(source)))
    services.refuse(GET, Reason.TOKEN_EXPIRED)
    with pytest.raises(TandemError, match="TOKEN_EXPIRED"):
        result_of(call)


def test_the_client_for_threads_takes_no_asynchronous_function(services: Services) -> None:
    async def source() -> str:
        await asyncio.sleep(0)
        return "mine"

    call = get(services.client(Token(source)))
    with pytest.raises(RuntimeError, match="asynchronous client"):
        result_of(call)


@pytest.mark.parametrize("credentials", [KEY, Token("tdm_key_secret")])
def test_no_secret_is_printed(credentials: Any) -> None:
    assert "secret" not in f"{credentials} {credentials!r} {[credentials]}"


def get(client: Tandem) -> "Future[Task]":
    return in_thread(lambda: client.tasks.GetTask(GetTaskRequest()))


def token_of(services: Services, call: "Future[Task]") -> str | None:
    """Answer a call, and say which token it carried."""
    sent = services.answer(GET, Task())
    result_of(call)
    return bearer(sent)


def tokens_of(services: Services, calls: "list[Future[Task]]") -> set[str | None]:
    """Answer calls that may come in any order, and say which tokens they carried."""
    tokens = {bearer(services.answer(GET, Task())) for _ in calls}
    for call in calls:
        result_of(call)
    return tokens


def bearer(sent: Call) -> str | None:
    value = sent.metadata.get("authorization")
    return value.removeprefix("Bearer ") if value else None


def token_of_a_call(services: Services, client: Tandem) -> str | None:
    return token_of(services, get(client))


def client_with(services: Services, name: str) -> Tandem:
    """A client that has exchanged its key for a token."""
    client = services.client(KEY)
    call = get(client)
    services.answer(EXCHANGE, issued(name))
    token_of(services, call)
    return client


def token(name: str, **claims: str) -> str:
    said = {"sub": name, "iat": 1_000_000, "exp": 1_000_000 + LIFE_SECONDS, **claims}
    return jwt.encode(said, "a secret of the tests, long enough for HS256", algorithm="HS256")


def issued(name: str, **claims: str) -> ExchangeApiKeyResponse:
    return ExchangeApiKeyResponse(access_token=token(name, **claims))
