"""What the files of a run hold: names, columns and the version of it all."""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = 2

MANIFEST = "manifest.json"
TEMPORARY = ".tmp"  # suffix of a file in the making
LABEL_TYPE = pa.dictionary(pa.int32(), pa.string())

TOKENS_ROW_GROUP = 4096  # rows of tokens or documents that are read together

TOKENS = pa.schema(
    [
        ("doc", pa.int64()),
        ("position", pa.int32()),  # in the document as the model read it; 0 is the start-of-text token, if it had one
        ("token", pa.int32()),
        ("label", LABEL_TYPE),
        ("start", pa.int32()),  # character offsets into the document's text; null where the corpus gave ids
        ("end", pa.int32()),
    ]
)

DOCUMENTS = pa.schema(
    [
        ("doc", pa.int64()),
        ("label", LABEL_TYPE),
        ("source", pa.string()),
        ("score", pa.float64()),
        ("row", pa.int64()),  # its first row in the tokens
        ("tokens", pa.int64()),  # its rows there
        ("window", pa.int64()),  # its first context window
        ("bos", pa.int32()),  # the start-of-text token it was read with, null where there was none
        ("kept", pa.bool_()),  # whether the run holds the routing of its tokens
        ("text", pa.string()),
    ]
)

EXAMPLES = pa.schema([("expert", pa.int32()), ("score", pa.float32()), ("row", pa.int64()), ("token", pa.int32())])

# Sampled tokens of an expert: from each bin of its histogram, INTERVAL_EXAMPLES of its active tokens, or all where
# there are fewer. A fixed permutation puts all token rows in one order (workbench.store.priority); the first
# ones in it are taken, so the choice rests on the corpus alone. Rows stand by expert, bin, and place in that order.
INTERVALS = pa.schema([("expert", pa.int32()), ("bin", pa.int8()), *list(EXAMPLES)[1:]])
INTERVAL_EXAMPLES = 3


def part_name(folder: str, part: int) -> str:
    """Path of a part of the tokens or documents inside the run."""
    return f"{folder}/part-{part:05d}.parquet"


def routing_name(part: int, group: int) -> str:
    """Path of a part of a group's routing inside the run."""
    return f"routing/part-{part:05d}-group-{group}.parquet"


def index_name(part: int, group: int) -> str:
    """Path of the index of that routing."""
    return f"index/part-{part:05d}-group-{group}.parquet"


def group_name(folder: str, group: int) -> str:
    """Path of a group's statistics or examples inside the run."""
    return f"{folder}/group-{group}.parquet"


# Histogram of scores: one bin an octave, the top edge the first power of two that is at least the number of heads (a
# score summed over heads never passes that). Edges are exact in binary; the first bin also takes everything below it.
HISTOGRAM_BINS = 20


def histogram_edges(heads: int) -> list[float]:
    """Edges of the bins, ascending, ``HISTOGRAM_BINS + 1`` of them; bin b holds low <= score < high, the last both."""
    top = (heads - 1).bit_length()
    return [0.0, *(2.0**e for e in range(top - HISTOGRAM_BINS + 1, top + 1))]
