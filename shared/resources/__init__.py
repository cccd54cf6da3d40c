"""What a resource is made from: all that a new one imports besides the database and the schema."""
