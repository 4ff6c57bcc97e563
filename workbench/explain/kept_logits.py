"""Logit views that were computed once, kept in an SQLite file beside the run: a forward pass over an expert's best
tokens takes long, and its result is a few numbers.

The file is a cache. Where it cannot be read or written, views are computed again, and it may be deleted at any time.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..analysis.results import source_of

if TYPE_CHECKING:
    from ..store import Run

VERSION = 1  # of the file and of how views are computed
SUFFIX = ".logits.sqlite"
PATIENCE = 1.0  # seconds to wait for another process that writes
_TABLE = """CREATE TABLE IF NOT EXISTS views (
    source TEXT, routing_group INTEGER, expert INTEGER, n INTEGER, tokens BLOB NOT NULL, logits BLOB NOT NULL,
    PRIMARY KEY (source, routing_group, expert, n)
) WITHOUT ROWID"""
_READ = "SELECT tokens, logits FROM views WHERE source = ? AND routing_group = ? AND expert = ? AND n = ?"


class KeptLogits:
    """The logit views of a run that are kept in ``RUN.logits.sqlite``; processes and threads may share the file.

    Args:
        run: an opened run; one on another machine keeps none.
        place: device and precision that the model runs in, as they were asked for: views of others are not read.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.explain.kept_logits import KeptLogits
        >>> KeptLogits(open_run("runs/demo"), "auto").path.name
        'demo.logits.sqlite'
    """

    def __init__(self, run: Run, place: str) -> None:
        self._run = run
        folder = run.path.resolve() if isinstance(run.path, Path) else None
        self.path = folder and folder.with_name(folder.name + SUFFIX)
        self._source = f"{VERSION} {source_of(run)} {place}"

    def get(self, group: int, expert: int, n: int) -> pd.DataFrame | None:
        """The view of an expert as ``logit_view`` returned it; None where none is kept."""
        if self.path is None or not self.path.exists():
            return None
        row = None
        with (
            suppress(sqlite3.Error),
            closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True, timeout=PATIENCE)) as connection,
        ):
            row = connection.execute(_READ, (self._source, group, expert, n)).fetchone()
        if row is None:
            return None
        token = np.frombuffer(row[0], np.int64)
        return pd.DataFrame(
            {"token": token, "token_text": self._run.token_text(token), "logit": np.frombuffer(row[1], np.float64)}
        )

    def put(self, group: int, expert: int, n: int, view: pd.DataFrame) -> None:
        """Keep the view of an expert, as ``logit_view`` returned it for ``n``."""
        if self.path is None:
            return
        columns = (view["token"].to_numpy(np.int64).tobytes(), view["logit"].to_numpy(np.float64).tobytes())
        with suppress(sqlite3.Error), closing(sqlite3.connect(self.path, timeout=PATIENCE)) as connection, connection:
            connection.execute(_TABLE)
            connection.execute(
                "INSERT OR REPLACE INTO views VALUES (?, ?, ?, ?, ?, ?)", (self._source, group, expert, n, *columns)
            )
