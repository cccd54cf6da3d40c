"""The configuration of every Tandem process: environment variables with the prefix ``TANDEM_``.

To add a setting is to add a field here: the manual, `--help` and `tandem config check` follow.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from shared.settings.environment import Found, read
from shared.settings.forms import (
    ADDRESS,
    DATABASE_URL,
    DATABASE_URL_FORM,
    FOLDER,
    HS256_SECRET,
    ISSUERS,
    JWKS_URL,
    NAMES,
    PEM_FILE,
    PRIVATE_KEY,
    PUBLIC_KEY,
    TEXT,
    SecretStr,
    integer,
    one_of,
    share,
)
from shared.settings.variables import (
    AGENTS,
    PREFIX,
    SERVICES,
    TASKS,
    UP,
    Setting,
    Variable,
    variables,
)
from shared.trusted_issuers import TrustedIssuer

__all__ = [
    "AGENTS",
    "DATABASE_URL_FORM",
    "PREFIX",
    "SERVICES",
    "TASKS",
    "UP",
    "SecretStr",
    "Settings",
    "SettingsError",
    "Variable",
    "load_settings",
    "read_settings",
    "setting_variables",
]

MAXIMUM_POOL_SIZE = 100
MAXIMUM_SHUTDOWN_DELAY = 300
MAXIMUM_EVENT_RETENTION_DAYS = 3650
MAXIMUM_SLOW_MS = 600_000
# Clients of agents write a sign of life every 5 seconds at most.
AGENT_TIMEOUTS = 10, 86_400

CLI = "the other commands of `tandem`"
SIGNERS = (*SERVICES, UP, "`tandem token`")


class SettingsError(Exception):
    """A setting is wrong or missing. The message names the variable and what is allowed."""


@dataclass(frozen=True)
class Settings:
    """What the environment says. A secret is a SecretStr, so that no log or traceback prints it."""

    database_url: Annotated[
        SecretStr | None,
        Setting(
            DATABASE_URL,
            (*SERVICES, UP, CLI),
            "The database: PostgreSQL 15 or newer (the tests of both services, of the plans of "
            "lists and of migrations have passed on 15.18, 16.14, 17.10 and 18). Percent-encode "
            "special characters in the password (`#` is `%23`); `?sslmode=verify-full` and other "
            "parameters are allowed.",
            without="the embedded PostgreSQL",
        ),
    ] = None
    database_owner_url: Annotated[
        SecretStr | None,
        Setting(
            DATABASE_URL,
            ("`tandem db`", UP),
            "The same database for the role that owns the tables and migrates them "
            "([roles](operations.md#roles-of-the-database)).",
            without="`TANDEM_DATABASE_URL`",
        ),
    ] = None
    database_admin_url: Annotated[
        SecretStr | None,
        Setting(
            DATABASE_URL,
            ("`tandem db roles`",),
            "The same database for the role that makes the other two.",
            without="`TANDEM_DATABASE_OWNER_URL`",
        ),
    ] = None
    data_dir: Annotated[
        Path,
        Setting(
            FOLDER,
            (*SERVICES, UP, CLI),
            "The [folder](operations.md#the-data-folder) of the embedded PostgreSQL and of the "
            "generated development key. Services and commands look there for the database if "
            "`TANDEM_DATABASE_URL` is not set.",
        ),
    ] = Path(".data")
    agent_address: Annotated[
        str,
        Setting(
            ADDRESS,
            (*SERVICES, UP, "`tandem tasks`"),
            "Where the agent service listens, and where the task service and `tandem tasks` "
            "call it.",
        ),
    ] = "127.0.0.1:50051"
    task_address: Annotated[
        str,
        Setting(
            ADDRESS,
            (TASKS, UP, "`tandem tasks`"),
            "Where the task service listens, and where `tandem tasks` calls it.",
        ),
    ] = "127.0.0.1:50052"
    agent_metrics_address: Annotated[
        str | None,
        Setting(
            ADDRESS,
            (AGENTS,),
            "Where the agent service publishes [metrics](metrics.md). There is no token to read "
            "them with: let only the monitoring reach it.",
            without="none",
        ),
    ] = None
    task_metrics_address: Annotated[
        str | None,
        Setting(
            ADDRESS,
            (TASKS,),
            "Where the task service publishes metrics.",
            without="none",
        ),
    ] = None
    agent_tls_certificate: Annotated[
        Path | None,
        Setting(
            PEM_FILE,
            (*SERVICES, UP),
            "The certificate of the agent service, then those between it and its authority "
            "([TLS](operations.md#tls)). With it the agent service speaks TLS only.",
            without="none",
        ),
    ] = None
    agent_tls_key: Annotated[
        Path | None,
        Setting(
            PEM_FILE,
            (*SERVICES, UP),
            "Its key, without a password: RSA of 2,048 bits or more, or EC on P-256 or P-384.",
            without="none",
        ),
    ] = None
    agent_tls_client_ca: Annotated[
        Path | None,
        Setting(
            PEM_FILE,
            (*SERVICES, UP),
            "The authorities of clients of the agent service. With it, only clients that have a "
            "certificate of one of them can connect.",
            without="none",
        ),
    ] = None
    agent_tls_task_services: Annotated[
        tuple[str, ...] | None,
        Setting(
            NAMES,
            (AGENTS, UP),
            "The agent service answers ValidateAssignee only for clients whose certificate has one "
            "of these names. It needs `TANDEM_AGENT_TLS_CLIENT_CA`.",
            without="none",
        ),
    ] = None
    agent_tls_server_name: Annotated[
        str | None,
        Setting(
            TEXT,
            (TASKS,),
            "The name that the task service requires in the certificate of the agent service.",
            without="the host in `TANDEM_AGENT_ADDRESS`",
        ),
    ] = None
    task_tls_certificate: Annotated[
        Path | None,
        Setting(
            PEM_FILE,
            (TASKS, UP),
            "The certificate of the task service, then those between it and its authority. With "
            "it the task service speaks TLS only.",
            without="none",
        ),
    ] = None
    task_tls_key: Annotated[
        Path | None,
        Setting(
            PEM_FILE,
            (TASKS, UP),
            "Its key, as that of the agent service.",
            without="none",
        ),
    ] = None
    task_tls_client_ca: Annotated[
        Path | None,
        Setting(
            PEM_FILE,
            (TASKS, UP),
            "The authorities of clients of the task service, as those of the agent service.",
            without="none",
        ),
    ] = None
    client_tls_ca: Annotated[
        Path | None,
        Setting(
            PEM_FILE,
            (TASKS, UP, "`tandem tasks`", "`tandem health`"),
            "The authorities of the servers that are called, by TLS only: of the agent service "
            "that the task service calls, and of those that `tandem` calls.",
            without="none",
        ),
    ] = None
    client_tls_certificate: Annotated[
        Path | None,
        Setting(
            PEM_FILE,
            (TASKS, UP, "`tandem tasks`", "`tandem health`"),
            "The certificate that these callers show, if the server asks for one.",
            without="none",
        ),
    ] = None
    client_tls_key: Annotated[
        Path | None,
        Setting(
            PEM_FILE,
            (TASKS, UP, "`tandem tasks`", "`tandem health`"),
            "Its key, as that of the agent service.",
            without="none",
        ),
    ] = None
    plaintext: Annotated[
        str,
        Setting(
            one_of("loopback", "network"),
            (*SERVICES, UP, "`tandem tasks`"),
            "How far tokens and data may go unencrypted. With `loopback` nothing starts that would "
            "listen on, or send a token to, another address without TLS. With `network` something "
            "else has to encrypt.",
        ),
    ] = "loopback"
    jwt_issuer: Annotated[
        str,
        Setting(
            TEXT,
            SIGNERS,
            "The required `iss` of our own tokens: those that the secret, the public key or the "
            "JWKS URL verifies, and those of agents.",
        ),
    ] = "tandem"
    jwt_audience: Annotated[
        str, Setting(TEXT, SIGNERS, "The required `aud` of our own tokens.")
    ] = "tandem"
    jwt_secret: Annotated[
        SecretStr | None,
        Setting(
            HS256_SECRET,
            SIGNERS,
            "Signs and verifies tokens (HS256). For development only: a service that can verify "
            "tokens with it can also create them.",
            without="generated by `tandem up`",
        ),
    ] = None
    jwt_public_key: Annotated[
        str | None,
        Setting(
            PUBLIC_KEY,
            SIGNERS,
            "The issuer's public key: RSA with 2,048 to 8,192 bits (RS256), EC on P-256 (ES256) or "
            "Ed25519 (EdDSA).",
            without="none",
        ),
    ] = None
    jwt_jwks_url: Annotated[
        str | None,
        Setting(
            JWKS_URL,
            SIGNERS,
            "Where the issuer publishes such keys.",
            without="none",
        ),
    ] = None
    jwt_private_key: Annotated[
        SecretStr | None,
        Setting(
            PRIVATE_KEY,
            SIGNERS,
            "A key of the same types, together with the public key, the JWKS URL or "
            "`TANDEM_JWT_ISSUERS`. The agent service signs the tokens of agents with it, and both "
            "services trust its public half for agents only, so both need it.",
            without="none",
        ),
    ] = None
    jwt_issuers: Annotated[
        tuple[TrustedIssuer, ...] | None,
        Setting(
            ISSUERS,
            SIGNERS,
            "Other issuers of users' tokens, beside our own ([fields](tokens.md#other-issuers)).",
            without="none",
        ),
    ] = None
    jwt_provision: Annotated[
        str,
        Setting(
            one_of("never", "first-call"),
            SERVICES,
            "Whether an unknown subject of another issuer becomes a user at its first call, or is "
            "CALLER_UNKNOWN until it is [linked](tokens.md#users-and-their-identities).",
        ),
    ] = "never"
    log_level: Annotated[
        str,
        Setting(
            one_of("debug", "info", "warning", "error"),
            SERVICES,
            "The least important lines that are still written.",
        ),
    ] = "info"
    log_format: Annotated[
        str,
        Setting(
            one_of("auto", "json", "console"),
            SERVICES,
            "`json` is one object per line, `console` is for people, and `auto` is `console` on a "
            "terminal and else `json`.",
        ),
    ] = "auto"
    log_sample: Annotated[
        float,
        Setting(
            share(),
            SERVICES,
            "The share of successful calls that have a line in the [log](logs.md), chosen by "
            "chance. Calls that fail and slow ones always have one.",
        ),
    ] = 1.0
    log_slow_ms: Annotated[
        int,
        Setting(
            integer(0, MAXIMUM_SLOW_MS, "milliseconds"),
            SERVICES,
            "From which duration on a successful call always has a line. Those that wait for "
            "something by design, like streams and `WaitTask`, are never slow.",
        ),
    ] = 1000
    pool_size: Annotated[
        int,
        Setting(
            integer(1, MAXIMUM_POOL_SIZE, "connections"),
            SERVICES,
            "The largest number of connections of one process to the database. The sum over all "
            "processes must stay below the database's `max_connections`.",
        ),
    ] = 10
    shutdown_delay: Annotated[
        int,
        Setting(
            integer(0, MAXIMUM_SHUTDOWN_DELAY, "seconds"),
            SERVICES,
            "How long after SIGTERM a service reports that it is not ready and still serves calls "
            "([steps](operations.md#running-the-services-separately)).",
        ),
    ] = 5
    event_retention_days: Annotated[
        int,
        Setting(
            integer(1, MAXIMUM_EVENT_RETENTION_DAYS, "days"),
            (TASKS,),
            "How long [events](operations.md#events) are kept. A project's setting "
            "`event_retention_days` overrides it.",
        ),
    ] = 90
    agent_timeout: Annotated[
        int,
        Setting(
            integer(*AGENT_TIMEOUTS, "seconds"),
            (TASKS,),
            "After how long without a claim or heartbeat an agent that gave such signs is offline.",
        ),
    ] = 90

    @property
    def users_come_from_elsewhere(self) -> bool:
        """Whether an issuer of its own signs the tokens of users, and this machine cannot."""
        elsewhere = self.jwt_public_key or self.jwt_jwks_url
        return bool(elsewhere or (self.jwt_issuers and self.jwt_private_key))


def setting_variables() -> list[Variable]:
    """Every setting, in the order of the manual."""
    return variables(Settings)


def load_settings() -> Settings:
    """Read the environment.

    Raises SettingsError with one sentence per variable that is wrong or unknown; a value is never
    repeated in it, because it may be a secret.
    """
    settings, found = read_settings()
    if found.problems:
        raise SettingsError("\n".join(found.problems)) from None
    return settings


def read_settings() -> tuple[Settings, Found]:
    """The settings of the environment, with the defaults of those that are wrong; what was read."""
    found = read(setting_variables(), os.environ)
    return Settings(**found.values), found
