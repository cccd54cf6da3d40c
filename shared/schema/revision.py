"""The revision of the schema that this code was made for. `make migration` keeps it current."""

REVISION = "010_serve_pages_of_rooms"
