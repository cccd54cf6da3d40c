"""`tandem up`, as a user sees it: it starts, it survives, it stops."""

import json
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from cli.health import serves
from local.embedded_postgres.processes import ends_within, processes_in
from shared.host.embedded_postgres import running_url
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


def wait_until_served(surroundings: Surroundings) -> None:
    for address in (surroundings.agent_address, surroundings.task_address):
        while not serves(address):
            time.sleep(0.05)
