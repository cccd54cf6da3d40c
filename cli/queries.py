"""The SQL of the command line: finding and making users."""

from sqlalchemy import bindparam, insert, select

from shared.schema import users
from shared.statements import Statement

# The id of a user, by name.
USER_BY_NAME = Statement(select(users.c.id).where(users.c.username == bindparam("name")))

# A new user.
INSERT_USER = Statement(
    insert(users).values(
        id=bindparam("id"),
        username=bindparam("name"),
        email=bindparam("email"),
        is_superuser=bindparam("superuser"),
    )
)
