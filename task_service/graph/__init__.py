"""Many tasks at once: created with the dependencies between them, and read as a graph."""
