"""What is sent again, when, and until when: over grpcio-testing's channel and clock."""

from typing import Any
from uuid import UUID

import grpc
import pytest

from shared.errors import Reason
from tandem.task.v1.task_service_pb2 import CreateTaskRequest, GetTaskRequest, Task
from tandem_client import TandemError
from tests.client.fake import TIMEOUT_SECONDS, Services, in_thread, result_of

GET, CREATE = "TaskService.GetTask", "TaskService.CreateTask"
TASK = Task(id="a task")
GIVEN_ID = "0195f9f7-5d2b-7cc4-8d5c-7d5b8a3f6a10"


@pytest.mark.parametrize(
    ("reason", "details"),
    [
        (Reason.DATABASE_UNAVAILABLE, {}),
        (Reason.DATABASE_UNAVAILABLE, {"retry_after": 3.0}),
        (Reason.AGENT_SERVICE_UNAVAILABLE, {}),
        (Reason.CONFLICT, {}),
        (Reason.LIMIT_EXCEEDED, {"retry_after": 2.0}),
        (Reason.DEADLINE_TOO_SHORT, {}),
    ],
)
def test_what_may_pass_is_sent_again(
    services: Services, reason: Reason, details: dict[str, Any]
) -> None:
    call = in_thread(lambda: services.client().tasks.GetTask(GetTaskRequest(task_id="a task")))
    services.refuse(GET, reason, **details)
    assert services.answer(GET, TASK).request.task_id == "a task"
    assert result_of(call) == TASK
    assert services.sleeps == [0.2 + details.get("retry_after", 0.0)]


@pytest.mark.parametrize(
    "reason",
    [
        Reason.INVALID_FIELD,
        Reason.TOKEN_INVALID,
        Reason.TOKEN_EXPIRED,
        Reason.NOT_PROJECT_OWNER,
        Reason.TASK_NOT_FOUND,
        Reason.REQUEST_ID_REUSED,
        Reason.PROJECT_NOT_ACTIVE,
        Reason.REVISION_MISMATCH,
        Reason.LIMIT_EXCEEDED,
        Reason.INTERNAL,
    ],
)
def test_what_will_not_pass_is_raised_at_once(services: Services, reason: Reason) -> None:
    call = in_thread(lambda: services.client().tasks.GetTask(GetTaskRequest()))
    services.refuse(GET, reason)
    with pytest.raises(TandemError) as raised:
        result_of(call)
    assert raised.value.reason_name == reason.name
    assert services.sleeps == []


def test_a_service_that_cannot_be_reached_is_called_again(services: Services) -> None:
    call = in_thread(lambda: services.client().tasks.GetTask(GetTaskRequest()))
    services.fail(GET, grpc.StatusCode.UNAVAILABLE)
    services.answer(GET, TASK)
    assert result_of(call) == TASK


def test_a_change_carries_one_request_id_in_every_attempt(services: Services) -> None:
    request = CreateTaskRequest(task=TASK)
    call = in_thread(lambda: services.client().tasks.CreateTask(request))
    first = services.fail(CREATE, grpc.StatusCode.UNAVAILABLE)
    second = services.refuse(CREATE, Reason.CONFLICT)
    third = services.answer(CREATE, TASK)
    result_of(call)
    assert UUID(first.request.request_id).version == 4
    assert first.request == second.request == third.request
    assert first.request.task == TASK
    assert request.request_id == ""


def test_two_calls_with_one_request_have_two_request_ids(services: Services) -> None:
    client, request = services.client(), CreateTaskRequest(task=TASK)
    sent = []
    for _ in range(2):
        call = in_thread(lambda: client.tasks.CreateTask(request))
        sent.append(services.answer(CREATE, TASK).request.request_id)
        result_of(call)
    assert sent[0] != sent[1]


def test_a_request_id_of_the_caller_is_kept(services: Services) -> None:
    request = CreateTaskRequest(task=TASK, request_id=GIVEN_ID)
    call = in_thread(lambda: services.client().tasks.CreateTask(request))
    services.fail(CREATE, grpc.StatusCode.UNAVAILABLE)
    assert services.answer(CREATE, TASK).request.request_id == GIVEN_ID
    result_of(call)


