"""Reading an exported run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..errors import WorkbenchError
from .manifest import read_manifest
from .routing import Side, from_arrow
from .schema import group_name, part_name, routing_name
from .text import token_pieces

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from monet_model import Routing

Rows = slice | Sequence[int] | NDArray[np.integer]


def open_run(path: str | Path) -> Run:
    """Open the complete run at ``path``; nothing big is read yet.

    Raises:
        WorkbenchError: there is no run, it is half-written, damaged, or of another schema version.
    """
    path = Path(path)
    manifest = read_manifest(path)
    if manifest["state"] != "complete":
        raise WorkbenchError(f"the run {path} is half-written; continue its export with --resume.")
    return Run(path, manifest)


class Run:
    """An exported run. Methods read from disk what they are asked for; safe to share between threads.

    A token row is the global number of a counted token, in corpus order: start-of-text tokens and padding have none.

    Attributes:
        path: folder of the run.
        manifest: what it was made from, and its files.
        labels: the corpus's labels, in alphabetical order.
        groups: numbers of the routing groups.
        group_layers: the layer that owns each group's router.
        num_keys: E; a group has E * E experts, and expert (i, j) has the flat id i * E + j.
        heads: routing heads.
        tokens_total: token rows.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path, self.manifest = path, manifest
        model = manifest["model"]
        self.labels: list[str] = list(manifest["labels"])
        self.group_layers: list[int] = list(model["groups"])
        self.groups = list(range(len(self.group_layers)))
        self.num_keys, self.heads = int(model["keys"]), int(model["heads"])
        self.model_path: str = model["path"]
        self._part_rows = np.array([part["rows"][0] for part in manifest["parts"]] + [manifest["parts"][-1]["rows"][1]])
        self.tokens_total = int(self._part_rows[-1])
        self._file = lru_cache(maxsize=256)(self._open_file)

    # tables

    @cached_property
    def documents(self) -> pd.DataFrame:
        """One row a document: doc, label, source, score, row (its first token row), tokens (its rows), window (its first
        context window), bos (its start-of-text token, if it was read with one)."""
        names = [c for c in ("doc", "label", "source", "score", "row", "tokens", "window", "bos")]
        tables = [pq.read_table(self.path / part_name("documents", n), columns=names) for n in self._parts]
        table = pa.concat_tables(tables).to_pandas(types_mapper=lambda t: pd.Int32Dtype() if t == pa.int32() else None)
        return table.assign(label=table["label"].astype(str))

    def text(self, doc: int) -> str | None:
        """The text of a document, exactly; None where the corpus gave ids."""
        for part in self.manifest["parts"]:
            first, end = part["documents"]
            if first <= doc < end:
                file = pq.read_table(self.path / part_name("documents", part["part"]), columns=["text"])
                return file["text"][doc - first].as_py()
        raise WorkbenchError(f"the run has no document {doc}; it has 0 to {len(self.documents) - 1}.")

    @cached_property
    def label_tokens(self) -> pd.Series:
        """Token rows of each label; the index is the label."""
        return self.documents.groupby("label")["tokens"].sum().reindex(self.labels, fill_value=0).rename("tokens")

    def experts(self, group: int) -> pd.DataFrame:
        """Statistics of every expert seen; the index is ``expert``.

        Columns: tokens (active tokens), mass (sum of scores), mean (over active tokens), max, then tokens:{label} and
        mass:{label} for each label.
        """
        name = self.path / group_name("experts", self._group(group))
        columns = [c for c in pq.read_schema(name).names if c != "histogram"]
        return pq.read_table(name, columns=columns).to_pandas().set_index("expert")

    def histogram(self, group: int, expert: int) -> pd.DataFrame:
        """How many active tokens score low <= score < high, (bins,) rows: low, high, count; one bin an octave.

        The first bin also holds everything below it, the last one its upper edge.
        """
        table = self._expert_rows("experts", group, expert, ["expert", "histogram"])
        edges = self.manifest["histogram"]
        counts = table["histogram"][0].as_py() if len(table) else [0] * (len(edges) - 1)
        return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "count": counts})

    def examples(self, group: int, expert: int, n: int) -> pd.DataFrame:
        """The ``n`` tokens that score highest, best first, up to the number the run keeps.

        Columns: score, token, token_text, label, doc, position, window, source, row.
        """
        table = self._expert_rows("examples", group, expert, ["expert", "score", "row", "token"])[:n]
        rows, token = table["row"].to_numpy(), table["token"].to_numpy()
        places = self._places(rows)
        return pd.DataFrame(
            {
                "score": table["score"].to_numpy(),
                "token": token,
                "token_text": self.token_text(token),
                "label": places["label"].to_numpy(),
                "doc": places["doc"].to_numpy(),
                "position": places["position"].to_numpy(),
                "window": places["window"].to_numpy(),
                "source": places["source"].to_numpy(),
                "row": rows,
            }
        )

    def tokens(self, rows: Rows = slice(None)) -> pd.DataFrame:
        """Token rows: row, doc, position, token, label, start, end (character offsets; missing where ids were given)."""
        wanted = self._rows(rows)
        pieces, order = [], []
        for part, here, where in self._by_part(wanted):
            table = self._read(part_name("tokens", part), here)
            pieces.append(table)
            order.append(where)
        if not pieces:
            return pq.read_table(self.path / part_name("tokens", 0)).slice(0, 0).to_pandas().assign(row=[])
        table = pa.concat_tables(pieces).to_pandas()
        table = table.assign(label=table["label"].astype(str), row=wanted[np.concatenate(order)])
        return table.iloc[np.argsort(np.concatenate(order))].reset_index(drop=True)

    # routing

    def routing(self, tokens: Rows, group: int = 0) -> Routing:
        """The stored routing of token rows in a group. Indices are exact; probabilities were kept in half precision."""
        import torch

        from monet_model.routing import Routing

        sides = self._sides(self._rows(tokens), self._group(group))
        tensors = [torch.from_numpy(a) for side in sides for a in side.padded(self.heads, self.num_keys)]
        return Routing(*tensors, num_keys=self.num_keys)

    def activations(self, group: int, expert: int) -> pd.DataFrame:
        """Every token where an expert is active: row, doc, position, token, label, score.

        Exact in which tokens they are; scores come from the stored half precision.
        """
        i, j = self._keys(expert)
        rows, scores = [], []
        for part, first in zip(self._parts, self._part_rows, strict=False):
            file = self._file(routing_name(part, self._group(group)))
            for number in range(file.metadata.num_row_groups):
                side1, side2 = from_arrow(file.read_row_group(number))
                score = self._score(side1, side2, i, j)
                found = np.flatnonzero(score)
                rows.append(found + first)
                scores.append(score[found])
                first += len(side1)
        row = np.concatenate(rows)
        table = self.tokens(row)[["row", "doc", "position", "token", "label"]]
        return table.assign(score=np.concatenate(scores))

    def context(self, window: int, group: int, expert: int) -> pd.DataFrame:
        """The counted tokens of a context window: position, token, text, score (the expert's, 0 where not active)."""
        i, j = self._keys(expert)
        documents = self.documents
        at = int(np.searchsorted(documents["window"].to_numpy(), window, side="right")) - 1
        if window < 0 or window >= self.manifest["parts"][-1]["windows"][1]:
            raise WorkbenchError(f"the run has no context window {window}.")
        document, width = documents.iloc[at], self.manifest["settings"]["context"]
        bos = int(pd.notna(document["bos"]))
        begin = max((window - document["window"]) * width - bos, 0)
        end = min((window - document["window"] + 1) * width - bos, document["tokens"])
        rows = np.arange(begin, end) + document["row"]
        table = self.tokens(rows)
        side1, side2 = self._sides(rows, self._group(group))
        token = table["token"].to_numpy()
        return pd.DataFrame(
            {
                "position": table["position"],
                "token": token,
                "text": self.token_text(token),
                "score": self._score(side1, side2, i, j),
            }
        )

    # tokenizer and analysis

    def tokenizer(self) -> PreTrainedTokenizerFast | None:
        """The run's copy of the tokenizer, or None where the corpus came as ids and the model had none."""
        return self._tokenizer

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerFast | None:
        if self.manifest["tokenizer"] is None:
            return None
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(self.path / "tokenizer")

    def token_text(self, tokens: NDArray[np.integer]) -> list[str]:
        """Text of each token id; its number, as #17, where the run has no tokenizer."""
        if self._tokenizer is None:
            return [f"#{token}" for token in tokens]
        return token_pieces(self._tokenizer, tokens)

    def analysis_path(self, name: str) -> Path:
        """Where an analysis of the run keeps ``name``."""
        return self.path / "analysis" / name

    # reading

    @property
    def _parts(self) -> range:
        return range(len(self.manifest["parts"]))

    def _group(self, group: int) -> int:
        if group not in self.groups:
            raise WorkbenchError(f"the run has no group {group}; it has {', '.join(map(str, self.groups))}.")
        return group

    def _keys(self, expert: int) -> tuple[int, int]:
        if not 0 <= expert < self.num_keys**2:
            raise WorkbenchError(f"there is no expert {expert}; ids run from 0 to {self.num_keys**2 - 1}.")
        return divmod(int(expert), self.num_keys)

    def _rows(self, rows: Rows) -> NDArray[np.int64]:
        if isinstance(rows, slice):
            return np.arange(*rows.indices(self.tokens_total))
        wanted = np.asarray(rows, np.int64).reshape(-1)
        if len(wanted) and not (0 <= wanted.min() and wanted.max() < self.tokens_total):
            raise WorkbenchError(f"token rows run from 0 to {self.tokens_total - 1}.")
        return wanted

    def _open_file(self, name: str) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.path / name)
        except (OSError, pa.ArrowInvalid) as error:
            raise WorkbenchError(
                f"{self.path / name} cannot be read ({error}); run `monet verify {self.path}`."
            ) from error

    def _by_part(self, rows: NDArray[np.int64]):  # type: ignore[no-untyped-def]
        """(part, rows counted from its first, where they stand in ``rows``) for each part that holds some."""
        parts = np.searchsorted(self._part_rows, rows, side="right") - 1
        for part in np.unique(parts):
            where = np.flatnonzero(parts == part)
            yield int(part), rows[where] - self._part_rows[part], where

    def _read(self, name: str, rows: NDArray[np.int64]) -> pa.Table:
        """Some rows of a file, reading only the row groups that hold them."""
        file = self._file(name)
        sizes = [file.metadata.row_group(n).num_rows for n in range(file.metadata.num_row_groups)]
        ends = np.cumsum(sizes)
        groups = np.unique(np.searchsorted(ends, rows, side="right"))
        starts = np.cumsum([sizes[g] for g in groups]) - [sizes[g] for g in groups]
        at = np.searchsorted(groups, np.searchsorted(ends, rows, side="right"))
        local = rows - (ends - sizes)[groups[at]] + starts[at]
        return file.read_row_groups(list(groups)).take(pa.array(local))

    def _expert_rows(self, folder: str, group: int, expert: int, columns: list[str]) -> pa.Table:
        self._keys(expert)
        name = self.path / group_name(folder, self._group(group))
        return pq.read_table(name, columns=columns, filters=[("expert", "=", int(expert))])

    def _places(self, rows: NDArray[np.int64]) -> pd.DataFrame:
        """Document, label, source, position and window of token rows."""
        documents = self.documents
        at = np.searchsorted(documents["row"].to_numpy(), rows, side="right") - 1
        found = documents.iloc[at].reset_index(drop=True)
        position = rows - found["row"].to_numpy() + found["bos"].notna().to_numpy()
        return found.assign(
            position=position, window=found["window"] + position // self.manifest["settings"]["context"]
        )

    def _sides(self, rows: NDArray[np.int64], group: int) -> tuple[Side, Side]:
        pieces, order = [], []
        for part, here, where in self._by_part(rows):
            pieces.append(from_arrow(self._read(routing_name(part, group), here)))
            order.append(where)
        if not pieces:
            empty = Side(np.zeros(0, np.uint16), np.zeros(0, np.float32), np.zeros(1, np.int64))
            return empty, empty
        back = np.argsort(np.concatenate(order))
        return Side.cat([p[0] for p in pieces]).take(back), Side.cat([p[1] for p in pieces]).take(back)

    def _score(self, side1: Side, side2: Side, i: int, j: int) -> NDArray[np.float32]:
        """Score of expert (i, j) at every token of the sides."""
        column1 = side1.dense_column(i, self.heads, self.num_keys)
        return (column1 * side2.dense_column(j, self.heads, self.num_keys)).sum(1)
