"""Schema 2 to 3: near copies, control tokens inside documents, and how windows and text were read.

A run of schema 2 knows none of them. Its windows after a document's first were read without a start-of-text token,
control tokens typed in its texts were read as such, and every document is called an original, which keeps its lists
as they were gathered; `settings` say so. Only a new export reads the corpus as schema 3 does.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from ...progress import Progress
from ..files import write_parquet
from ..manifest import MIGRATED_FROM
from ..remote import Place, in_ranges
from ..rowfile import RowFile
from ..schema import TOKENS_ROW_GROUP, part_name
from .staging import Staging

CONTROL = pa.list_(pa.struct([("position", pa.int32()), ("token", pa.int32())]))


def migrate(run: Place, manifest: dict[str, Any], staging: Staging, advance: Progress) -> dict[str, Any]:
    """Write the documents with the columns that schema 3 adds; see ``workbench.store.migrations``."""
    parts = [part | {"files": dict(part["files"])} for part in manifest["parts"]]
    for part in parts:
        name = part_name("documents", part["part"])
        if not staging.has(name):
            table = RowFile(in_ranges(run, name)).read()
            at = table.schema.get_field_index("text")
            table = table.add_column(at, "original", table["doc"])
            none = pa.array([[] for _ in range(len(table))], CONTROL)
            table = table.add_column(at + 1, pa.field("control", CONTROL), none)
            write_parquet(staging.path(name), table, row_group_size=TOKENS_ROW_GROUP)
        part["files"][name] = staging.describe(name)
        advance((part["rows"][1] - part["rows"][0]) * len(manifest["model"]["groups"]))
    settings = manifest["settings"] | {"bos_in_windows": False, "overlap": 0, "control_in_text": True}
    tokens = parts[-1]["rows"][1]
    corpus = manifest["corpus"] | {"tokens": tokens, "copies": 0, "skipped": {}, "notes": []}
    first = manifest.get(MIGRATED_FROM, 2)
    return manifest | {"schema": 3, "settings": settings, "corpus": corpus, "parts": parts, MIGRATED_FROM: first}
