"""The statements about logs."""

from sqlalchemy import ARRAY, Uuid, any_, bindparam, select

from shared.database.statement import Statement
from shared.schema import event_heads

HEADS = Statement(
    "The number of the latest event of each of these projects.",
    select(event_heads.c.project_id, event_heads.c.last).where(
        event_heads.c.project_id == any_(bindparam("project_ids", type_=ARRAY(Uuid)))
    ),
)