def test_the_backoff_doubles_up_to_its_limit(services: Services) -> None:
    client = services.client(attempts=6, first_backoff=1.0, longest_backoff=5.0)
    call = in_thread(lambda: client.tasks.GetTask(GetTaskRequest()))
    for _ in range(5):
        services.fail(GET, grpc.StatusCode.UNAVAILABLE)
    services.answer(GET, TASK)
    result_of(call)
    assert services.sleeps == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_the_backoff_is_jittered_and_what_the_service_asks_for_is_not(services: Services) -> None:
    client = services.client(jitter=lambda: 0.25)
    call = in_thread(lambda: client.tasks.GetTask(GetTaskRequest()))
    services.fail(GET, grpc.StatusCode.UNAVAILABLE)
    services.refuse(GET, Reason.LIMIT_EXCEEDED, retry_after=7.0)
    services.answer(GET, TASK)
    result_of(call)
    assert services.sleeps == [0.05, 7.1]


@pytest.mark.parametrize("attempts", [1, 3])
def test_attempts_have_an_end(services: Services, attempts: int) -> None:
    client = services.client(attempts=attempts)
    call = in_thread(lambda: client.tasks.GetTask(GetTaskRequest()))
    for _ in range(attempts):
        services.refuse(GET, Reason.DATABASE_UNAVAILABLE)
    with pytest.raises(TandemError, match="DATABASE_UNAVAILABLE"):
        result_of(call)
    assert len(services.sleeps) == attempts - 1


def test_attempts_share_the_time_of_the_call(services: Services) -> None:
    client = services.client(first_backoff=10.0, longest_backoff=10.0)
    call = in_thread(lambda: client.tasks.GetTask(GetTaskRequest(), timeout=60.0))
    assert services.fail(GET, grpc.StatusCode.UNAVAILABLE, takes=5.0).timeout == 60.0
    assert services.fail(GET, grpc.StatusCode.UNAVAILABLE, takes=15.0).timeout == 45.0
    assert services.answer(GET, TASK).timeout == 20.0
    result_of(call)


def test_a_call_without_a_timeout_has_that_of_the_client(services: Services) -> None:
    call = in_thread(lambda: services.client().tasks.GetTask(GetTaskRequest()))
    assert services.answer(GET, TASK).timeout == TIMEOUT_SECONDS
    result_of(call)


def test_nothing_is_awaited_for_which_no_time_is_left(services: Services) -> None:
    call = in_thread(lambda: services.client().tasks.GetTask(GetTaskRequest(), timeout=10.0))
    services.refuse(GET, Reason.LIMIT_EXCEEDED, retry_after=9.8)
    with pytest.raises(TandemError, match="LIMIT_EXCEEDED"):
        result_of(call)
    assert services.sleeps == []


def test_a_deadline_that_is_over_is_raised(services: Services) -> None:
    call = in_thread(lambda: services.client().tasks.GetTask(GetTaskRequest(), timeout=10.0))
    services.fail(GET, grpc.StatusCode.DEADLINE_EXCEEDED, takes=10.0)
    with pytest.raises(TandemError) as raised:
        result_of(call)
    assert raised.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert services.sleeps == []


def test_an_attempt_that_takes_too_long_leaves_time_for_another(services: Services) -> None:
    client = services.client(attempt_timeout=4.0)
    call = in_thread(lambda: client.tasks.GetTask(GetTaskRequest(), timeout=6.0))
    first = services.fail(GET, grpc.StatusCode.DEADLINE_EXCEEDED, takes=4.0)
    second = services.answer(GET, TASK)
    result_of(call)
    assert first.timeout == 4.0
    assert second.timeout == pytest.approx(1.8)


def test_metadata_goes_along_in_every_attempt(services: Services) -> None:
    trace = (("x-request-id", "mine"), ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-1-01"))
    call = in_thread(lambda: services.client().tasks.GetTask(GetTaskRequest(), metadata=trace))
    first = services.fail(GET, grpc.StatusCode.UNAVAILABLE)
    second = services.answer(GET, TASK)
    result_of(call)
    assert dict(trace).items() <= first.metadata.items()
    assert first.metadata == second.metadata
