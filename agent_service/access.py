"""Who may call each method of the agent service. A method without a rule keeps it from starting."""

from shared.grpc_server.interceptor import Access

ACCESS = {
    "/tandem.agent.v1.AgentService/CreateAgent": Access.USER,
    "/tandem.agent.v1.AgentService/GetAgent": Access.USER_OR_AGENT,
    "/tandem.agent.v1.AgentService/BatchGetAgents": Access.USER,
    "/tandem.agent.v1.AgentService/ListAgents": Access.USER,
    "/tandem.agent.v1.AgentService/UpdateAgent": Access.USER,
    "/tandem.agent.v1.AgentService/DeleteAgent": Access.USER,
    "/tandem.agent.v1.AgentService/SetAgentStatus": Access.USER_OR_AGENT,
    "/tandem.agent.v1.AgentService/VerifyAgentAccess": Access.USER,
    "/tandem.agent.v1.AgentService/ValidateAssignee": Access.USER,
    "/tandem.agent.v1.ProjectService/CreateProject": Access.USER,
    "/tandem.agent.v1.ProjectService/GetProject": Access.USER,
    "/tandem.agent.v1.ProjectService/ListProjects": Access.USER,
    "/tandem.agent.v1.ProjectService/UpdateProject": Access.USER,
    "/tandem.agent.v1.ProjectService/DeleteProject": Access.USER,
    "/tandem.agent.v1.RoomService/CreateRoom": Access.USER,
    "/tandem.agent.v1.RoomService/GetRoom": Access.USER,
    "/tandem.agent.v1.RoomService/ListRooms": Access.USER,
    "/tandem.agent.v1.RoomService/UpdateRoom": Access.USER,
    "/tandem.agent.v1.RoomService/DeleteRoom": Access.USER,
    "/tandem.agent.v1.RoomService/AddParticipant": Access.USER,
    "/tandem.agent.v1.RoomService/RemoveParticipant": Access.USER,
    "/tandem.agent.v1.RoomService/ListParticipants": Access.USER,
    "/tandem.agent.v1.AuthService/WhoAmI": Access.USER_OR_AGENT,
    "/tandem.agent.v1.AuthService/CreateApiKey": Access.USER,
    "/tandem.agent.v1.AuthService/ListApiKeys": Access.USER,
    "/tandem.agent.v1.AuthService/RevokeApiKey": Access.USER,
    "/tandem.agent.v1.AuthService/RotateApiKey": Access.USER,
    "/tandem.agent.v1.AuthService/ExchangeApiKey": Access.OPEN,
}
