"""An agent that has API keys."""

import pytest

from tests.agent_service.api_keys.holder import Holder
from tests.world import World


@pytest.fixture
async def holder(world: World) -> Holder:
    """A new agent in a new project of a new user."""
    return await holder_in(world)


@pytest.fixture
async def fresh_holder(fresh_world: World) -> Holder:
    """The same in a database of its own."""
    return await holder_in(fresh_world)


async def holder_in(world: World) -> Holder:
    owner = await world.user()
    project = await owner.project()
    return Holder(world, owner, project, await owner.agent(project))
