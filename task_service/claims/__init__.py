"""Agents take tasks: which ones, and how they wait for some."""
