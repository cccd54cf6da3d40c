"""Agents: the programs that work on the tasks of a project."""
