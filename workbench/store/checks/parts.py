"""Checking tokens and documents of a part against the manifest, each other, and the text they came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ..priority import BITS, priority
from ..remote import Place, in_ranges
from ..rowfile import RowFile
from ..schema import DOCUMENTS, DOCUMENTS_OF_PROJECTS, TOKENS, part_name
from ..window_geometry import WindowGeometry
from .problem import expect
from .table import read

DOCUMENTS_AT_ONCE = 64  # tokenised together


@dataclass(frozen=True)
class Documents:
    """Those of a part, in order.

    Attributes:
        first, tokens: (documents,) the global row each begins at, and its rows.
        label: (documents,) number of its label.
        kept: (documents,) whether the run holds its routing.
        bos: (documents,) the start-of-text token, -1 where there was none.
        copied: (documents,) whether it nearly repeats an earlier one.
        control: (documents,) positions of its other control tokens, and these tokens.
        geometry: where its rows, positions and windows meet.
    """

    first: NDArray[np.int64]
    tokens: NDArray[np.int64]
    label: NDArray[np.int64]
    kept: NDArray[np.bool_]
    bos: NDArray[np.int64]
    copied: NDArray[np.bool_]
    control: list[tuple[NDArray[np.int64], NDArray[np.int64]]]
    geometry: WindowGeometry

    def __len__(self) -> int:
        return len(self.first)

    def of_rows(self, values: NDArray[Any]) -> NDArray[Any]:
        """A value of each document for each of its rows."""
        return np.repeat(values, self.tokens)


def check_documents(path: Place, manifest: dict[str, Any], part: dict[str, Any]) -> tuple[Documents, pa.ChunkedArray]:
    """The part's documents, and the text of each, None where the corpus gave ids alone.

    Raises Wrong where they are not what the manifest says.
    """

    settings, (begin, end) = manifest["settings"], part["documents"]
    name, schemas = part_name("documents", part["part"]), (DOCUMENTS, DOCUMENTS_OF_PROJECTS)
    optional = ("source", "score", "bos", "text", "project")
    table = read(path, name, schemas, rows=end - begin, optional=optional)
    doc, row, tokens, window, kept = (table[name].to_numpy() for name in ("doc", "row", "tokens", "window", "kept"))
    expect((doc == np.arange(begin, end)).all(), "its documents are not those of the manifest")
    expect((tokens >= 0).all(), "a document has a negative number of tokens")
    ends = part["rows"][0] + np.cumsum(tokens)
    expect(ends[-1] == part["rows"][1], "its documents do not have as many tokens as it has rows")
    expect((row == ends - tokens).all(), "its documents are not consecutive")
    last = part is manifest["parts"][-1]
    before = ends[-1] - tokens[-1] - part["rows"][0]
    wanted = settings["part_tokens"]
    expect(
        before < wanted and (last or ends[-1] - part["rows"][0] >= wanted), "it does not end after part_tokens tokens"
    )
    bos = table["bos"].fill_null(-1).to_numpy().astype(np.int64)
    known = bos[bos != -1]
    expect(((known >= 0) & (known < manifest["model"]["vocabulary"])).all(), "it has a bos beyond the vocabulary")
    expect((known == known[:1]).all(), "its start-of-text tokens differ")
    opens = (bos >= 0).astype(np.int64)
    control, lengths = _control(table["control"].combine_chunks())
    _check_control(control, tokens + opens + lengths, opens, manifest["model"]["vocabulary"])
    geometry = WindowGeometry(
        row,
        tokens,
        opens,
        settings["context"],
        part["windows"][0],
        settings["bos_in_windows"],
        settings["overlap"],
        np.repeat(np.arange(len(doc)), lengths),
        np.concatenate([at for at, _ in control]),
    )
    expect((window == geometry.window).all(), "its context windows are not consecutive")
    windows = geometry.window[-1] + geometry.window_counts[-1]
    expect(windows == part["windows"][1], "its number of context windows differs from the manifest's")
    asked = priority(doc) < settings["keep_routing"] * 2**BITS
    expect((kept == asked).all(), "the documents whose routing is kept are not those that keep_routing asks for")
    original = table["original"].to_numpy()
    expect(((original >= 0) & (original <= doc)).all(), "a document is said to copy a later one")
    label = _label_numbers(table["label"], manifest["labels"])
    expect((label >= 0).all(), "it has labels that the manifest does not have")
    return Documents(row, tokens, label, kept, bos, original != doc, control, geometry), table["text"]


def _control(column: pa.ListArray) -> tuple[list[tuple[NDArray[np.int64], NDArray[np.int64]]], NDArray[np.int64]]:
    """Positions and ids of the control tokens of each document, and how many there are."""
    lengths = column.value_lengths().to_numpy().astype(np.int64)
    at, token = (column.flatten().field(name).to_numpy().astype(np.int64) for name in ("position", "token"))
    ends = np.cumsum(lengths)[:-1]
    return list(zip(np.split(at, ends), np.split(token, ends), strict=True)), lengths


def _check_control(
    control: list[tuple[NDArray[np.int64], NDArray[np.int64]]],
    ids: NDArray[np.int64],
    opens: NDArray[np.int64],
    vocabulary: int,
) -> None:
    for (at, token), length, first in zip(control, ids, opens, strict=True):
        expect((np.diff(at) > 0).all(), "control tokens of a document are not in order")
        expect(((at >= first) & (at < length)).all(), "a control token is outside its document")
        expect(((token >= 0) & (token < vocabulary)).all(), "it has a control token beyond the vocabulary")


def check_tokens(
    path: Place,
    manifest: dict[str, Any],
    part: dict[str, Any],
    documents: Documents,
    text: pa.ChunkedArray,
    tokenizer: Any,
) -> None:
    """Raises Wrong where the part's tokens are not those of its documents."""
    begin, end = part["rows"]
    table = read(path, part_name("tokens", part["part"]), TOKENS, rows=end - begin, optional=("start", "end"))
    doc, position, token = (table[name].to_numpy() for name in ("doc", "position", "token"))
    numbers = np.arange(*part["documents"])
    expect((doc == documents.of_rows(numbers)).all(), "its rows belong to other documents")
    places = documents.geometry.places(np.arange(begin, end))[1]
    expect((position == places).all(), "positions do not count up within documents")
    vocabulary = manifest["model"]["vocabulary"]
    expect(((token >= 0) & (token < vocabulary)).all(), "it has token ids beyond the vocabulary")
    label = _label_numbers(table["label"], manifest["labels"])
    expect((label == documents.of_rows(documents.label)).all(), "labels differ from those of the documents")
    plain = np.flatnonzero((documents.bos < 0) & (documents.tokens > 0))
    opens = token[documents.first[plain] - begin]
    expect(not np.isin(opens, documents.bos[documents.bos >= 0]).any(), "a start-of-text token is counted as a token")
    if table["start"].null_count == table["end"].null_count == len(table):  # the corpus gave ids
        ids = int(documents.geometry.ids.sum())
        expect(not len(table) or part["size"] == ids, "its number of ids differs from the manifest's size")
    else:
        expect(not table["start"].null_count and not table["end"].null_count, "some rows have no offsets, others do")
        _check_text(documents, numbers, text, token, table, tokenizer, manifest["settings"]["control_in_text"])
        size = pc.sum(pc.utf8_length(text)).as_py()
        expect(part["size"] == size, "the length of its texts differs from the manifest's size")


