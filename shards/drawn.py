"""What readers drew on the images of a selection."""

import pyarrow as pa

from shards.format.boxes import BOX_TYPE, BOXES, Box
from shards.index import ShardIndex

Drawn = tuple[Box, ...]


def drawn_boxes(index: ShardIndex) -> list[Drawn | None]:
    """The boxes of each row, in stored pixels: None where nobody looked for any, which is everywhere in datasets of
    releases without boxes and of earlier builds."""
    if not has_boxes(index):
        return [None] * len(index)
    return [None if row is None else tuple(Box(**one) for one in row) for row in index.table[BOXES].to_pylist()]


def has_boxes(index: ShardIndex) -> bool:
    """Whether some dataset of the selection has a column of boxes."""
    schema: pa.Schema = index.datasets.table.schema
    return BOXES in schema.names and schema.field(BOXES).type == BOX_TYPE
