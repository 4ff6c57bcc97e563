"""The part of a run that says what the model read: documents, tokens, context windows, the tokenizer."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from ..errors import NotFoundError
from .runfiles import Rows, RunFiles
from .schema import DOCUMENTS, TOKENS, part_name
from .token_text import load_tokenizer, token_pieces
from .window_geometry import WindowGeometry

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class RunDocuments(RunFiles):
    """Reads the documents and tokens of a run."""

    @cached_property
    def documents(self) -> pd.DataFrame:
        """One row per document of the corpus, empty ones included, in order; everything but the text.

        Returns:
            DataFrame with columns

            - doc: number of the document, from 0
            - label: its label
            - source: where it is from, "" if the corpus does not say
            - score: the corpus's number for it, such as a toxicity; missing if it has none
            - row: its first token row
            - tokens: its number of token rows
            - window: its first context window
            - bos: id of the start-of-text token it was read with; missing where there was none
            - kept: whether the run holds the routing of its tokens

        Examples:
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> run.documents.columns.tolist()
            ['doc', 'label', 'source', 'score', 'row', 'tokens', 'window', 'bos', 'kept']
        """
        names = [name for name in DOCUMENTS.names if name != "text"]
        parts = [self._file(part_name("documents", part)).read(columns=names) for part in range(self._parts)]
        table = pa.concat_tables(parts).to_pandas()
        plain = {"label": table["label"].astype(str), "source": table["source"].fillna("")}
        return table.assign(**plain, bos=table["bos"].astype("Int32"))

    def text(self, doc: int) -> str | None:
        """Return the text of a document, exactly; None where the corpus gave token ids alone.

        Args:
            doc: number of the document.

        Raises:
            NotFoundError: the run has no such document.

        Examples:
            >>> from workbench import open_run
            >>> open_run("runs/demo").text(0).splitlines()[0]
            '# Symbolic constants for Tk'
        """
        for part in self.manifest["parts"]:
            first, end = part["documents"]
            if first <= doc < end:
                table, at = self._file(part_name("documents", part["part"])).rows(np.array([doc - first]), ["text"])
                text: str | None = table["text"][int(at[0])].as_py()
                return text
        raise self._no_document(doc)

    def _no_document(self, doc: int) -> NotFoundError:
        return NotFoundError(f"the run has no document {doc}; it has 0 to {len(self.documents) - 1}.")

    @cached_property
    def document_labels(self) -> NDArray[np.int64]:
        """(documents,) number of each document's label: its place in ``labels``.

        Examples:
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> run.labels[run.document_labels[0]]
            'python'
        """
        return pd.Categorical(self.documents["label"], categories=self.labels).codes.astype(np.int64)

    @cached_property
    def label_tokens(self) -> pd.Series:
        """Number of token rows per label; the index is the label.

        Examples:
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> int(run.label_tokens.sum()) == run.tokens_total
            True
        """
        return self.documents.groupby("label")["tokens"].sum().reindex(self.labels, fill_value=0)

    @cached_property
    def geometry(self) -> WindowGeometry:
        """Where token rows, documents, positions and context windows meet.

        Examples:
            >>> import numpy as np
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> doc, position = run.geometry.places(np.array([0]))
            >>> int(doc[0]), int(position[0])  # position 0 is the start-of-text token
            (0, 1)
        """
        return self.geometry_of(self.documents)

    def geometry_of(self, documents: pd.DataFrame) -> WindowGeometry:
        """Return the geometry of some rows of ``documents``, whose windows are numbered from 0.

        Examples:
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> run.geometry_of(run.documents[3:5]).window[0].item()
            0
        """
        row, tokens = (documents[name].to_numpy(np.int64) for name in ("row", "tokens"))
        bos = documents["bos"].notna().to_numpy(np.int64)
        return WindowGeometry(row, tokens, bos, int(self.manifest["settings"]["context"]))

    def tokens(self, rows: Rows = slice(None)) -> pd.DataFrame:
        """Return token rows.

        Args:
            rows: a slice or a list of token rows; all by default.

        Returns:
            DataFrame with one row per token row, in the order of ``rows``, and columns

            - doc: number of the document
            - position: position in the document; 0 is its start-of-text token, if it has one
            - token: token id
            - label: the document's label
            - start, end: character offsets into the document's text; missing where the corpus gave token ids
            - row: the token row

        Raises:
            NotFoundError: the run has no such row.

        Examples:
            >>> from workbench import open_run
            >>> open_run("runs/demo").tokens([0, 1])[["doc", "position", "start", "end"]].values.tolist()
            [[0, 1, 0, 1], [0, 2, 1, 3]]
        """
        wanted = self._rows(rows)
        table = self._token_columns(wanted, TOKENS.names).to_pandas()
        return table.assign(label=table["label"].astype(str), row=wanted)

    def input_ids(self, doc: int) -> NDArray[np.int64]:
        """Return the token ids of a document as the model read them, the start-of-text token included.

        The model reads them in windows of ``run.geometry.width`` ids, each on its own.

        Args:
            doc: number of the document.

        Raises:
            NotFoundError: the run has no such document.

        Examples:
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> len(run.input_ids(0)) - run.documents.loc[0, "tokens"].item()  # the start-of-text token
            1
        """
        if not 0 <= doc < len(self.documents):
            raise self._no_document(doc)
        row, bos = self.geometry.row[doc], self.documents["bos"].array[doc]
        ids = self._token_ids(np.arange(row, row + self.geometry.tokens[doc])).astype(np.int64)
        return ids if pd.isna(bos) else np.concatenate([[bos], ids])

    def tokenizer(self) -> PreTrainedTokenizerFast | None:
        """Return the run's copy of the tokenizer; None where it has none.

        Examples:
            >>> from workbench import open_run
            >>> tokenizer = open_run("runs/demo").tokenizer()
            >>> tokenizer.decode(tokenizer("return x")["input_ids"], skip_special_tokens=True)
            'return x'
        """
        return self._tokenizer

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerFast | None:
        if self.manifest["tokenizer"] is None:
            return None
        return load_tokenizer(self.path / "tokenizer")

    def token_text(self, tokens: NDArray[np.integer]) -> list[str]:
        """Return the text of each token id; its number, as #17, where the run has no tokenizer.

        Args:
            tokens: (n,) token ids.

        Examples:
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> run.token_text(run.input_ids(0)[1:4])
            ['#', ' S', 'y']
        """
        if self._tokenizer is None:
            return [f"#{token}" for token in tokens]
        texts: list[str] = self._pieces[tokens].tolist()
        return texts

    @cached_property
    def _pieces(self) -> NDArray[np.object_]:
        """The text of every token of the vocabulary."""
        assert self._tokenizer is not None
        return np.array(token_pieces(self._tokenizer, range(self.manifest["model"]["vocabulary"])), object)

    @property
    def _kept(self) -> NDArray[np.bool_]:
        """(documents,) whether the run holds the routing of each."""
        return self.documents["kept"].to_numpy(bool)

    def _labels_of(self, docs: NDArray[np.int64]) -> pd.Series:
        codes = pa.array(self.document_labels[docs])
        return pa.DictionaryArray.from_arrays(codes, pa.array(self.labels, pa.string())).dictionary_decode().to_pandas()
