"""The fake services of a test."""

import pytest

from tests.client.fake import Services


@pytest.fixture
def services() -> Services:
    """Both services, played by the test."""
    return Services()
