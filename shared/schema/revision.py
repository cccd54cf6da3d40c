"""The revision of the schema that this code was made for. `make migration` keeps it current."""

REVISION = "016_add_api_key_scopes"
