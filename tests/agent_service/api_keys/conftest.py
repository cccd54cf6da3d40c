"""An agent that has API keys."""

import pytest

from tests.agent_service.api_keys.holder import Holder
from tests.world import World


@pytest.fixture
async def holder(world: World) -> Holder:
    """A new agent in a new project of a new user."""
    owner = await world.user()
    project = await owner.project()
    return Holder(world, owner, project, await owner.agent(project))
