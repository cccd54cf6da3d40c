"""Rooms, and the agents and users who take part in them."""
