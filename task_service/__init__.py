"""The task service: what is to be done."""
