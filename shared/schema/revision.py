"""The revision of the schema that this code was made for. `make migration` keeps it current."""

REVISION = "018_add_leases"