def read_tokens(path: Place, part: dict[str, Any]) -> NDArray[np.int32]:
    """The token of each row of a part that was checked."""
    return RowFile(in_ranges(path, part_name("tokens", part["part"]))).read(columns=["token"])["token"].to_numpy()


def _label_numbers(column: pa.ChunkedArray, labels: list[str]) -> NDArray[np.int64]:
    """The number of each label, -1 for one that is not known."""
    number = {name: at for at, name in enumerate(labels)}
    pieces = [np.zeros(0, np.int64)]
    for chunk in column.chunks:
        known = np.array([number.get(name, -1) for name in chunk.dictionary.to_pylist()], np.int64)
        pieces.append(known[chunk.indices.to_numpy()])
    return np.concatenate(pieces)


def _check_text(
    documents: Documents,
    numbers: NDArray[np.int64],
    text: pa.ChunkedArray,
    token: NDArray[np.int32],
    table: pa.Table,
    tokenizer: Any,
    control_in_text: bool,
) -> None:
    """Reads every document's text again."""
    expect(tokenizer is not None, "it has offsets, and the run has no tokenizer")
    expect(not text.null_count, "it has offsets into documents that have no text")
    start, end = (table[name].to_numpy() for name in ("start", "end"))
    at = 0
    for begin in range(0, len(documents), DOCUMENTS_AT_ONCE):
        texts = text[begin : begin + DOCUMENTS_AT_ONCE].to_pylist()
        encoded = tokenizer(
            texts,
            return_offsets_mapping=True,
            return_attention_mask=False,
            verbose=False,
            split_special_tokens=not control_in_text,
        )
        for n, (read_ids, offsets) in enumerate(
            zip(encoded["input_ids"], encoded["offset_mapping"], strict=True), begin
        ):
            name, ids, opening = f"document {numbers[n]}", np.array(read_ids, np.int64), int(documents.bos[n] >= 0)
            expect(
                ids[:opening].tolist() == [documents.bos[n]] * opening,
                f"{name} has a start-of-text token it was not read with",
            )
            positions, control = documents.control[n]
            counted = np.ones(len(ids), bool)
            counted[:opening] = False
            expect(len(ids) == documents.geometry.ids[n], f"tokens of {name} are not those of its text")
            counted[positions] = False
            expect((ids[positions] == control).all(), f"control tokens of {name} are not those of its text")
            rows = slice(at, at + documents.tokens[n])
            at = rows.stop
            expect((token[rows] == ids[counted]).all(), f"tokens of {name} are not those of its text")
            spans = np.array(offsets, np.int64).reshape(-1, 2)[counted]
            there = np.stack([start[rows], end[rows]], 1)
            expect((there == spans).all(), f"offsets of {name} are not those of its tokens in its text")
