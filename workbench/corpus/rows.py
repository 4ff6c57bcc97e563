"""Checking the rows of a corpus: each has a label, a text or token ids, and perhaps a score and a source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import BadInputError
from .blocks import Block, Number, not_utf8
from .spool import field
from .toxicity import published_reader
from .values import column, json_text, label_text, label_values, score_value, token_ids, type_name

Columns = dict[str, list[Any] | pa.Array]


class Checker:
    """Turns blocks into tables with string ``label``, ``text`` or ``input_ids``, and perhaps ``score`` and ``source``.

    Args:
        spec: the corpus, for messages.
        renamed: column of the files -> the one that it stands for: text, label or score.
        limit: documents of each label, the first ones.
        errors: what to do with rows that are not UTF-8: strict, replace, ignore or skip.

    Attributes:
        skipped: reason -> documents left out.
        labels: label -> documents kept.
        features: what `datasets` knows of the columns, of the first file that says so.
    """

    def __init__(self, spec: str | Path, renamed: Mapping[str, str], limit: int | None, errors: str) -> None:
        self.spec, self.renamed, self.limit, self.errors = spec, dict(renamed), limit, errors
        self.skipped: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.features: dict[str, Any] = {}
        self._rows = self._before = 0  # rows read, and those before the present file
        self._content: str | None = None
        self._label_type: tuple[str, str] | None = None  # and where it was seen first
        self._published: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
        self._first = True  # block of the file

    def begin(self) -> None:
        """Say that the next block is the first of a file."""
        self._before, self._first = self._rows, True

    def check(self, block: Block) -> pa.Table | None:
        """Return the rows of a block that are documents, or None if none is.

        Raises:
            BadInputError: a column is missing, or a value cannot be used.
        """
        self._rows = self._before + block.end
        self._skip("undecodable", block.undecodable)
        if not len(block.rows):
            return None
        columns = self._columns(block)
        self._first = False
        content = "input_ids" if "input_ids" in columns else "text"
        keep = [True] * len(block.rows)
        made: dict[str, tuple[pa.Array, bool]] = {}
        for name, values in columns.items():
            if isinstance(values, pa.Array) and name in ("text", "label") and _binary(values.type):
                columns[name] = values = values.cast(pa.string(), safe=False)
            if isinstance(values, pa.Array) and _textual(values.type):
                columns[name] = self._utf8(name, values, block, keep)
        if "text" in columns:
            made["text"] = self._texts(columns["text"], block), False
        if "input_ids" in columns:
            made["input_ids"] = self._token_ids(columns["input_ids"], block), False
        self._filled(made[content][0], keep)
        labels = self._labelled(columns["label"], block, keep)
        made["label"] = pa.array(labels, pa.string()), False
        if "score" in columns:
            made["score"] = self._scores(columns["score"], block, keep), False
        self._limited(labels, keep)
        for name, values in columns.items():
            if name not in made:
                made[name] = _other(name, values)
        if not any(keep):
            return None
        table = pa.Table.from_arrays(
            [made[name][0] for name in columns],
            schema=pa.schema([field(name, made[name][0].type, made[name][1]) for name in columns]),
        )
        return table if all(keep) else table.filter(pa.array(keep))

    def finish(self) -> None:
        """Refuse a corpus without documents.

        Raises:
            BadInputError: it is empty, or has neither text nor token ids.
        """
        if not self._rows:
            raise BadInputError(f"the corpus {self.spec} is empty.")
        if not self.labels:
            left_out = ", ".join(f"{count:,} {reason}" for reason, count in self.skipped.items())
            raise BadInputError(f"the corpus {self.spec} holds no text: all its documents were left out ({left_out}).")

    def _skip(self, reason: str, count: int = 1) -> None:
        if count:
            self.skipped[reason] += count

    def _row(self, block: Block, i: int) -> str:
        """Where a row is, for messages."""
        return f"row {self._before + block.rows[i]} of the corpus {self.spec}{self._place(block, i)}"

    def _place(self, block: Block, i: int) -> str:
        place = block.place(i)
        return "" if not self._before and place.startswith("row ") else f" ({place})"  # it may say nothing more

    def _columns(self, block: Block) -> Columns:
        """The columns by the names that they stand for."""
        columns = dict(block.columns)
        there = ", ".join(columns) or "none"
        for given, wanted in self.renamed.items():
            if given not in columns:
                if not self._first:  # JSON that lacks it in some rows
                    columns[given] = [None] * len(block.rows)
                else:
                    raise BadInputError(f"the corpus {self.spec} has no column {given!r}; it has {there}.")
            if given == wanted:
                continue
            if wanted in columns:
                if f"{wanted}_original" in columns:
                    raise BadInputError(
                        f"the corpus {self.spec} has {wanted} and {wanted}_original beside {given!r}; rename one."
                    )
                columns = {f"{wanted}_original" if name == wanted else name: v for name, v in columns.items()}
            columns = {wanted if name == given else name: values for name, values in columns.items()}
        columns = self._as_published(columns, block)
        if self._first:
            named = {self.renamed.get(name, name): feature for name, feature in block.features.items()}
            self.features = {**named, **self.features}
            self._need(columns, there, block)
        columns.setdefault("label", [None] * len(block.rows))
        if "text" not in columns and "input_ids" not in columns:
            columns[self._content or "text"] = [None] * len(block.rows)
        return columns

    def _need(self, columns: Columns, there: str, block: Block) -> None:
        whose = f"the corpus {self.spec}"
        if self._before:  # other files have it
            whose = f"{block.place(0).rpartition(' of ')[2]} of {whose}"
        if "label" not in columns:
            raise BadInputError(
                f"{whose} has no column `label` (it has {there}); name the one that holds each text's "
                "class with --label-column NAME."
            )
        if "text" not in columns and "input_ids" not in columns:
            raise BadInputError(
                f"{whose} has neither `text` nor `input_ids` (it has {there}); name the column of texts "
                "with --text-column NAME."
            )
        content = "input_ids" if "input_ids" in columns else "text"
        if self._content not in (None, content):
            raise BadInputError(
                f"some files of the corpus {self.spec} have input_ids and others only text; split them."
            )
        self._content = content

    def _as_published(self, columns: Columns, block: Block) -> Columns:
        if self._first:
            whole = "label" not in self.renamed.values() and "text" not in self.renamed.values()

            def first(name: str) -> Any:
                value = columns[name][0]
                return value.as_py() if isinstance(value, pa.Scalar) else value

            self._published = published_reader(columns, first) if whole else None
        if self._published is None:
            return columns
        lists = {n: v.to_pylist() if isinstance(v, pa.Array) else v for n, v in columns.items()}
        rows = [self._published(_Row(zip(lists, row, strict=True))) for row in zip(*lists.values(), strict=True)]
        return {name: [row[name] for row in rows] for name in ("text", "label", "score", "source")}

    def _utf8(self, name: str, values: pa.Array, block: Block, keep: list[bool]) -> pa.Array:
        """Strings that are UTF-8, which Arrow does not check when it reads them."""
        try:
            values.validate(full=True)
            return values
        except pa.ArrowInvalid:
            raw = values.cast(pa.large_binary() if pa.types.is_large_string(values.type) else pa.binary()).to_pylist()
        texts: list[str | None] = []
        for i, one in enumerate(raw):
            try:
                texts.append(None if one is None else one.decode("utf-8"))
            except UnicodeDecodeError as error:
                if self.errors == "strict":
                    raise not_utf8(f"the {name} of {self._row(block, i)}") from error
                if self.errors == "skip":
                    self._skip("undecodable", int(keep[i]))
                    keep[i] = False
                texts.append(one.decode("utf-8", "replace" if self.errors == "skip" else self.errors))
        return pa.array(texts, values.type)

    def _filled(self, content: pa.Array, keep: list[bool]) -> None:
        """Leave out the documents whose text or token ids are empty."""
        lengths = pc.list_value_length(content) if pa.types.is_list(content.type) else pc.binary_length(content)
        for i, length in enumerate(lengths.to_pylist()):
            if not length and keep[i]:
                keep[i] = False
                self._skip("no text" if length is None else "empty")

    def _texts(self, values: Any, block: Block) -> pa.Array:
        if isinstance(values, pa.Array):
            if _textual(values.type) or pa.types.is_null(values.type):
                return values.cast(pa.string())
            raise BadInputError(
                f"{self._row(block, 0)} has a text of type {values.type}, not a "
                "string; write texts as strings, or token ids as input_ids."
            )
        for i, value in enumerate(values):
            if value is not None and type(value) is not str:
                raise BadInputError(
                    f"the text of {self._row(block, i)} is {type_name(value)}, not a string; write it in quotes."
                )
        return pa.array(values, pa.string())

    def _token_ids(self, values: Any, block: Block) -> pa.Array:
        kind = pa.list_(pa.int64())
        if isinstance(values, pa.Array):
            if pa.types.is_null(values.type):
                return values.cast(kind)
            listed = pa.types.is_list(values.type) or pa.types.is_large_list(values.type)
            listed = listed or pa.types.is_fixed_size_list(values.type)
            if not listed or not pa.types.is_integer(values.type.value_type) or values.flatten().null_count:
                raise BadInputError(
                    f"the input_ids of {self._row(block, 0)} are {values.type}, not lists of whole numbers."
                )
            return values.cast(kind)
        ids: list[list[int] | None] = []
        try:
            ids.extend(token_ids(values))
        except ValueError:
            i = len(ids)
            raise BadInputError(f"the input_ids of {self._row(block, i)} are not a list of whole numbers.") from None
        return pa.array(ids, kind)

    def _labelled(self, values: Any, block: Block, keep: list[bool]) -> list[str | None]:
        """The labels as they are written; each document kept has one."""
        names: list[str] | None = None
        if isinstance(values, pa.Array):
            given = next((old for old, new in self.renamed.items() if new == "label"), "label")
            names = getattr(block.features.get(given), "names", None) if pa.types.is_integer(values.type) else None
            values = label_values(values)
        labels = list(map(label_text, values))
        for i, value in enumerate(values):
            if not keep[i]:
                continue
            if names is not None and value is not None:
                if not -1 <= value < max(len(names), 1) and names:
                    raise BadInputError(
                        f"{self._row(block, i)} has the label {value}, and its {len(names)} classes count from 0."
                    )
                labels[i] = None if value == -1 else names[value] if names else str(value)
            if labels[i] is None:
                raise BadInputError(
                    f"row {self._before + block.rows[i]} of the corpus {self.spec} has no label"
                    f"{self._place(block, i)}; give it one, or remove it."
                )
            if not block.cells and names is None:
                self._same_type(type_name(value), block, i)
        return labels

    def _same_type(self, kind: str, block: Block, i: int) -> None:
        if kind in ("a list", "an object"):
            raise BadInputError(f"the label of {self._row(block, i)} is {kind}; a document has one label, a string.")
        if self._label_type is None:
            self._label_type = kind, self._row(block, i)
        elif self._label_type[0] != kind:
            first, place = self._label_type
            raise BadInputError(
                f"the label of {place} is {first} and that of {self._row(block, i)} {kind}; write "
                "all labels as strings."
            )

    def _scores(self, values: Any, block: Block, keep: list[bool]) -> pa.Array:
        listed = values.to_pylist() if isinstance(values, pa.Array) else values
        scores: list[float | None] = []
        for i, value in enumerate(listed):
            try:
                scores.append(score_value(value, block.cells) if keep[i] else None)
            except ValueError as error:
                raise BadInputError(
                    f"{self._row(block, i)} has a score that is {error}; write a number, or nothing."
                ) from None
        return pa.array(scores, pa.float64())

    def _limited(self, labels: list[str | None], keep: list[bool]) -> None:
        for i, label in enumerate(labels):
            if keep[i] and label is not None:
                if self.limit is not None and self.labels[label] >= self.limit:
                    keep[i] = False
                    self._skip("beyond the limit")
                else:
                    self.labels[label] += 1


class _Row(dict[str, Any]):
    """A row in which a column that JSON leaves out is null."""

    def __missing__(self, key: str) -> None:
        return None


def _textual(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _other(name: str, values: list[Any] | pa.Array) -> tuple[pa.Array, bool]:
    if name not in ("source", "project"):
        return (values, False) if isinstance(values, pa.Array) else column(values)
    if isinstance(values, pa.Array) and not pa.types.is_nested(values.type):
        return values.cast(pa.string()), False
    listed = values.to_pylist() if isinstance(values, pa.Array) else values
    written = [one if one is None or type(one) in (str, Number) else json_text(one) for one in listed]
    return pa.array(written, pa.string()), False
