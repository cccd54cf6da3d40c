"""Lists from the first row to the last, however many pages they are."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Generic, TypeAlias, TypeVar, overload

from google.protobuf.message import Message

from tandem.agent.v1 import agent_service_pb2 as agents
from tandem.agent.v1 import auth_service_pb2 as auth
from tandem.agent.v1 import member_service_pb2 as members
from tandem.agent.v1 import project_service_pb2 as projects
from tandem.agent.v1 import room_service_pb2 as rooms
from tandem.agent.v1 import user_service_pb2 as users
from tandem.event.v1 import event_service_pb2 as events
from tandem.task.v1 import task_service_pb2 as tasks

Item = TypeVar("Item")
Request = TypeVar("Request", bound=Message)
Page = TypeVar("Page", bound=Message)
Method: TypeAlias = Callable[[Request], Awaitable[Page] | Page]

MAXIMUM_PAGE_SIZE = 1000


class Pages(Generic[Item]):
    """The rows of a list: `async for task in tandem.pages(tandem.tasks.ListTasks, request)`.

    With the client of `tandem_client.sync`, `for` instead of `async for`. Pages are fetched when
    they are needed, with `request.page_size` rows (0: as many as the service likes), beginning at
    `request.page_token`, those of events after `request.after_sequence`. `limit` is how many rows
    there are at most. Each loop begins anew, and the request stays as it is.

    A page that cannot be fetched raises TandemError out of the loop.
    """

    @overload
    def __init__(
        self: "Pages[agents.Agent]",
        method: Method[agents.ListAgentsRequest, agents.ListAgentsResponse],
        request: agents.ListAgentsRequest,
        limit: int | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "Pages[projects.Project]",
        method: Method[projects.ListProjectsRequest, projects.ListProjectsResponse],
        request: projects.ListProjectsRequest,
        limit: int | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "Pages[auth.User]",
        method: Method[users.ListUsersRequest, users.ListUsersResponse],
        request: users.ListUsersRequest,
        limit: int | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "Pages[members.Member]",
        method: Method[members.ListMembersRequest, members.ListMembersResponse],
        request: members.ListMembersRequest,
        limit: int | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "Pages[tasks.Attempt]",
        method: Method[tasks.ListAttemptsRequest, tasks.ListAttemptsResponse],
        request: tasks.ListAttemptsRequest,
        limit: int | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "Pages[rooms.Room]",
        method: Method[rooms.ListRoomsRequest, rooms.ListRoomsResponse],
        request: rooms.ListRoomsRequest,
        limit: int | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "Pages[rooms.Participant]",
        method: Method[rooms.ListParticipantsRequest, rooms.ListParticipantsResponse],
        request: rooms.ListParticipantsRequest,
        limit: int | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "Pages[auth.ApiKey]",
        method: Method[auth.ListApiKeysRequest, auth.ListApiKeysResponse],
        request: auth.ListApiKeysRequest,
        limit: int | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "Pages[tasks.Task]",
        method: Method[tasks.ListTasksRequest, tasks.ListTasksResponse],
        request: tasks.ListTasksRequest,
        limit: int | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "Pages[events.Event]",
        method: Method[events.ListEventsRequest, events.ListEventsResponse],
        request: events.ListEventsRequest,
        limit: int | None = None,
    ) -> None: ...
    def __init__(self, method: Any, request: Any, limit: int | None = None) -> None:
        self._method = method
        self._request = request
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[Item]:
        cursor = _Cursor(self._request, self._limit)
        while not cursor.done:
            for item in cursor.take(await self._method(cursor.request)):
                yield item

    def __iter__(self) -> Iterator[Item]:
        cursor = _Cursor(self._request, self._limit)
        while not cursor.done:
            yield from cursor.take(self._method(cursor.request))


class _Cursor:
    """How far a loop is: what to ask for next, and whether to."""

    def __init__(self, request: Any, limit: int | None) -> None:
        self.request = type(request)()
        self.request.CopyFrom(request)
        if limit:
            size = request.page_size or MAXIMUM_PAGE_SIZE
            self.request.page_size = min(size, limit)
        self.done = limit == 0
        self._left = limit

    def take(self, page: Any) -> list[Any]:
        """The rows of the page that answers `request`, which then asks for the page after it."""
        (name,) = (field.name for field in page.DESCRIPTOR.fields if field.is_repeated)
        items = list(getattr(page, name))[: self._left]
        if self._left is not None:
            self._left -= len(items)
        self.done = not self._follow(page) or self._left == 0
        return items

    def _follow(self, page: Any) -> bool:
        """Ask for the next page. Returns whether there is one."""
        if isinstance(page, events.ListEventsResponse):
            self.request.after_sequence, self.request.log_id = page.through_sequence, page.log_id
            return page.through_sequence < page.last_sequence
        self.request.page_token = page.next_page_token
        return bool(page.next_page_token)
