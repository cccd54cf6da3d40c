"""Constructs the agent service: settings → pool → rules → servicers → server."""

import sys

from agent_service.access import ACCESS
from agent_service.agents.rules import AgentRules
from agent_service.agents.servicer import AgentServicer
from agent_service.credentials.servicer import AuthServicer
from agent_service.projects.rules import ProjectRules
from agent_service.projects.servicer import ProjectServicer
from agent_service.rooms.rules import RoomRules
from agent_service.rooms.servicer import RoomServicer
from shared import process
from shared.auth import Authenticator
from shared.claims import Verifier
from shared.database import Database
from shared.key_ring import key_ring, page_key
from shared.paging import Pager
from shared.server import Server, Service
from shared.settings import Settings
from tandem.agent.v1.agent_service_pb2_grpc import add_AgentServiceServicer_to_server
from tandem.agent.v1.auth_service_pb2_grpc import add_AuthServiceServicer_to_server
from tandem.agent.v1.project_service_pb2_grpc import add_ProjectServiceServicer_to_server
from tandem.agent.v1.room_service_pb2_grpc import add_RoomServiceServicer_to_server


def build(database: Database, settings: Settings) -> Server:
    """The server of the agent service, not started yet."""
    keys = key_ring(settings)
    pager = Pager(page_key(settings))
    agents = AgentServicer(AgentRules(database), pager)
    projects = ProjectServicer(ProjectRules(database), pager)
    rooms = RoomServicer(RoomRules(database), pager)
    services = [
        Service("tandem.agent.v1.AgentService", agents, add_AgentServiceServicer_to_server),
        Service("tandem.agent.v1.ProjectService", projects, add_ProjectServiceServicer_to_server),
        Service("tandem.agent.v1.RoomService", rooms, add_RoomServiceServicer_to_server),
        Service("tandem.agent.v1.AuthService", AuthServicer(), add_AuthServiceServicer_to_server),
    ]
    authenticator = Authenticator(database, Verifier(settings, keys))
    return Server(services, authenticator, ACCESS, closers=[keys.close])


if __name__ == "__main__":
    sys.exit(process.main("agents", build, lambda settings: settings.agent_address))
