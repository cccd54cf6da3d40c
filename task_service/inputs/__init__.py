"""What agents ask for when they cannot go on, and the answers."""
