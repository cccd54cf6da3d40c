"""Reads a database: its revision, its catalog, and the rows that a query finds."""
