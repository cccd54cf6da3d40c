"""Alembic finds the revisions here by their file names, in their own order."""
