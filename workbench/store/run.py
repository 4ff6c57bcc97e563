"""Reading an exported run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from typing_extensions import deprecated

from ..errors import WorkbenchError
from .index import find_expert
from .manifest import read_manifest
from .pairs import expand, neighbours
from .ranking import best_experts
from .remote import Place, place
from .runfiles import Rows, RunFiles, count
from .schema import DOCUMENTS, TOKENS, group_name, index_name, part_name
from .text import load_tokenizer, token_pieces
from .window_geometry import WindowGeometry

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from cuda_ext.routing import Routing


def open_run(path: str | Path) -> Run:
    """Open the complete run at ``path``, a folder or a URL of fsspec; nothing big is read yet.

    Raises:
        WorkbenchError: there is no run, it is half-written, damaged, or of another schema version.
    """
    where = place(path)
    manifest = read_manifest(where)
    if manifest["state"] != "complete":
        raise WorkbenchError(f"the run {where} is half-written; continue its export with --resume.")
    return Run(where, manifest)


class Run(RunFiles):
    """An exported run. Methods read from disk what they are asked for; safe to share between threads.

    A token row is the global number of a counted token, in corpus order: start-of-text tokens and padding have none.

    Attributes:
        model_path: folder or hub name of the model that made it.
        path, manifest, labels, groups, group_layers, num_keys, heads, tokens_total: see :class:`RunFiles`.
    """

    def __init__(self, path: Place, manifest: dict[str, Any]) -> None:
        super().__init__(path, manifest)
        self.model_path: str = manifest["model"]["path"]

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
    def document_labels(self) -> NDArray[np.int64]:
        """(documents,) number of each document's label: its place in :attr:`labels`."""
        return pd.Categorical(self.documents["label"], categories=self.labels).codes.astype(np.int64)

    @cached_property
    def geometry(self) -> WindowGeometry:
        """Where the run's token rows, documents, positions and context windows meet."""
        return self.geometry_of(self.documents)

    def geometry_of(self, documents: pd.DataFrame) -> WindowGeometry:
        """The same for some of the documents."""
        row, tokens = (documents[name].to_numpy(np.int64) for name in ("row", "tokens"))
        bos = documents["bos"].notna().to_numpy(np.int64)
        return WindowGeometry(row, tokens, bos, int(self.manifest["settings"]["context"]))

    @cached_property
    def label_tokens(self) -> pd.Series:
        """Token rows of each label; the index is the label."""
        return self.documents.groupby("label")["tokens"].sum().reindex(self.labels, fill_value=0)

    def experts(self, group: int) -> pd.DataFrame:
        """Statistics of every expert seen; the index is ``expert``, ascending.

        Columns: tokens (active tokens), mass (sum of scores), mean (over active tokens), max, then tokens:{label} and
        mass:{label} for each label.
        """
        file = self._file(group_name("experts", self.check_group(group)))
        table = file.read(columns=[name for name in file.columns if name != "histogram"])
        return table.to_pandas().set_index("expert")

    def expert(self, group: int, expert: int) -> pd.Series:
        """One row of :meth:`experts`, read without the others; 0 in all but ``mean``, which is missing, where the
        expert was never active."""
        file = self._file(group_name("experts", self.check_group(group)))
        columns = [name for name in file.columns if name not in ("expert", "histogram")]
        table = self._of_expert("experts", group, expert, columns)
        row = {name: table[name][0].as_py() if len(table) else 0 for name in columns}
        return pd.Series(row if len(table) else row | {"mean": np.nan}, name=index(expert))

    def top_experts(
        self,
        group: int,
        by: str = "mass",
        *,
        where: Mapping[str, tuple[float | None, float | None]] | None = None,
        ascending: bool = False,
        offset: int = 0,
        limit: int = 50,
    ) -> pd.DataFrame:
        """A page of :meth:`experts` in the order of one column, equal values by id; only what it needs is read.

        Args:
            group: the group.
            by: the column that orders, or ``expert``.
            where: least and greatest value of columns, both included, None for no bound.
            ascending: the lowest first.
            offset, limit: experts passed over, and shown.

        Raises:
            WorkbenchError: there is no such column, or ``offset`` or ``limit`` is negative.
        """
        file = self._file(group_name("experts", self.check_group(group)))
        return best_experts(file, by, dict(where or {}), ascending, count("offset", offset), count("limit", limit))

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
        table = self._of_expert("examples", group, expert, ["score", "row", "token"])[: count("n", n)]
        return self._described(table)

    def quantile_examples(self, group: int, expert: int) -> pd.DataFrame:
        """A few tokens from each octave of an expert's scores, highest octave first: what it does when it is not at its
        best. At most three an octave; which ones is a fixed choice among its active tokens that looks random.

        Columns: low, high, count (of active tokens with low <= score < high, exact, as :meth:`histogram` gives them),
        then those of :meth:`examples`.
        """
        table = self._of_expert("intervals", group, expert, ["bin", "score", "row", "token"])
        found = self._described(table)
        place = table["bin"].to_numpy()
        intervals = self.histogram(group, expert).iloc[place].reset_index(drop=True)
        return pd.concat([intervals, found], axis=1).iloc[np.argsort(-place, kind="stable")].reset_index(drop=True)

    def _described(self, table: pa.Table) -> pd.DataFrame:
        """Columns of :meth:`examples` for scores, rows and tokens."""
        rows, token = table["row"].to_numpy(), table["token"].to_numpy()
        doc, position = self.geometry.places(rows)
        return pd.DataFrame(
            {
                "score": table["score"].to_numpy(),
                "token": token,
                "token_text": self.token_text(token),
                "label": self._labels_of(doc),
                "doc": doc,
                "position": position,
                "window": self.geometry.windows(doc, position)[0],
                "source": self.documents["source"].to_numpy()[doc],
                "row": rows,
            }
        )

    def neighbours(self, group: int, expert: int, n: int = 10) -> pd.DataFrame:
        """The ``n`` experts that are active with this one on its examples, the most alike first.

        Exact over the examples that the run keeps of the expert (its best tokens, few of one document) and holds the
        routing of, from the stored half precision; it says nothing of other tokens.

        Columns: expert; similarity, the cosine of both experts' scores over those tokens; shared, the tokens where both
        are active; key, the key set whose key they have in common (1 or 2), or 0.
        """
        rows = np.sort(self._of_expert("examples", group, expert, ["row"])["row"].to_numpy())
        pairs = expand(*self.sides(rows, group), self.heads, self.num_keys)
        return neighbours(pairs, index(expert), self.num_keys, count("n", n))

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
            WorkbenchError: a row or the group is not one of the run's, or the row's document is not among those whose
                routing the run holds: see ``kept`` in :attr:`documents`.
        """
        docs = self.geometry.places(self._rows(tokens))[0]
        if len(missing := docs[~self._kept[docs]]):
            share = self.manifest["settings"]["keep_routing"]
            raise WorkbenchError(
                f"the run {self.path} does not hold the routing of document {missing[0]}: it was exported with "
                f"--keep-routing {share:g}. Export with --keep-routing all for this."
            )
        return self.kept_routing(tokens, group)

    def kept_routing(self, tokens: Rows, group: int = 0) -> Routing:
        """As :meth:`routing`, but a token whose routing the run does not hold has no active key."""
        import torch

        from cuda_ext.routing import Routing

        sides = self.sides(tokens, group)
        arrays = (array for side in sides for array in side.padded(self.heads, self.num_keys))
        return Routing(*map(torch.from_numpy, arrays), num_keys=self.num_keys)  # type: ignore[misc, arg-type]

    def activations(self, group: int, expert: int) -> pd.DataFrame:
        """Every token where an expert is active, in order: row, doc, position, token, label, score.

        Which tokens they are is exact; scores come from the stored half precision. A run that holds the routing of some
        documents alone gives those of them.
        """
        i, j = self._keys(expert)
        self.check_group(group)
        rows, scores = [], []
        for part in range(self._parts):
            found, score = find_expert(self._file(index_name(part, group)), i, j, self.heads, self.num_keys)
            rows.append(found + self._part_rows[part])
            scores.append(score)
        row = np.concatenate(rows)
        doc, position = self.geometry.places(row)
        return pd.DataFrame(
            {
                "row": row,
                "doc": doc,
                "position": position.astype(np.int32),
                "token": self._token_ids(row),
                "label": self._labels_of(doc),
                "score": np.concatenate(scores),
            }
        )

    def contexts(self, group: int, expert: int, rows: Rows, before: int = 28, after: int = 14) -> pd.DataFrame:
        """The tokens around some token rows, no further than their context windows go, read together.

        Columns: example (which of ``rows``, from 0), row, position, token, text, score (the expert's, 0 where not
        active), and left and right: how many tokens the window counts on either side of this one.

        Scores come from the stored half precision, and are missing in a document whose routing the run does not hold.
        """
        i, j = self._keys(expert)
        at = self._rows(rows)
        doc, position = self.geometry.places(at)
        start, end = self.geometry.bounds(doc, position)
        first = np.maximum(position - count("before", before), start)
        counts = np.minimum(position + count("after", after) + 1, end) - first
        example = np.repeat(np.arange(len(at)), counts)
        place = np.arange(len(example)) - np.repeat(np.cumsum(counts) - counts - first, counts)
        wanted, back = np.unique(place + (at - position)[example], return_inverse=True)
        score = self._score(wanted, self.check_group(group), i, j)[back]
        token = self._token_ids(wanted)[back]
        return pd.DataFrame(
            {
                "example": example,
                "row": wanted[back],
                "position": place,
                "token": token,
                "text": self.token_text(token),
                "score": score,
                "left": place - start[example],
                "right": end[example] - 1 - place,
            }
        )

    def context(self, window: int, group: int, expert: int) -> pd.DataFrame:
        """The counted tokens of a context window: position, token, text, score (the expert's, 0 where not active).

        Scores come from the stored half precision, and are missing in a document whose routing the run does not hold.
        """
        i, j = self._keys(expert)
        rows, position = self._window_rows(window)
        score = self._score(rows, self.check_group(group), i, j)
        token = self._token_ids(rows)
        return pd.DataFrame({"position": position, "token": token, "text": self.token_text(token), "score": score})

    def input_ids(self, doc: int) -> NDArray[np.int64]:
        """The token ids of a document as the model read them, the start-of-text token included."""
        if not 0 <= doc < len(self.documents):
            raise WorkbenchError(f"the run has no document {doc}; it has 0 to {len(self.documents) - 1}.")
        row, bos = self.geometry.row[doc], self.documents["bos"].array[doc]
        ids = self._token_ids(np.arange(row, row + self.geometry.tokens[doc])).astype(np.int64)
        return ids if pd.isna(bos) else np.concatenate([[bos], ids])

    # deprecated

    @deprecated("Use workbench.interop.write_delphi(run, path, group, experts, splits).")
    def to_safetensors_coo(
        self, path: str | Path, group: int, experts: Sequence[int] | None = None, splits: int = 5
    ) -> Path:
        """Write activations as a latent cache of EleutherAI's Delphi: see :func:`workbench.interop.write_delphi`."""
        from ..interop import write_delphi

        return write_delphi(self, path, group, experts, splits)

    @deprecated("Use workbench.interop.write_neuronpedia(run, path, group, experts).")
    def to_neuronpedia(self, path: str | Path, group: int, experts: Sequence[int]) -> Path:
        """Write experts as features for Neuronpedia: see :func:`workbench.interop.write_neuronpedia`."""
        from ..interop import write_neuronpedia

        return write_neuronpedia(self, path, group, experts)

    # tokenizer and analysis

    def tokenizer(self) -> PreTrainedTokenizerFast | None:
        """The run's copy of the tokenizer, or None where the corpus came as ids and the model had none."""
        return self._tokenizer

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerFast | None:
        if self.manifest["tokenizer"] is None:
            return None
        return load_tokenizer(self.path / "tokenizer")

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
        """Where an analysis of the run keeps ``name``; what is written there goes to where the run is."""
        return self.path / f"analysis/{name}"

    # reading

    def _window_rows(self, window: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The token rows of a context window, and their positions in its document."""
        count = self.manifest["parts"][-1]["windows"][1]
        if not 0 <= window < count:
            raise WorkbenchError(f"the run has no context window {window}; it has 0 to {count - 1}.")
        return self.geometry.window_rows(window)

    @property
    def _kept(self) -> NDArray[np.bool_]:
        """(documents,) whether the run holds the routing of each."""
        return self.documents["kept"].to_numpy(bool)

    def _labels_of(self, docs: NDArray[np.int64]) -> pd.Series:
        codes = pa.array(self.document_labels[docs])
        return pa.DictionaryArray.from_arrays(codes, pa.array(self.labels, pa.string())).dictionary_decode().to_pandas()

    def _score(self, rows: NDArray[np.int64], group: int, i: int, j: int) -> NDArray[np.float32]:
        """Score of expert (i, j) at token rows; missing where the run does not hold their routing."""
        columns = [
            side.column(key, self.heads, self.num_keys)
            for side, key in zip(self.sides(rows, group), (i, j), strict=True)
        ]
        score = (columns[0] * columns[1]).sum(1)
        score[~self._kept[self.geometry.places(rows)[0]]] = np.nan
        return score
