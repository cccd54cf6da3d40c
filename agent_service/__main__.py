"""Constructs the agent service: settings → pool → rules → servicers → server."""

import sys
from functools import partial

import structlog

from agent_service.access import ACCESS, OF_TASK_SERVICES
from agent_service.agents.rules import AgentRules
from agent_service.agents.servicer import AgentServicer
from agent_service.api_keys.last_used import LastUsedWriter
from agent_service.api_keys.rules import NO_PRIVATE_KEY, ApiKeyRules
from agent_service.api_keys.servicer import AuthServicer
from agent_service.members.rules import MemberRules
from agent_service.members.servicer import MemberServicer
from agent_service.projects.rules import ProjectRules
from agent_service.projects.servicer import ProjectServicer
from agent_service.rooms.rules import RoomRules
from agent_service.rooms.servicer import RoomServicer
from agent_service.users.rules import UserRules
from agent_service.users.servicer import UserServicer
from shared import service as process
from shared.auth.authenticator import Authenticator
from shared.auth.encryption import Encryptor
from shared.auth.issuers import issuers
from shared.auth.key_sources import page_key
from shared.auth.keys import signing_key
from shared.auth.signing import sign_agent_token
from shared.auth.verifier import Verifier
from shared.database.transaction import Database
from shared.grpc_server.call_lines import CallLines
from shared.grpc_server.certificates import Certificates
from shared.grpc_server.interceptor import EVERY_PEER
from shared.grpc_server.server import Server, Service
from shared.grpc_server.tls import Port, agent_port
from shared.metrics.instruments import Source
from shared.resources.pagination import Pager
from shared.settings import Settings
from tandem.agent.v1.agent_service_pb2_grpc import add_AgentServiceServicer_to_server
from tandem.agent.v1.auth_service_pb2_grpc import add_AuthServiceServicer_to_server
from tandem.agent.v1.member_service_pb2_grpc import add_MemberServiceServicer_to_server
from tandem.agent.v1.project_service_pb2_grpc import add_ProjectServiceServicer_to_server
from tandem.agent.v1.room_service_pb2_grpc import add_RoomServiceServicer_to_server
from tandem.agent.v1.user_service_pb2_grpc import add_UserServiceServicer_to_server

log = structlog.get_logger()

# The purpose for which responses with the secret of an API key are encrypted.
ENCRYPTED = b"tandem answers to CreateApiKey and RotateApiKey"


def build(database: Database, settings: Settings) -> Server:
    """The server of the agent service, not started yet."""
    trusted = issuers(settings)
    pager = Pager(page_key(settings))
    projects = ProjectServicer(ProjectRules(database), pager)
    members = MemberServicer(MemberRules(database), pager)
    rooms = RoomServicer(RoomRules(database), pager)
    users = UserServicer(UserRules(database), pager)
    signing, last_used = signing_key(settings), LastUsedWriter(database)
    issue = partial(sign_agent_token, settings, signing) if signing else None
    if issue is None:
        log.warning("no API keys", why=NO_PRIVATE_KEY)
    api_keys, encryptor = ApiKeyRules(database, last_used, issue), Encryptor(signing, ENCRYPTED)
    auth = AuthServicer(api_keys, pager, encryptor)
    agents = AgentServicer(AgentRules(database, api_keys), pager, encryptor)
    services = [
        Service("tandem.agent.v1.AgentService", agents, add_AgentServiceServicer_to_server),
        Service("tandem.agent.v1.ProjectService", projects, add_ProjectServiceServicer_to_server),
        Service("tandem.agent.v1.MemberService", members, add_MemberServiceServicer_to_server),
        Service("tandem.agent.v1.RoomService", rooms, add_RoomServiceServicer_to_server),
        Service("tandem.agent.v1.UserService", users, add_UserServiceServicer_to_server),
        Service("tandem.agent.v1.AuthService", auth, add_AuthServiceServicer_to_server),
    ]
    authenticator = Authenticator(
        database, Verifier(trusted), provision=settings.jwt_provision == "first-call"
    )
    closers = [last_used.close, trusted.close]
    sources: list[Source] | None = [] if settings.agent_metrics_address else None
    lines = CallLines(settings.log_sample, settings.log_slow_ms)
    files, names = agent_port(settings).files, settings.agent_tls_task_services
    tls = Certificates(files) if files else None
    peers = dict.fromkeys(OF_TASK_SERVICES, names) if names else EVERY_PEER
    size = settings.pool_size
    return Server(services, authenticator, ACCESS, size, closers, sources, tls, peers, lines=lines)


def addresses(settings: Settings) -> tuple[Port, str | None]:
    """The port of the calls, and the address of the metrics."""
    return agent_port(settings), settings.agent_metrics_address


if __name__ == "__main__":
    sys.exit(process.main("agents", build, addresses))
