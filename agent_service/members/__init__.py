"""Members: users with a role in a project."""
