"""What happens to tasks and agents because time passes."""
