"""Lists as iterators, over grpcio-testing's channel; test_services.py has the real ones."""

import pytest

from shared.errors import Reason
from tandem.event.v1.event_service_pb2 import Event, ListEventsRequest, ListEventsResponse
from tandem.task.v1.task_service_pb2 import ListTasksRequest, ListTasksResponse, Task
from tandem_client import TandemError
from tandem_client.sync import Tandem
from tests.client.fake import Services, in_thread, result_of

LIST, EVENTS = "TaskService.ListTasks", "EventService.ListEvents"


def test_pages_are_followed_to_the_end(services: Services) -> None:
    request = ListTasksRequest(project_id="a project", page_size=2)
    rows = in_thread(lambda: ids(services.client(), request))
    sent = [
        services.answer(LIST, answer).request
        for answer in (page("a", "b", then="1"), page(then="2"), page("c"))
    ]
    assert result_of(rows) == ["a", "b", "c"]
    assert [asked.page_token for asked in sent] == ["", "1", "2"]
    assert {(asked.project_id, asked.page_size) for asked in sent} == {("a project", 2)}
    assert request == ListTasksRequest(project_id="a project", page_size=2)


@pytest.mark.parametrize(
    ("limit", "page_size", "asked", "pages", "tokens"),
    [
        (3, 2, 2, ["ab", "cd"], ["1", "2"]),
        (2, 2, 2, ["ab"], ["1"]),
        (2, 50, 2, ["ab"], ["1"]),
        (2, 0, 2, ["ab"], ["1"]),
        (5000, 0, 1000, ["ab", "c"], ["1", ""]),
    ],
)
def test_a_limit_ends_the_list(
    services: Services,
    limit: int,
    page_size: int,
    asked: int,
    pages: list[str],
    tokens: list[str],
) -> None:
    request = ListTasksRequest(page_size=page_size)
    rows = in_thread(lambda: ids(services.client(), request, limit))
    for names, token in zip(pages, tokens, strict=True):
        assert services.answer(LIST, page(*names, then=token)).request.page_size == asked
    assert result_of(rows) == [name for names in pages for name in names][:limit]
    assert request == ListTasksRequest(page_size=page_size)


def test_a_limit_of_nothing_asks_for_nothing(services: Services) -> None:
    assert ids(services.client(), ListTasksRequest(), 0) == []


def test_each_loop_begins_anew(services: Services) -> None:
    client = services.client()
    pages = client.pages(client.tasks.ListTasks, ListTasksRequest())
    for _ in range(2):
        rows = in_thread(lambda: [task.id for task in pages])
        services.answer(LIST, page("a", then="1"))
        services.answer(LIST, page("b"))
        assert result_of(rows) == ["a", "b"]


def test_a_page_that_is_refused_ends_the_loop(services: Services) -> None:
    rows = in_thread(lambda: ids(services.client(), ListTasksRequest()))
    services.answer(LIST, page("a", then="1"))
    services.refuse(LIST, Reason.INVALID_PAGE_TOKEN)
    with pytest.raises(TandemError, match="INVALID_PAGE_TOKEN"):
        result_of(rows)


def test_a_page_that_is_lost_is_fetched_again(services: Services) -> None:
    rows = in_thread(lambda: ids(services.client(), ListTasksRequest()))
    services.answer(LIST, page("a", then="1"))
    services.refuse(LIST, Reason.DATABASE_UNAVAILABLE)
    assert services.answer(LIST, page("b")).request.page_token == "1"
    assert result_of(rows) == ["a", "b"]


def ids(client: Tandem, request: ListTasksRequest, limit: int | None = None) -> list[str]:
    return [task.id for task in client.pages(client.tasks.ListTasks, request, limit)]


def page(*names: str, then: str = "") -> ListTasksResponse:
    return ListTasksResponse(tasks=[Task(id=name) for name in names], next_page_token=then)


def test_pages_of_events_are_followed_by_their_numbers(services: Services) -> None:
    client = services.client()
    request = ListEventsRequest(project_id="a project", after_sequence=3, page_size=2)
    rows = in_thread(lambda: [e.sequence for e in client.pages(client.events.ListEvents, request)])
    answers = (events(4, 5, through=5), events(through=9), events(12, through=13, last=13))
    sent = [services.answer(EVENTS, answer).request for answer in answers]
    assert result_of(rows) == [4, 5, 12]
    assert [(asked.after_sequence, asked.log_id) for asked in sent] == [
        (3, ""),
        (5, "a log"),
        (9, "a log"),
    ]
    assert {(asked.project_id, asked.page_size) for asked in sent} == {("a project", 2)}


def events(*sequences: int, through: int, last: int = 13) -> ListEventsResponse:
    return ListEventsResponse(
        events=[Event(sequence=sequence) for sequence in sequences],
        through_sequence=through,
        last_sequence=last,
        log_id="a log",
    )
