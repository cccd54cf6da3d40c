"""What ends is restarted, unless it never lasts."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local import supervisor
from local.errors import LocalError
from local.processes import DRAIN_SECONDS, Service
from local.signals import Signals
from local.supervisor import keep_running

LASTING = "import os; os.read(int(os.environ['TANDEM_SUPERVISOR_FD']), 1)"
WATCHING = "import shared.host.supervision as s, time; s.watch_supervisor(); time.sleep(60)"
CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
STUBBORN = f"""
import pathlib, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(__file__).with_name("deaf").touch()
{LASTING}
"""


@pytest.fixture
def signals() -> Iterator[Signals]:
    """Signals that only the test makes."""
    handlers = {number: signal.getsignal(number) for number in CAUGHT}
    with Signals() as signals:
        yield signals
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def service(tmp_path: Path) -> Iterator["ServiceMaker"]:
    maker = ServiceMaker(tmp_path)
    yield maker
    os.close(maker.read)
    os.close(maker.write)


class ServiceMaker:
    """Makes services out of programs; the end of the test, which has the pipe, ends them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.read, self.write = os.pipe()

    def __call__(self, program: str) -> Service:
        (self._folder / "program.py").write_text(program)
        environment = {**os.environ, "PYTHONPATH": str(self._folder)}
        return Service("The service", "program", lambda: environment, self.read)


def test_what_never_lasts_ends_the_whole_with_a_sentence(
    service: ServiceMaker, signals: Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_DELAY_SECONDS", 0.01)
    hopeless = service("raise SystemExit(3)")
    hopeless.start()
    with pytest.raises(LocalError, match=r"The service ended 6 times in a row \(exit code 3\)"):
        keep_running([hopeless], signals)


def test_a_killed_service_is_back_at_once(service: ServiceMaker, signals: Signals) -> None:
    lasting = service(LASTING)
    lasting.start()
    kept = supervisor.Supervised(lasting)
    (first,) = running()
    first.kill()
    first.wait(10)
    kept.check()  # notices
    kept.check()  # and starts
    (second,) = running()
    assert second.pid != first.pid
    lasting.stop(signals)
    assert not running()


def running() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if runs_program(child)]


def runs_program(child: psutil.Process) -> bool:
    try:
        return child.cmdline()[-1:] == ["program"]
    except psutil.NoSuchProcess:  # it has ended
        return False


def test_a_service_that_ignores_the_first_request_is_killed_at_the_second(
    service: ServiceMaker, signals: Signals, tmp_path: Path
) -> None:
    stubborn = service(STUBBORN)
    stubborn.start()
    while not (tmp_path / "deaf").exists():
        signals.wait(0.01)
    signals.stops = 2
    began = time.monotonic()
    stubborn.stop(signals)
    assert time.monotonic() - began < DRAIN_SECONDS / 2
    assert stubborn.exit_reason() == "killed by SIGKILL"


def test_a_service_ends_when_its_supervisor_is_gone(
    service: ServiceMaker, signals: Signals
) -> None:
    lasting = service(WATCHING)
    lasting.start()
    os.close(service.write)
    while lasting.alive():
        signals.wait(10)
    assert lasting.exit_reason() == "killed by SIGTERM"
    service.write = os.dup(service.read)


def test_a_signal_wakes_the_waiter_and_is_counted(signals: Signals) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    signals.wait(60)
    assert signals.stops == 1
    os.kill(os.getpid(), signal.SIGINT)
    signals.wait(60)
    assert signals.stops == 2
