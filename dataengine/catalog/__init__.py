"""Sources -> decoded, checked and deduplicated image rows."""

from dataengine.catalog.decode import DecodedImage, decode
from dataengine.catalog.examine import Examiner, records_to_table, table_to_records
from dataengine.catalog.index import SeenIndex
from dataengine.catalog.sources import SourceInput, list_inputs, read_source

__all__ = [
    "DecodedImage",
    "Examiner",
    "SeenIndex",
    "SourceInput",
    "decode",
    "list_inputs",
    "read_source",
    "records_to_table",
    "table_to_records",
]
