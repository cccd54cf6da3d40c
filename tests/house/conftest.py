"""What several rules of the house look at."""

import pytest

from scripts.generate_docs import PROTOS
from scripts.proto_files import FIELD_OF_MESSAGE, MESSAGE, read_protos


@pytest.fixture(scope="session")
def comments() -> dict[str, str]:
    """The comment of each field of each message in the protos, by the full name of the field."""
    return {
        file.full_name(message.name, field.name): file.comment(MESSAGE, m, FIELD_OF_MESSAGE, f)
        for file in read_protos(PROTOS)
        for m, message in enumerate(file.proto.message_type)
        for f, field in enumerate(message.field)
    }
