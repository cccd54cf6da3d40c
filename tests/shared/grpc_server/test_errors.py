"""The vocabulary of refusals, and what of it a client can take."""

import re
from pathlib import Path
from urllib.parse import quote

import pytest
from google.rpc.error_details_pb2 import RetryInfo
from uuid_utils.compat import uuid7

from shared.errors import Code, Reason, Refusal, Violation, all_not_found, invalid_fields
from shared.grpc_server.status import error_info, to_refusal, to_status
from tandem.agent.v1.agent_service_pb2 import (
    Agent,
    BatchGetAgentsRequest,
    CreateAgentRequest,
    GetAgentRequest,
    UpdateAgentRequest,
)
from tandem.agent.v1.error_reason_pb2 import ErrorReason
from tests.refusals import refused
from tests.world import World

ROOT = Path(__file__).parents[3]
COMMENTS = {
    name: comment.replace("  // ", "")
    for comment, name in re.findall(
        r"((?:  // .*\n)+)  ERROR_REASON_(\w+) = [1-9]",
        (ROOT / "protos/tandem/agent/v1/error_reason.proto").read_text(),
    )
}
ASTRAL = "\N{GRINNING FACE}"
# What the contract began with. The proto has the codes of all reasons.
CODES = {
    "INVALID_ARGUMENT": "INVALID_FIELD, INVALID_PAGE_TOKEN, INVALID_UPDATE_MASK, INVALID_ORDER_BY",
    "UNAUTHENTICATED": "TOKEN_MISSING, TOKEN_INVALID, TOKEN_EXPIRED, CALLER_INACTIVE,"
    " API_KEY_INVALID",
    "PERMISSION_DENIED": "NOT_PROJECT_OWNER, NOT_ALLOWED_FOR_AGENT",
    "NOT_FOUND": "PROJECT_NOT_FOUND, AGENT_NOT_FOUND, TASK_NOT_FOUND, ROOM_NOT_FOUND,"
    " USER_NOT_FOUND, API_KEY_NOT_FOUND, PARTICIPANT_NOT_FOUND, ASSIGNEE_NOT_FOUND",
    "ALREADY_EXISTS": "AGENT_NAME_TAKEN, PROJECT_SLUG_TAKEN, ALREADY_PARTICIPANT,"
    " REQUEST_ID_REUSED",
    "FAILED_PRECONDITION": "DEPENDENCY_NOT_FOUND, DEPENDENCY_NOT_COMPLETED, DEPENDENCY_CYCLE,"
    " DEPENDENCY_OUTSIDE_PROJECT, INVALID_STATUS_TRANSITION, ASSIGNEE_INACTIVE,"
    " ASSIGNEE_OUTSIDE_PROJECT, TASK_HAS_DEPENDENTS, PROJECT_NOT_ACTIVE",
    "ABORTED": "REVISION_MISMATCH, CONFLICT",
    "UNAVAILABLE": "DATABASE_UNAVAILABLE, AGENT_SERVICE_UNAVAILABLE, ISSUER_UNAVAILABLE",
    "RESOURCE_EXHAUSTED": "LIMIT_EXCEEDED",
    "DEADLINE_EXCEEDED": "DEADLINE_TOO_SHORT",
    "UNIMPLEMENTED": "METHOD_NOT_AVAILABLE",
    "INTERNAL": "INTERNAL",
}


def test_the_reasons_are_those_of_the_proto() -> None:
    declared = [name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()[1:]]
    assert [reason.name for reason in Reason] == declared, (
        "Reason in shared/errors.py has to have the values of error_reason.proto, in their order."
    )


def test_each_reason_has_the_code_of_the_contract() -> None:
    wanted = {name: code for code, names in CODES.items() for name in names.split(", ")}
    assert {name: Reason[name].code.name for name in wanted} == wanted


def test_the_proto_says_the_same_codes() -> None:
    for reason in Reason:
        assert COMMENTS[reason.name].startswith(f"{reason.code.name}. "), (
            f"The comment of ERROR_REASON_{reason.name} has to begin with its status code."
        )
    assert len(COMMENTS) == len(Reason)


def test_every_reason_is_sent_and_tested() -> None:
    reserved = {name for name, comment in COMMENTS.items() if "Reserved: not sent" in comment}
    for folders in (("agent_service", "task_service", "shared"), ("tests",)):
        sources = [path.read_text() for f in folders for path in (ROOT / f).rglob("*.py")]
        named = set(re.findall(r"\bReason\.([A-Z_]+)", "".join(sources)))
        unused = {reason.name for reason in Reason} - named - reserved
        assert not unused, f"Nothing in {', '.join(folders)} names {unused}."


