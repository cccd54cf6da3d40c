"""PostgreSQL: the pool, units of work, statements."""
