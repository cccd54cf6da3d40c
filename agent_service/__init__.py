"""The agent service: who can act."""
