"""What only a workplace needs: the embedded PostgreSQL and what keeps processes running."""
