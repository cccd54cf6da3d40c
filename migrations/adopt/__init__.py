"""Adopts base tables that another program created, if they match what migration 002 leaves."""
