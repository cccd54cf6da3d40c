"""Waiting for a task for longer than one call can, by a fake channel and clock."""

import pytest

from shared.errors import Reason
from tandem.task.v1.task_service_pb2 import (
    TASK_STATUS_CANCELLED,
    TASK_STATUS_COMPLETED,
    TASK_STATUS_FAILED,
    TASK_STATUS_PENDING,
    Task,
    TaskStatus,
)
from tandem_client import TandemError
from tests.client.fake import TIMEOUT_SECONDS, Services, in_thread, result_of

WAIT = "TaskService.WaitTask"


@pytest.mark.parametrize(
    "status", [TASK_STATUS_COMPLETED, TASK_STATUS_FAILED, TASK_STATUS_CANCELLED]
)
def test_it_waits_until_the_task_has_ended(
    services: Services, status: "TaskStatus.ValueType"
) -> None:
    client = services.client()
    waited = in_thread(lambda: client.wait_task("a task"))
    for _ in range(3):
        call = services.answer(WAIT, task(), takes=60.0)
        assert (call.request.task_id, call.request.timeout.seconds) == ("a task", 60)
        assert not call.request.HasField("revision")
        assert call.timeout == 60.0 + TIMEOUT_SECONDS
    services.answer(WAIT, task(status))
    assert result_of(waited) == task(status)


def test_it_returns_the_task_as_it_is_when_the_time_is_over(services: Services) -> None:
    client = services.client()
    waited = in_thread(lambda: client.wait_task("a task", seconds=150.25))
    asked = [services.answer(WAIT, task(), takes=60.0).request.timeout for _ in range(3)]
    assert [part.ToNanoseconds() / 1e9 for part in asked] == [60.0, 60.0, 30.25]
    assert result_of(waited) == task()


def test_it_asks_once_if_there_is_no_time(services: Services) -> None:
    client = services.client()
    waited = in_thread(lambda: client.wait_task("a task", seconds=0.0))
    assert services.answer(WAIT, task()).request.timeout.ToNanoseconds() == 0
    assert result_of(waited) == task()


def test_it_returns_a_task_that_is_above_the_revision(services: Services) -> None:
    client = services.client()
    waited = in_thread(lambda: client.wait_task("a task", revision=4))
    assert services.answer(WAIT, task(revision=4)).request.revision == 4
    services.answer(WAIT, task(revision=5))
    assert result_of(waited) == task(revision=5)


def test_a_wait_that_is_refused_for_now_goes_on(services: Services) -> None:
    client = services.client()
    waited = in_thread(lambda: client.wait_task("a task"))
    services.refuse(WAIT, Reason.LIMIT_EXCEEDED, retry_after=1.0)
    services.answer(WAIT, task(TASK_STATUS_FAILED))
    assert result_of(waited).status == TASK_STATUS_FAILED
    waited = in_thread(lambda: client.wait_task("a task"))
    services.refuse(WAIT, Reason.TASK_NOT_FOUND)
    with pytest.raises(TandemError, match="TASK_NOT_FOUND"):
        result_of(waited)


def task(status: "TaskStatus.ValueType" = TASK_STATUS_PENDING, revision: int = 1) -> Task:
    return Task(id="a task", status=status, revision=revision)