def test_codes_are_the_canonical_ones() -> None:
    assert all(Code[code.name] == code.value for code in Code)
    assert (Code.INTERNAL, Code.UNAUTHENTICATED, Code.INVALID_ARGUMENT) == (13, 16, 3)


def test_a_refusal_comes_through_another_service_as_it_was() -> None:
    sent = to_status(Refusal(Reason.ASSIGNEE_INACTIVE, "Not active.", {"assignee_id": "1"}))
    passed_on = to_refusal(sent)
    assert passed_on is not None
    assert to_status(passed_on) == sent
    sent.details[0].Clear()
    assert to_refusal(sent) is None


@pytest.mark.parametrize("seconds", [0.0, 0.25, 1.0, 61.5])
def test_how_long_to_wait_is_said_exactly(seconds: float) -> None:
    status = to_status(Refusal(Reason.CONFLICT, "Again.", retry_after=seconds))
    delay = RetryInfo.FromString(status.details[1].value).retry_delay
    assert delay.ToMilliseconds() == seconds * 1000


def wire_bytes(refusal: Refusal) -> int:
    """The trailing metadata that a client has to take for a refusal."""
    status = to_status(refusal)
    return len(quote(status.message, safe=" ")) + len(status.SerializeToString()) * 4 // 3 + 200


@pytest.mark.parametrize("character", ["n", "é", ASTRAL, "\x01"])
def test_every_client_can_take_the_longest_refusals(character: str) -> None:
    """8 KiB is what clients take by default, but for the newest."""
    name = character * 255
    taken = Refusal(
        Reason.AGENT_NAME_TAKEN, f"{name} is taken.", {"name": name}, (), (), ("a", name)
    )
    fields = invalid_fields([Violation(name, character * 100, "TYPE")] * 50)
    preconditions = Refusal(Reason.CONFLICT, name * 9, preconditions=fields.fields)
    known = {"task_ids": ",".join([name[:36]] * 25)}
    many = Refusal(Reason.CONFLICT, name, known, preconditions=fields.fields)
    missing = all_not_found(Reason.PARTICIPANT_NOT_FOUND, [uuid7()] * 1000)
    for refusal in (taken, fields, preconditions, many, missing):
        assert wire_bytes(refusal) <= 8192


def test_violations_that_do_not_fit_are_counted() -> None:
    fields = [Violation(f"agent.capabilities[{n}]", "must not be empty") for n in range(1000)]
    status = to_status(invalid_fields(fields))
    info = error_info(status)
    assert info is not None
    assert int(info.metadata["omitted"]) > 900
    assert len(status.message) <= 601


async def test_a_thousand_violations_arrive(world: World) -> None:
    alice = await world.user()
    call = alice.agents.BatchGetAgents(BatchGetAgentsRequest(agent_ids=["x"] * 1000))
    found = await refused(call, Reason.INVALID_FIELD)
    assert len(found.fields) + int(found.metadata["omitted"]) == 1000
    assert found.fields["agent_ids[0]"] == "must be a valid UUID"


@pytest.mark.parametrize("character", ["n", "é", ASTRAL, "\x01", "%"])
async def test_the_longest_names_arrive_in_refusals(world: World, character: str) -> None:
    alice = await world.user()
    project = await alice.project()
    name = character * 255
    await alice.agent(project, name=name)
    agent = Agent(project_id=project.id, name=name)
    call = alice.agents.CreateAgent(CreateAgentRequest(agent=agent))
    found = await refused(call, Reason.AGENT_NAME_TAKEN)
    assert found.metadata == {"name": name, "project_id": project.id}


async def test_the_worst_update_mask_arrives(world: World) -> None:
    alice = await world.user()
    agent = await alice.agent(await alice.project())
    request = UpdateAgentRequest(agent=Agent(id=agent.id))
    request.update_mask.paths.extend(ASTRAL * 200 + str(n) for n in range(1000))
    await refused(alice.agents.UpdateAgent(request), Reason.INVALID_UPDATE_MASK)


async def test_a_message_is_one_plain_sentence(world: World) -> None:
    alice = await world.user()
    found = await refused(
        alice.agents.GetAgent(GetAgentRequest(agent_id=str(alice.id))), Reason.AGENT_NOT_FOUND
    )
    assert found.message == f"There is no agent {alice.id}."
    assert found.details["ResourceInfo"].resource_type == "agent"
