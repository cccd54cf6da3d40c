"""Tasks: what is to be done, by which agent or user, and after which other tasks."""
