"""The history of the database, one intent a file, and how to run it."""
