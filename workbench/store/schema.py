"""Names and columns of a run's files, and the schema version; docs/run-format.md describes them for readers."""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = 3

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
        ("original", pa.int64()),  # the first document that it is a near copy of; its own number otherwise
        # control tokens at other positions than 0, which are no token rows
        ("control", pa.list_(pa.struct([("position", pa.int32()), ("token", pa.int32())]))),
        ("text", pa.string()),
    ]
)

# A part of which some document's project is known has this column behind the others.
PROJECT = pa.field("project", pa.string())
DOCUMENTS_OF_PROJECTS = DOCUMENTS.append(PROJECT)

EXAMPLES = pa.schema([("expert", pa.int32()), ("score", pa.float32()), ("row", pa.int64()), ("token", pa.int32())])

# Tokens sampled from each octave of an expert's scores: INTERVAL_EXAMPLES per bin of its histogram, or all where it has
# fewer. A fixed permutation puts all token rows in one order (workbench.store.priority) and the first ones in it are
# taken, so the sample depends on the corpus alone. Rows are sorted by expert, bin, and place in that order.
INTERVALS = pa.schema([("expert", pa.int32()), ("bin", pa.int8()), *list(EXAMPLES)[1:]])
INTERVAL_EXAMPLES = 3


def expert_schema(labels: list[str]) -> pa.Schema:
    """Columns of a group's statistics: one row per expert that was active."""
    totals = [("expert", pa.int32()), ("tokens", pa.int64()), ("mass", pa.float64()), ("mean", pa.float64())]
    by_label = [(f"tokens:{label}", pa.int64()) for label in labels]
    by_label += [(f"mass:{label}", pa.float64()) for label in labels]
    return pa.schema([*totals, ("max", pa.float32()), *by_label, ("histogram", pa.list_(pa.int64(), HISTOGRAM_BINS))])


def part_name(folder: str, part: int) -> str:
    """Path inside the run of a part of the tokens or documents."""
    return f"{folder}/part-{part:05d}.parquet"


def routing_name(part: int, group: int) -> str:
    """Path inside the run of a part of a group's routing."""
    return f"routing/part-{part:05d}-group-{group}.parquet"


def index_name(part: int, group: int) -> str:
    """Path inside the run of the inverted index of that routing."""
    return f"index/part-{part:05d}-group-{group}.parquet"


def group_name(folder: str, group: int) -> str:
    """Path inside the run of a group's statistics, examples or intervals."""
    return f"{folder}/group-{group}.parquet"


# Histogram of scores: one bin per octave, the top edge the first power of two that is at least the number of heads (a
# score summed over heads never passes that). Edges are exact in binary; the first bin also takes everything below it.
HISTOGRAM_BINS = 20


def histogram_edges(heads: int) -> list[float]:
    """The ``HISTOGRAM_BINS + 1`` edges, ascending: bin b counts low <= score < high, the last one its high edge too."""
    top = (heads - 1).bit_length()
    return [0.0, *(2.0**e for e in range(top - HISTOGRAM_BINS + 1, top + 1))]
