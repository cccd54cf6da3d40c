"""The SQL of the command line: users, and the revision of the schema.

It is plain text for asyncpg, because `tandem up` runs some of it at every start: importing
SQLAlchemy to build it would take a fifth of the time until everything is ready.
"""

# The id of a user, by name.
USER_BY_NAME = "SELECT id FROM users WHERE username = $1"

# A new user: id, name, e-mail address, whether superuser.
INSERT_USER = "INSERT INTO users (id, username, email, is_superuser) VALUES ($1, $2, $3, $4)"

# The revision that the last migration left.
REVISION = "SELECT version_num FROM alembic_version"
