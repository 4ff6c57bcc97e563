"""Reading an exported run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from ..errors import WorkbenchError
from .index import find_expert
from .manifest import read_manifest
from .routing import Side, from_arrow
from .rowfile import RowFile
from .schema import DOCUMENTS, TOKENS, group_name, index_name, part_name, routing_name
from .text import token_pieces

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from monet_model import Routing

OPEN_FILES = 256

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
        self._parts = len(manifest["parts"])
        self._file = lru_cache(maxsize=OPEN_FILES)(self._open)

    # tables

    @cached_property
    def documents(self) -> pd.DataFrame:
        """One row a document: doc, label, source ("" where it has none), score, row (its first token row), tokens (how
        many), window (its first context window), bos (the start-of-text token it was read with, if there was one)."""
        names = [name for name in DOCUMENTS.names if name != "text"]
        parts = [self._file(part_name("documents", part)).read(columns=names) for part in range(self._parts)]
        table = pa.concat_tables(parts).to_pandas()
        plain = {"label": table["label"].astype(str), "source": table["source"].fillna("")}
        return table.assign(**plain, bos=table["bos"].astype("Int32"))

    def text(self, doc: int) -> str | None:
        """The text of a document, exactly; None where the corpus gave ids alone."""
        for part in self.manifest["parts"]:
            first, end = part["documents"]
            if first <= doc < end:
                table, at = self._file(part_name("documents", part["part"])).rows(np.array([doc - first]), ["text"])
                return table["text"][int(at[0])].as_py()
        raise WorkbenchError(f"the run has no document {doc}; it has 0 to {len(self.documents) - 1}.")

    @cached_property
    def _document_columns(self) -> dict[str, NDArray]:
        """Columns of the documents as arrays, and ``bos`` as 1 where a document has a start-of-text token, else 0."""
        columns = {name: self.documents[name].to_numpy() for name in ("label", "source", "row", "tokens", "window")}
        return columns | {"bos": self.documents["bos"].notna().to_numpy(np.int64)}

    @cached_property
    def label_tokens(self) -> pd.Series:
        """Token rows of each label; the index is the label."""
        return self.documents.groupby("label")["tokens"].sum().reindex(self.labels, fill_value=0)

    def experts(self, group: int) -> pd.DataFrame:
        """Statistics of every expert seen; the index is ``expert``, ascending.

        Columns: tokens (active tokens), mass (sum of scores), mean (over active tokens), max, then tokens:{label} and
        mass:{label} for each label.
        """
        file = self._file(group_name("experts", self._group(group)))
        table = file.read(columns=[name for name in file.columns if name != "histogram"])
        return table.to_pandas().set_index("expert")

    def histogram(self, group: int, expert: int) -> pd.DataFrame:
        """Active tokens with low <= score < high: low, high, count; one bin an octave.

        The first bin begins at 0, and the last one holds its upper edge too.
        """
        table = self._of_expert("experts", group, expert, ["histogram"])
        edges = self.manifest["histogram"]
        counts = table["histogram"][0].as_py() if len(table) else [0] * (len(edges) - 1)
        return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "count": counts})

    def examples(self, group: int, expert: int, n: int) -> pd.DataFrame:
        """The ``n`` tokens that score highest, best first; at most as many as the run keeps.

        Columns: score, token, token_text, label, doc, position, window, source, row.
        """
        table = self._of_expert("examples", group, expert, ["score", "row", "token"])[:n]
        rows, token = table["row"].to_numpy(), table["token"].to_numpy()
        columns = self._document_columns
        doc = np.searchsorted(columns["row"], rows, side="right") - 1  # empty documents stand before
        position = rows - columns["row"][doc] + columns["bos"][doc]
        return pd.DataFrame(
            {
                "score": table["score"].to_numpy(),
                "token": token,
                "token_text": self.token_text(token),
                "label": columns["label"][doc],
                "doc": doc,
                "position": position,
                "window": columns["window"][doc] + position // self.manifest["settings"]["context"],
                "source": columns["source"][doc],
                "row": rows,
            }
        )

    def tokens(self, rows: Rows = slice(None)) -> pd.DataFrame:
        """Token rows: row, doc, position, token, label, start, end (character offsets; missing where ids were given).

        Raises:
            WorkbenchError: a row is not one of the run's.
        """
        wanted = self._rows(rows)
        table = self._token_columns(wanted, TOKENS.names).to_pandas()
        return table.assign(label=table["label"].astype(str), row=wanted)

    # routing

    def routing(self, tokens: Rows, group: int = 0) -> Routing:
        """The stored routing of token rows in a group. Indices are exact; probabilities were kept in half precision.

        Raises:
            WorkbenchError: a row or the group is not one of the run's.
        """
        import torch

        from monet_model.routing import Routing

        sides = self._sides(self._rows(tokens), self._group(group))
        arrays = (array for side in sides for array in side.padded(self.heads, self.num_keys))
        return Routing(*map(torch.from_numpy, arrays), num_keys=self.num_keys)  # type: ignore[misc, arg-type]

    def activations(self, group: int, expert: int) -> pd.DataFrame:
        """Every token where an expert is active, in order: row, doc, position, token, label, score.

        Which tokens they are is exact; scores come from the stored half precision.
        """
        i, j = self._keys(expert)
        self._group(group)
        rows, scores = [], []
        for part in range(self._parts):
            found, score = find_expert(self._file(index_name(part, group)), i, j, self.heads, self.num_keys)
            rows.append(found + self._part_rows[part])
            scores.append(score)
        row = np.concatenate(rows)
        table = self._token_columns(row, ["doc", "position", "token", "label"]).to_pandas()
        table = table.assign(label=table["label"].astype(str), score=np.concatenate(scores))
        table.insert(0, "row", row)
        return table

    def context(self, window: int, group: int, expert: int) -> pd.DataFrame:
        """The counted tokens of a context window: position, token, text, score (the expert's, 0 where not active).

        Scores come from the stored half precision.
        """
        i, j = self._keys(expert)
        rows, position = self._window_rows(window)
        score = self._score(*self._sides(rows, self._group(group)), i, j)
        token = self._token_columns(rows, ["token"])["token"].to_numpy()
        return pd.DataFrame({"position": position, "token": token, "text": self.token_text(token), "score": score})

    def input_ids(self, doc: int) -> NDArray[np.int64]:
        """The token ids of a document as the model read them, the start-of-text token included."""
        if not 0 <= doc < len(self.documents):
            raise WorkbenchError(f"the run has no document {doc}; it has 0 to {len(self.documents) - 1}.")
        document = self.documents.iloc[doc]
        ids = self.tokens(slice(document["row"], document["row"] + document["tokens"]))["token"].to_numpy(np.int64)
        return ids if pd.isna(document["bos"]) else np.concatenate([[document["bos"]], ids])

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
        return self._pieces[tokens].tolist()

    @cached_property
    def _pieces(self) -> NDArray[np.object_]:
        """The text of every token of the vocabulary."""
        assert self._tokenizer is not None
        return np.array(token_pieces(self._tokenizer, range(self.manifest["model"]["vocabulary"])), object)

    def analysis_path(self, name: str) -> Path:
        """Where an analysis of the run keeps ``name``."""
        return self.path / "analysis" / name

    # reading

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
        wanted = np.asarray(rows, np.int64)
        if len(wanted) and (wanted.min() < 0 or wanted.max() >= self.tokens_total):
            raise WorkbenchError(f"the run has no such token rows; they run from 0 to {self.tokens_total - 1}.")
        return wanted

    def _window_rows(self, window: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The token rows of a context window, and their positions in its document."""
        count = self.manifest["parts"][-1]["windows"][1]
        if not 0 <= window < count:
            raise WorkbenchError(f"the run has no context window {window}; it has 0 to {count - 1}.")
        columns, width = self._document_columns, self.manifest["settings"]["context"]
        doc = int(np.searchsorted(columns["window"], window, side="right")) - 1  # empty documents stand before
        bos = columns["bos"][doc]
        begin = (window - columns["window"][doc]) * width - bos
        place = np.arange(max(begin, 0), min(begin + width, columns["tokens"][doc]))
        return columns["row"][doc] + place, place + bos

    def _open(self, name: str) -> RowFile:
        return RowFile(self.path / name)

    def _by_part(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """Each part that holds some of the rows: its number, those rows within it, and where they stand in ``rows``."""
        parts = np.searchsorted(self._part_rows, rows, side="right") - 1
        for part in np.unique(parts):
            where = np.flatnonzero(parts == part)
            yield int(part), rows[where] - self._part_rows[part], where

    def _of_expert(self, folder: str, group: int, expert: int, columns: list[str]) -> pa.Table:
        self._keys(expert)
        return self._file(group_name(folder, self._group(group))).equal("expert", expert, columns)

    def _token_columns(self, rows: NDArray[np.int64], columns: list[str]) -> pa.Table:
        """Columns of token rows, in their order."""
        tables, order = [TOKENS.empty_table().select(columns)], [np.zeros(0, np.int64)]
        for part, local, where in self._by_part(rows):
            table, at = self._file(part_name("tokens", part)).rows(local, columns)
            tables.append(table.take(pa.array(at)))
            order.append(where)
        return pa.concat_tables(tables).take(pa.array(np.argsort(np.concatenate(order))))

    def _sides(self, rows: NDArray[np.int64], group: int) -> tuple[Side, Side]:
        """The stored routing of token rows, in their order."""
        pieces, order = [(Side.empty(), Side.empty())], [np.zeros(0, np.int64)]
        for part, local, where in self._by_part(rows):
            table, at = self._file(routing_name(part, group)).rows(local)
            side1, side2 = from_arrow(table)
            pieces.append((side1.take(at), side2.take(at)))
            order.append(where)
        back = np.argsort(np.concatenate(order))
        side1, side2 = (Side.cat(list(sides)) for sides in zip(*pieces, strict=True))
        return side1.take(back), side2.take(back)

    def _score(self, side1: Side, side2: Side, i: int, j: int) -> NDArray[np.float32]:
        """Score of expert (i, j) at every token of the sides."""
        column1 = side1.column(i, self.heads, self.num_keys)
        return (column1 * side2.column(j, self.heads, self.num_keys)).sum(1)
