"""The revision of the schema that this code was made for. `make migration` keeps it current."""

REVISION = "012_add_status_to_task_orders"
