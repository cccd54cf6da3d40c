"""What an agent does with a task that it holds by a lease."""
