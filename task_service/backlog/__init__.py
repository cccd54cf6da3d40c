"""What waits to be done, in all projects together, for metrics."""
