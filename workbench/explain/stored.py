"""Explanations as a run keeps them: one for each expert and author, written together, read and searched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from ..errors import WorkbenchError
from ..store.files import write_parquet

if TYPE_CHECKING:
    from ..analysis.encoder import Encoder
    from ..store import Run

FILE = "explanations.parquet"
KEY = ["group", "expert", "kind", "author"]
TASKS = ("detection", "fuzzing")
SCORES = [f"{task}{end}" for task in TASKS for end in ("", ":low", ":high", ":control")]
SCHEMA = pa.schema(
    [
        ("group", pa.int32()),
        ("expert", pa.int32()),
        ("kind", pa.string()),
        ("author", pa.string()),
        ("text", pa.string()),
        ("judge", pa.string()),  # "" where it was not scored
        ("active", pa.int32()),  # passages it was scored on
        ("silent", pa.int32()),
        *((name, pa.float64()) for name in SCORES),  # NaN where there were too few passages, or no control
    ]
)


def read_explanations(run: Run, group: int | None = None, expert: int | None = None) -> pd.DataFrame:
    """The explanations stored in a run, of all experts or of one; sorted by group, expert, kind and author.

    Columns: group, expert; kind (template, self, endpoint or person) and author; text; judge (who scored it, or "");
    active and silent, the passages it was scored on; and for detection and fuzzing ``{task}``, the balanced accuracy,
    ``{task}:low`` and ``{task}:high``, its 95 % interval, and ``{task}:control``, that of another expert's explanation
    on the same passages. No rows where nothing was explained yet.
    """
    table = _read(run.analysis_path(FILE))
    if group is not None:
        table = table[table["group"] == group]
    if expert is not None:
        table = table[table["expert"] == expert]
    return table.reset_index(drop=True)


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        return SCHEMA.empty_table().to_pandas()
    try:
        return pq.read_table(path, schema=SCHEMA).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise WorkbenchError(f"{path} is damaged ({error}); delete it and explain the experts again.") from error


def write_explanations(run: Run, rows: pd.DataFrame) -> None:
    """Adds explanations to a run; one of the same expert, kind and author is replaced.

    Other processes that write at the same time are waited for; a crash leaves the old file.
    """
    path = run.analysis_path(FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        together = pd.concat([_read(path), rows[SCHEMA.names]], ignore_index=True)
        kept = together.drop_duplicates(KEY, keep="last").sort_values(KEY)
        write_parquet(path, pa.Table.from_pandas(kept, schema=SCHEMA, preserve_index=False))


def search_explanations(run: Run, query: str, n: int = 20, encoder: Encoder | None = None) -> pd.DataFrame:
    """The stored explanations that hold a text, and with an encoder those that mean something like it.

    Args:
        run: an opened run.
        query: what to look for; upper and lower case are the same.
        n: rows at most.
        encoder: of :func:`workbench.analysis.load_encoder`; without it, only explanations that hold the text are found.

    Returns:
        Columns of :func:`read_explanations`, contains and similarity (cosine, NaN without an encoder); first those that
        contain the query, then by similarity.

    Raises:
        WorkbenchError: the query is empty.
    """
    if not query.strip():
        raise WorkbenchError("the query is empty; give a word or a sentence to look for.")
    table = read_explanations(run)
    wanted = query.casefold()
    contains = np.array([wanted in text.casefold() for text in table["text"]], bool)
    similarity = np.full(len(table), np.nan)
    if encoder is not None and len(table):
        similarity = encoder.encode(table["text"].tolist()).astype(np.float64) @ encoder.encode([query])[0]
    found = table.assign(contains=contains, similarity=similarity)
    if encoder is None:
        found = found[contains]
    order = ["contains", "similarity"]
    return found.sort_values(order, ascending=False, kind="stable").head(n).reset_index(drop=True)
