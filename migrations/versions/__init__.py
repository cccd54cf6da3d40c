"""The revisions. Alembic loads them from their files; their names begin with their numbers."""
