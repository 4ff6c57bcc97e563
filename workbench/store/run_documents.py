"""The part of a run that says what the model read: documents, tokens, context windows, the tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from ..errors import NotFoundError
from .runfiles import Rows, RunFiles
from .schema import DOCUMENTS_OF_PROJECTS, TOKENS, part_name
from .token_text import MOST_SHARES, load_tokenizer, token_pieces, whole_characters
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
            - original: number of the first document that it is a near copy of; its own number if of none
            - project: what it is a part of, such as a code base, if the corpus says so; else ""

        Examples:
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> run.documents.columns.tolist()
            ['doc', 'label', 'source', 'score', 'row', 'tokens', 'window', 'bos', 'kept', 'original', 'project']
        """
        files = [self._file(part_name("documents", part)) for part in range(self._parts)]
        names = [name for name in DOCUMENTS_OF_PROJECTS.names if name not in ("text", "control")]
        parts = [file.read(columns=[name for name in names if name in file.columns]) for file in files]
        table = pa.concat_tables(parts, promote_options="default").to_pandas()
        project = table["project"].fillna("") if "project" in table else ""
        plain = {"label": table["label"].astype(str), "source": table["source"].fillna("")}
        return table.assign(**plain, bos=table["bos"].astype("Int32"), project=project)

    @cached_property
    def control_tokens(self) -> pd.DataFrame:
        """Control tokens inside documents, such as an end-of-text token between packed texts; they are no token rows.

        Returns:
            DataFrame with one row per control token at another position than 0, in order, and columns doc, position
            and token.

        Examples:
            >>> from workbench import open_run
            >>> len(open_run("runs/demo").control_tokens)
            0
        """
        found = [np.zeros((0, 3), np.int64)]
        for part in range(self._parts):
            column = self._file(part_name("documents", part)).read(columns=["control"])["control"].combine_chunks()
            first = self.manifest["parts"][part]["documents"][0]
            inner = column.flatten()
            doc = first + np.repeat(np.arange(len(column)), column.value_lengths().to_numpy())
            position, token = (inner.field(name).to_numpy() for name in ("position", "token"))
            found.append(np.stack([doc, position, token], 1).astype(np.int64))
        return pd.DataFrame(np.concatenate(found), columns=["doc", "position", "token"])

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

    def check_document(self, doc: int) -> int:
        """Return the number of a document of the run.

        Raises:
            NotFoundError: the run has no such document.

        Examples:
            >>> from workbench import open_run
            >>> open_run("runs/demo").check_document(3)
            3
        """
        if not 0 <= doc < len(self.documents):
            raise self._no_document(doc)
        return doc

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
        control = self.control_tokens
        control = control[control["doc"].isin(documents["doc"])]
        number = np.searchsorted(documents["doc"].to_numpy(), control["doc"].to_numpy())
        return WindowGeometry(
            row,
            tokens,
            bos,
            width=int(self.manifest["settings"]["context"]),
            bos_in_windows=bool(self.manifest["settings"]["bos_in_windows"]),
            overlap=int(self.manifest["settings"]["overlap"]),
            control_doc=number,
            control_position=control["position"].to_numpy(),
        )

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

    @cached_property
    def token_column(self) -> NDArray[np.int32]:
        """(token rows,) token id of every token row: read once, 4 bytes each.

        Examples:
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> run.token_text(run.token_column[:3])
            ['#', ' S', 'y']
        """
        files = (self._file(part_name("tokens", part)) for part in range(self._parts))
        return np.concatenate([file.read(columns=["token"])["token"].to_numpy() for file in files]).astype(np.int32)

    def texts(self) -> Iterator[tuple[int, pa.Array]]:
        """Return the texts of all documents in order, a few hundred at a time.

        Yields:
            Number of the first document, and an Arrow array of the texts from there; null where the corpus gave token
            ids alone.

        Examples:
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> sum(len(texts) for _, texts in run.texts()) == len(run.documents)
            True
        """
        for part in self.manifest["parts"]:
            file, first = self._file(part_name("documents", part["part"])), part["documents"][0]
            for group in range(file.groups):
                column = file.read(np.array([group]), ["text"])["text"].combine_chunks()
                yield first, column
                first += len(column)

    @cached_property
    def token_counts(self) -> NDArray[np.int64]:
        """(vocabulary,) how often each token id is in the corpus.

        Examples:
            >>> from workbench import open_run
            >>> run = open_run("runs/demo")
            >>> int(run.token_counts.sum()) == run.tokens_total
            True
        """
        return np.bincount(self.token_column, minlength=int(self.manifest["model"]["vocabulary"]))

    def input_ids(self, doc: int) -> NDArray[np.int64]:
        """Return the token ids of a document, the start-of-text token and other control tokens included.

        The model reads them in windows, each on its own: see ``windows_of``.

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
        self.check_document(doc)
        row, bos = self.geometry.row[doc], self.documents["bos"].array[doc]
        ids = self._token_ids(np.arange(row, row + self.geometry.tokens[doc])).astype(np.int64)
        if not pd.isna(bos):
            ids = np.concatenate([[bos], ids])
        at, tokens = self._control_in(doc)
        return np.insert(ids, at - np.arange(len(at)), tokens)

    def _control_in(self, doc: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions and ids of the control tokens of a document, other than at position 0."""
        table = self.control_tokens
        rows = slice(*np.searchsorted(table["doc"].to_numpy(), [doc, doc + 1]))
        return table["position"].to_numpy()[rows], table["token"].to_numpy()[rows]

    def windows_of(self, doc: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Return the context windows of a document as the model reads them.

        Args:
            doc: number of the document.

        Returns:
            For each window, its token ids and their token rows. A later window begins with the document's start-of-text
            token, if it has one, and the end of the window before; rows are -1 there, and for control tokens.

        Raises:
            NotFoundError: the run has no such document.

        Examples:
            >>> from workbench import open_run
            >>> ids, rows = open_run("runs/demo").windows_of(0)[0]
            >>> rows[:3].tolist()
            [-1, 0, 1]
        """
        ids, geometry = self.input_ids(doc), self.geometry
        bos = int(geometry.bos[doc])
        counted = np.ones(len(ids), bool)
        counted[:bos] = counted[self._control_in(doc)[0]] = False
        rows = np.where(counted, geometry.row[doc] + np.cumsum(counted) - 1, -1)
        opening, overlap = bos if geometry.bos_in_windows else 0, geometry.overlap
        windows = [(ids[: geometry.width], rows[: geometry.width])] if len(ids) else []
        for at in range(geometry.width, len(ids), geometry.width - opening - overlap):
            end = at + geometry.width - opening - overlap
            again = np.full(opening + overlap, -1)
            windows.append(
                (
                    np.concatenate([ids[:opening], ids[at - overlap : end]]),
                    np.concatenate([again, rows[at:end]]),
                )
            )
        return windows

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

    def row_text(self, rows: Rows) -> list[str]:
        """Return the text of token rows, each character whole.

        Where a character is split over several tokens, each shows it and its share, as ‹€ 2/3›; ``token_text``, which
        sees one token at a time, shows its bytes, as ‹82›.

        Args:
            rows: a slice or a list of token rows.

        Raises:
            NotFoundError: the run has no such row.

        Examples:
            >>> from workbench import open_run
            >>> open_run("runs/demo").row_text([0, 1, 2])
            ['#', ' S', 'y']
        """
        wanted = self._rows(rows)
        return self._row_text(wanted, self._token_ids(wanted))

    def _row_text(self, wanted: NDArray[np.int64], tokens: NDArray[np.int32]) -> list[str]:
        """``row_text`` of token rows whose token ids are known."""
        texts = self.token_text(tokens)
        split = np.flatnonzero(["‹" in text for text in texts])
        if not len(split):
            return texts
        # The other tokens of a character are at most three away.
        near = np.unique(wanted[split][:, None] + np.arange(1 - MOST_SHARES, MOST_SHARES))
        near = near[(near >= 0) & (near < self.tokens_total)]
        docs = self.geometry.places(near)[0]
        breaks = np.flatnonzero((np.diff(near) > 1) | (np.diff(docs) > 0)) + 1
        pieces = np.array(self.token_text(self._token_ids(near)), object)
        whole = [text for stretch in np.split(pieces, breaks) for text in whole_characters(stretch.tolist())]
        for at in split:
            texts[at] = whole[int(np.searchsorted(near, wanted[at]))]
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
