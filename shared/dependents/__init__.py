"""What becomes of tasks if those that they depend on move."""
