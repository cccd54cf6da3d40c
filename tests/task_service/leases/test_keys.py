"""A key that was revoked gives no lease and renews none, however lately its agent has called."""

import pytest

from shared.errors import Reason
from tandem.task.v1.task_service_pb2 import Heartbeat, HeartbeatTasksRequest
from tests.refusals import refused
from tests.task_service.team import Team
from tests.world import World

REVOKE = "UPDATE agent_api_keys SET status = 'revoked' WHERE agent_id = $1::text::uuid"
EXPIRE = "UPDATE agent_api_keys SET expires_at = now() WHERE agent_id = $1::text::uuid"
LEASES = "SELECT count(*) FROM task_leases"
EXPIRY = "SELECT max(expires_at) FROM task_leases"


@pytest.mark.parametrize("how", [REVOKE, EXPIRE])
async def test_a_revoked_key_claims_nothing(team: Team, world: World, how: str) -> None:
    await team.owner.task(team.project)
    worker = await team.worker()
    await worker.claim(task_ids=[(await team.owner.task(team.project)).id])
    await world.execute(how, worker.agent.id)
    await refused(worker.claim(), Reason.CALLER_INACTIVE)
    named = [(await team.owner.task(team.project)).id]
    await refused(worker.claim(task_ids=named), Reason.CALLER_INACTIVE)
    assert await world.value(LEASES) == 1


async def test_a_revoked_key_renews_nothing(team: Team, world: World) -> None:
    task = await team.owner.task(team.project)
    worker = await team.worker()
    await worker.claim()
    until = await world.value(EXPIRY)
    await world.execute(REVOKE, worker.agent.id)
    beat = HeartbeatTasksRequest(
        project_id=team.project.id,
        agent_id=worker.agent.id,
        heartbeats=[Heartbeat(task_id=task.id, fencing_token=1)],
    )
    await refused(worker.client.tasks.HeartbeatTasks(beat), Reason.CALLER_INACTIVE)
    assert await world.value(EXPIRY) == until
