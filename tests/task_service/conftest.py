"""What the tests of tasks and of claims share."""

import pytest

from tests.task_service.team import Team
from tests.world import World


@pytest.fixture
async def team(world: World) -> Team:
    """A project without tasks or agents."""
    return await Team.formed(world)
