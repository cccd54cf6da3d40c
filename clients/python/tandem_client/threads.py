"""A worker for threads: handlers run in the thread that calls it, the rest in one of its own.

Claims, heartbeats and retries are those of the asynchronous worker, on an event loop in a thread
beside. So a handler that blocks keeps no lease from being renewed, as long as other threads run.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from tandem.task.v1 import task_service_pb2 as pb
from tandem_client import work
from tandem_client.leases import Stop

if TYPE_CHECKING:
    from tandem_client.client import Tandem

T = TypeVar("T")
Handler: TypeAlias = Callable[["Work"], work.Result]


class Stopped(Exception):  # noqa: N818
    """The handler is to end, and gives its task back unless the lease is lost; see `Work.stop`."""


class Work:
    """A task, and the lease under which the worker holds it: see tandem_client.Work.

    A thread cannot be cancelled. So a handler looks whether it has to end, by `check` or `stopped`,
    before each effect, and at least as often as the lease is renewed.
    """

    def __init__(self, of: work.Work, loop: asyncio.AbstractEventLoop) -> None:
        self.task = of.task
        self.fencing_token = of.fencing_token
        self.previous: Sequence[pb.Attempt] = of.previous
        self.inputs: Sequence[pb.Input] = of.inputs
        self.stopped = threading.Event()
        # For the worker.
        self.result: Future[work.Result] = Future()
        self._of, self._loop = of, loop

    @property
    def stop(self) -> Stop | None:
        """Why the handler has to end; None if it has not."""
        return self._of.stop

    def check(self) -> None:
        """Raise Stopped if the handler has to end."""
        if self.stopped.is_set():
            raise Stopped(str(self.stop))

    def progress(self, **values: Any) -> None:
        """See tandem_client.Work."""
        self._wait_for(self._of.progress(**values))

    def split(self, *parts: pb.NewTask) -> pb.SplitTaskResponse:
        """See tandem_client.Work."""
        return self._wait_for(self._of.split(*parts))

    def request_input(self, wanted: pb.Input) -> pb.Task:
        """See tandem_client.Work."""
        return self._wait_for(self._of.request_input(wanted))

    def _wait_for(self, call: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()


class Worker:
    """Claims tasks and has them handled, once: `worker.run(handler)`. See tandem_client.sync."""

    def __init__(
        self, connect: Callable[[], "Tandem"], concurrency: int, options: Mapping[str, Any]
    ) -> None:
        """`connect` gives the client that the thread beside uses and closes."""
        self._connect = connect
        self._concurrency = concurrency
        self._options = options
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._asked = self._told = 0
        self._drain: Callable[[], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._error: BaseException | None = None

    def run(self, handler: Handler) -> None:
        """Claim tasks and have them handled, until `drain` is called, by a signal for example.

        handler: a function of a Work. It runs in this thread, and if `concurrency` is more than 1
            in others, too. What it returns and raises means what it does in the asynchronous
            client; Stopped gives the task back.

        Raises what the asynchronous worker raises. If this thread is interrupted, by Ctrl-C for
        example, the handlers are stopped without a time of grace.
        """
        beside = threading.Thread(target=self._work, name="tandem worker", daemon=True)
        with self._signals():
            beside.start()
            for _ in range(self._concurrency - 1):
                threading.Thread(target=self._serve, args=(handler,), daemon=True).start()
            try:
                self._serve(handler)
            finally:
                beside.join()
        if self._error:
            raise self._error

    def drain(self) -> None:
        """Claim nothing any more, give handlers a time of grace, then stop them, and release.

        Called again, it ends the time of grace. Any thread may call it.
        """
        self._asked += 1
        if self._loop:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._pass_on)

    def _serve(self, handler: Handler) -> None:
        """Handle what is claimed in this thread, until there is no more to come."""
        try:
            while task := self._queue.get():
                _handle(handler, task, self._hurry)
        except BaseException:
            self._hurry()
            raise

    def _hurry(self) -> None:
        self.drain()
        self.drain()

    def _work(self) -> None:
        """In the thread beside: claim, until the worker has ended."""
        try:
            asyncio.run(self._claim())
        except BaseException as error:
            self._error = error
        for _ in range(self._concurrency):
            self._queue.put(None)

    async def _claim(self) -> None:
        self._loop = asyncio.get_running_loop()
        options = {**self._options, "concurrency": self._concurrency, "signals": ()}
        async with self._connect() as tandem, tandem.worker(**options) as worker:
            self._drain = worker.drain
            self._pass_on()
            await worker.run(self._hand_over)

    def _pass_on(self) -> None:
        while self._drain and self._told < self._asked:
            self._told += 1
            self._drain()

    async def _hand_over(self, of: work.Work) -> work.Result:
        """Have a task handled by a thread, which is told if it has to end."""
        task = Work(of, asyncio.get_running_loop())
        self._queue.put(task)
        ended = asyncio.wrap_future(task.result)
        while not ended.done():
            try:
                await asyncio.wait([ended])
            except asyncio.CancelledError:
                task.stopped.set()
                task.result.cancel()  # only if no thread has begun it
        try:
            return ended.result()
        except Stopped:
            raise asyncio.CancelledError from None

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Drain at a signal, in the main thread, which alone may say so."""
        before: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in self._options["signals"]:
                before[number] = signal.signal(number, lambda *_: self.drain())
        try:
            yield
        finally:
            for number, handled in before.items():
                signal.signal(number, handled or signal.SIG_DFL)


def _handle(handler: Handler, task: Work, hurry: Callable[[], None]) -> None:
    """Give the worker what the handler returns or raises. Raises what interrupts the thread."""
    if not task.result.set_running_or_notify_cancel():
        return
    try:
        task.result.set_result(handler(task))
    except Exception as error:
        task.result.set_exception(error)
    except BaseException:
        hurry()
        task.stopped.wait()  # only what was stopped is given back
        task.result.set_exception(Stopped())
        raise
