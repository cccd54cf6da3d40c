"""Publishes metrics for Prometheus; loaded only by a process that has an address for it."""
