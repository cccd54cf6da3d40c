"""`tandem up`: everything at once, in the foreground."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import timedelta

from cli import banner
from cli.accounts import find_or_create_user
from cli.console import CommandError, say, show
from cli.health import serves
from cli.schema import upgrade
from cli.secret import development_secret
from cli.tandem_calls import tls_of_client
from local.addresses import reachable, require_free
from local.embedded_postgres.command import COMMAND
from local.processes import ManagedProcess, Postgres, Service
from local.signals import Signals
from local.supervisor import keep_running
from shared.auth.signing import sign_user_token
from shared.grpc_server.tls import agent_port, agent_service, require_encryption, task_port
from shared.host import data_lock
from shared.host.private_files import located
from shared.settings import Settings, load_settings
from shared.settings.variables import IN_FILE
from tandem_client import Tls

DEVELOPER = "developer"
TOKEN_HOURS = 12
COMMAND_SECONDS = 10.0
POLL_SECONDS = 0.05
SAY_EVERY_SECONDS = 5.0
NOT_FOR_SERVICES = {"TANDEM_DATABASE_OWNER_URL", "TANDEM_DATABASE_ADMIN_URL"}
WITHOUT_CA = (
    "A service has a certificate: set TANDEM_CLIENT_TLS_CA too, by which `tandem up` knows it."
)


class StoppedError(Exception):
    """A signal asked to stop before everything was ready."""


def up() -> None:
    """Start PostgreSQL and both services, keep them running, and stop them at a signal."""
    settings = load_settings()
    with (
        Signals() as signals,
        data_lock.lock(settings.data_dir, "tandem up", wait_for=COMMAND, timeout=COMMAND_SECONDS),
    ):
        require_free(settings)
        ports = agent_port(settings), task_port(settings)
        for port in ports:
            require_encryption(settings, port)
        agent_service(settings)  # raises the same as the task service would
        if any(port.files for port in ports) and not settings.client_tls_ca:
            raise CommandError(WITHOUT_CA)
        Up(settings, signals).run()


class Up:
    """One run of `tandem up`."""

    def __init__(self, settings: Settings, signals: Signals) -> None:
        self._settings = settings
        self._signals = signals
        self._processes: list[ManagedProcess] = []

    def run(self) -> None:
        """Run until a signal asks to stop; return when everything has ended."""
        try:
            self._start()
            keep_running(self._processes, self._signals)
        except StoppedError:
            pass
        finally:
            self._stop()

    def _start(self) -> None:
        url, data = self._start_database()
        self._go_on("Migrating the database")
        upgrade(url())
        services = self._start_services()
        self._wait_until_ready(services)
        show(banner.ready(self._settings, data))
        show(self._calls(url()))

    def _start_database(self) -> tuple[Callable[[], str], str]:
        """The URL of the database's owner, which a restart may change; the place of its data."""
        if configured := self._settings.database_url:
            owner = self._settings.database_owner_url or configured
            return owner.get_secret_value, "in the database of TANDEM_DATABASE_URL"
        self._go_on("Starting PostgreSQL")
        postgres = Postgres(self._settings.data_dir)
        self._processes.append(postgres)
        postgres.start()
        return lambda: postgres.url, str(postgres.folder)

    def _start_services(self) -> dict[str, Service]:
        """Both services, by address."""
        self._go_on("Starting the services")
        lifeline_fd, _open_until_we_end = os.pipe()

        def service(name: str, module: str) -> Service:
            started = Service(name, module, lambda: _environment(self._settings), lifeline_fd)
            self._processes.append(started)
            started.start()
            return started

        return {
            self._settings.agent_address: service("The agent service", "agent_service"),
            self._settings.task_address: service("The task service", "task_service"),
        }

    def _wait_until_ready(self, services: Mapping[str, Service]) -> None:
        """Wait as long as the services live: how long a start takes depends on the machine."""
        for address, service in services.items():
            say_at = time.monotonic() + SAY_EVERY_SECONDS
            while not serves(reachable(address), self._tls(address)):
                self._go_on()
                if not service.alive():
                    raise CommandError(f"{service.name} did not start ({service.exit_reason()}).")
                if time.monotonic() > say_at:
                    say(f"Waiting for {service.name.lower()} to serve at {address}")
                    say_at += SAY_EVERY_SECONDS
                self._signals.wait(POLL_SECONDS)

    def _tls(self, address: str) -> Tls | None:
        """What its own calls of a service need."""
        ports = agent_port(self._settings), task_port(self._settings)
        encrypted = [port.address for port in ports if port.files]
        return tls_of_client(self._settings) if address in encrypted else None

    def _calls(self, url: str) -> str:
        settings = self._settings
        if settings.database_url or settings.users_come_from_elsewhere:
            return banner.HOW_TO_CALL
        user_id = find_or_create_user(url, DEVELOPER)
        lifetime = timedelta(hours=TOKEN_HOURS)
        token = sign_user_token(settings, development_secret(settings), user_id, lifetime)
        return banner.calls(settings, DEVELOPER, token, TOKEN_HOURS)

    def _go_on(self, step: str = "") -> None:
        if self._signals.stops:
            raise StoppedError
        if step:
            say(step)

    def _stop(self) -> None:
        """Stop the processes in reverse order, so that none loses what it still needs."""
        if self._processes:
            say("Stopping")
        with ExitStack() as stack:  # it stops every one, even if another cannot be stopped
            for process in self._processes:
                stack.callback(process.stop, self._signals)


def _environment(settings: Settings) -> Mapping[str, str]:
    """A service's environment: the caller's, and what this run has determined.

    A service finds the embedded PostgreSQL in the data folder, even after that got another port. It
    does not get the URLs of those who may change the schema.
    """
    chosen = {"TANDEM_DATA_DIR": str(located(settings.data_dir))}
    if not settings.users_come_from_elsewhere:
        chosen["TANDEM_JWT_SECRET"] = development_secret(settings)
    replaced = {name + end for name in (*NOT_FOR_SERVICES, *chosen) for end in ("", IN_FILE)}
    inherited = {name: v for name, v in os.environ.items() if name.upper() not in replaced}
    return {**inherited, **chosen}
