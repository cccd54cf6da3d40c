"""Calls the services as an agent or a user, for commands that work on tasks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from cli.console import CommandError
from shared.grpc_server.tls import client_files, require_encrypted_calls
from shared.settings import Settings
from tandem.agent.v1.agent_service_pb2 import GetAgentRequest
from tandem.agent.v1.auth_service_pb2 import CALLER_TYPE_AGENT, WhoAmIRequest
from tandem_client import ApiKey, Credentials, TandemError, Tls, Token
from tandem_client.sync import Tandem, connect

WITHOUT_CREDENTIALS = "Set TANDEM_API_KEY or TANDEM_TOKEN, to say as whom to call."
WILDCARDS = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104


@contextmanager
def calling(settings: Settings, api_key: str, token: str) -> Iterator[Tandem]:
    """A client with one of the two, "" for none. What is refused becomes a CommandError."""
    credentials: Credentials = ApiKey(api_key) if api_key else Token(token)
    if not (api_key or token):
        raise CommandError(WITHOUT_CREDENTIALS)
    agents, tasks = _reachable(settings.agent_address), _reachable(settings.task_address)
    require_encrypted_calls(settings, "TANDEM_AGENT_ADDRESS", agents)
    require_encrypted_calls(settings, "TANDEM_TASK_ADDRESS", tasks)
    try:
        with connect(
            agent_address=agents,
            task_address=tasks,
            credentials=credentials,
            tls=tls_of_client(settings),
        ) as tandem:
            yield tandem
    except TandemError as error:
        raise CommandError(_sentence(error)) from None


def tls_of_client(settings: Settings) -> Tls | None:
    """What `tandem` trusts and proves, or None if it calls without TLS. Raises SettingsError."""
    files = client_files(settings)
    return Tls(files.ca, files.certificate, files.key) if files.ca else None


def agent_of(tandem: Tandem, agent_id: str | None) -> tuple[str, str]:
    """The ids of the project and the agent to act for: the named one, or else the caller."""
    if agent_id:
        agent = tandem.agents.GetAgent(GetAgentRequest(agent_id=agent_id))
        return agent.project_id, agent.id
    caller = tandem.auth.WhoAmI(WhoAmIRequest())
    if caller.caller_type != CALLER_TYPE_AGENT:
        raise CommandError("A user has to say for which agent: --agent ID.")
    return caller.project_id, caller.caller_id


def _reachable(address: str) -> str:
    """The address by which a service is called that listens on all."""
    host, _, port = address.rpartition(":")
    return f"{WILDCARDS.get(host, host)}:{port}"


def _sentence(error: TandemError) -> str:
    if error.code is grpc.StatusCode.UNAVAILABLE and not error.reason_name:
        return "The services cannot be reached: see TANDEM_AGENT_ADDRESS and TANDEM_TASK_ADDRESS."
    fields: Any = "".join(f" {each.field}: {each.description}." for each in error.fields)
    return f"{error}{fields}"
