"""Messages out of rows, for both services: a resource looks the same wherever it is read."""
