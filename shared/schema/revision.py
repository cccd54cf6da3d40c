"""The revision of the schema that this code was made for. `make migration` keeps it current."""

REVISION = "011_serve_every_list_by_index"
