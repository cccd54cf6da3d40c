"""`tandem up`, as a user sees it: it starts, it survives, it stops."""

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from cli.console import CommandError
from cli.health import require_serving, serves
from local.embedded_postgres.processes import ends_within, processes_in
from shared.grpc_server.health import LIVENESS
from shared.host.embedded_postgres import OWNER, running_url
from tests.e2e.supervised import SECONDS, TANDEM, Run, Surroundings
from tests.local.embedded_postgres.folders import ask

COUNT = "SELECT count(*) FROM projects"


def test_the_first_start_ends_with_calls_that_work_when_pasted(empty: Surroundings) -> None:
    with empty.up() as run:
        run.ready()
        for shown in (empty.agent_address, empty.task_address, str(empty.data_dir)):
            assert shown in run.banner
        project = json.loads(run.paste())
        run.stop()
    with empty.up() as run:
        run.ready()
        assert json.loads(run.paste())["ownerId"] == project["ownerId"]
        assert ask(url(empty), COUNT) == 2
        run.stop(signal.SIGTERM)


@pytest.mark.parametrize("name", ["postgres", "agent_service", "task_service"])
def test_whoever_is_killed_is_back_with_every_row(tandem: Surroundings, name: str) -> None:
    with tandem.up() as run:
        run.ready()
        run.paste()
        victim = run.postmaster() if name == "postgres" else run.service(name)
        victim.kill()
        assert ends_within(victim, SECONDS)
        wait_until_served(tandem)
        assert ask(url(tandem), COUNT) == 1
        assert run.said().count("is restarted") == 1
        run.stop()


def test_the_services_follow_postgresql_to_another_port(tandem: Surroundings) -> None:
    with tandem.up() as run:
        run.ready()
        postmaster, agents = run.postmaster(), run.service("agent_service")
        port = int((tandem.data_dir / "postgres.port").read_text())
        run.process.send_signal(signal.SIGSTOP)  # so that it notices when the port is taken
        postmaster.kill()
        assert ends_within(postmaster, 10)
        with taken(port):
            wait_until(tandem, "NOT_SERVING")
            run.process.send_signal(signal.SIGCONT)
            wait_until_served(tandem)
            run.paste()
        assert int((tandem.data_dir / "postgres.port").read_text()) != port
        assert ask(url(tandem), COUNT) == 1
        assert run.service("agent_service").pid == agents.pid
        run.stop()


def test_after_a_kill_of_tandem_up_the_next_one_takes_over(tandem: Surroundings) -> None:
    with tandem.up() as run:
        run.ready()
        run.paste()
        postmaster, agents = run.postmaster(), run.service("agent_service")
        run.process.kill()
        run.process.wait()
        with tandem.up() as successor:
            successor.ready()
            assert ends_within(agents, SECONDS)
            assert successor.postmaster().pid == postmaster.pid
            assert ask(url(tandem), COUNT) == 1
            successor.stop()


def test_the_same_data_is_not_shared(running: Run, tmp_path: Path) -> None:
    data_dir = running.surroundings.data_dir
    assert Surroundings(data_dir, tmp_path).refused() == (
        f"The data in {data_dir} is in use by process {running.process.pid} (tandem up)."
    )


def test_an_occupied_port_is_refused_by_the_name_of_its_variable(tandem: Surroundings) -> None:
    port = int(tandem.task_address.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        sentence = tandem.refused()
    assert sentence == (
        f"Cannot listen on {tandem.task_address}: address already in use. "
        "Set TANDEM_TASK_ADDRESS to another host:port."
    )


def test_one_address_for_both_services_is_refused(tandem: Surroundings) -> None:
    assert tandem.refused(TANDEM_TASK_ADDRESS=tandem.agent_address) == (
        f"TANDEM_AGENT_ADDRESS and TANDEM_TASK_ADDRESS are the same address "
        f"({tandem.agent_address}): set one of them to another host:port."
    )


def test_it_says_what_it_waits_for_as_long_as_that_lives(tandem: Surroundings) -> None:
    """However slow the machine: a service that is stopped for a while still counts as starting."""
    with tandem.up() as run:
        while not (services := children(run)):
            time.sleep(0.01)
        for service in services:
            service.suspend()
        while run.said().count("Waiting for the agent service to serve at") < 2:
            time.sleep(0.05)
        for service in children(run):
            service.resume()
        run.ready()
        run.stop()


def test_a_service_that_cannot_start_ends_the_whole(tandem: Surroundings) -> None:
    assert tandem.refused(TANDEM_JWT_PUBLIC_KEY="no key") == (
        "The agent service did not start (exit code 1)."
    )
    assert list(processes_in(tandem.data_dir / "postgres")) == []


def test_a_stop_while_it_starts_leaves_nothing(empty: Surroundings) -> None:
    with empty.up() as run:
        while "Starting PostgreSQL" not in run.said():
            time.sleep(0.01)
        run.stop()
        assert run.banner == ""


def test_the_services_are_connected_as_a_role_with_rows_only(running: Run) -> None:
    owner = running_url(running.surroundings.data_dir, OWNER)
    assert owner
    connected = """
        SELECT string_agg(DISTINCT usename || ' ' || application_name, ', ')
        FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
    """
    assert ask(owner, connected) == "tandem_service agents, tandem_service tasks"


def test_a_command_uses_the_database_that_runs(running: Run) -> None:
    command = ("users", "create", "ann", "--email", "ann@example.org")
    subprocess.run([TANDEM, *command], env=running.surroundings.environment, check=True)
    created = "SELECT count(*) FROM users WHERE username = 'ann'"
    assert ask(url(running.surroundings), created) == 1


def url(surroundings: Surroundings) -> str:
    """The database's URL, as soon as it runs."""
    while not (found := running_url(surroundings.data_dir)):
        time.sleep(0.05)
    return found


@contextmanager
def taken(port: int) -> Iterator[None]:
    """Another program listens on the port, as soon as its connections of before allow it."""
    while True:
        try:
            listener = socket.create_server(("127.0.0.1", port))
        except OSError:
            time.sleep(0.01)
        else:
            break
    with listener:
        yield


def children(run: Run) -> list[psutil.Process]:
    """The services that it has started so far."""
    return [child for child in psutil.Process(run.process.pid).children() if is_service(child)]


def is_service(process: psutil.Process) -> bool:
    try:
        return process.cmdline()[-1:] in (["agent_service"], ["task_service"])
    except psutil.Error:  # it has ended
        return False


def wait_until(surroundings: Surroundings, status: str) -> None:
    for address in (surroundings.agent_address, surroundings.task_address):
        while True:
            try:
                require_serving(address, "", SECONDS)
            except CommandError as error:
                if status in str(error):
                    break
            time.sleep(0.02)
            require_serving(address, LIVENESS, SECONDS)


def wait_until_served(surroundings: Surroundings) -> None:
    for address in (surroundings.agent_address, surroundings.task_address):
        while not serves(address):
            time.sleep(0.05)
