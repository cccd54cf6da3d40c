"""Who a task is assigned to."""
