"""Signs of life of agents."""
