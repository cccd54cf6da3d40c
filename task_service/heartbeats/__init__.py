"""Signs that agents work on the tasks that they hold."""
