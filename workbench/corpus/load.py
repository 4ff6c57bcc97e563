"""Reading a labelled corpus: files as they are written, checked row by row before anything uses them."""

from __future__ import annotations

import errno
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from ..errors import BadInputError, DamagedError, NotFoundError, UnsupportedError
from .blocks import ENCODING_ERRORS, Block, reading
from .files import Selection, find_files
from .formats import read_blocks, read_dataset
from .hub import fetch
from .names import COMPRESSED, FORMATS, choose_split, file_format, split_of
from .rows import Checker
from .spool import Spool
from .text_formats import read_texts

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


IN_MEMORY = "a dataset in memory"


@dataclass(frozen=True)
class Corpus:
    """A corpus, and what was read of it.

    Attributes:
        name: what was read: its path or name on a hub.
        data: string ``label``, ``text`` or ``input_ids``, perhaps ``score`` and ``source``, and all other columns.
        split: the split read, None where there are none.
        splits: all that are there.
        files: those read, relative to the folder.
        skipped: reason -> documents left out: ``empty``, ``no text``, ``undecodable``, ``beyond the limit``.
        notes: sentences that a reader should see: files ignored, other splits, labels that look alike.
    """

    name: str
    data: Dataset
    split: str | None
    splits: list[str]
    files: list[str]
    skipped: dict[str, int]
    notes: list[str]


class ReadOptions(TypedDict, total=False):
    """The keywords of ``read_corpus``, which whatever reads a corpus hands on."""

    config: str | None
    text_column: str | None
    label_column: str | None
    score_column: str | None
    limit: int | None
    encoding_errors: str


def read_corpus(
    spec: str | Path | Dataset,
    split: str | None = None,
    *,
    config: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    score_column: str | None = None,
    limit: int | None = None,
    encoding_errors: str = "strict",
) -> Corpus:
    """Read a corpus of labelled documents, as they are written: no types are guessed, and nothing is cached.

    Args:
        spec: a Parquet, Arrow, JSON or CSV file, compressed or not; a folder of them, with splits or not; a folder with
            one sub-folder of text files per label; a clone of a hub's repository; a folder of ``save_to_disk``; a name
            on a hub; or a ``datasets.Dataset``. The files of RealToxicityPrompts and ToxiGen are read as published.
        split: name of the split; by default the first of heldout, test, validation and train that is there.
        config: name of the configuration, where a hub's corpus has several.
        text_column: the column of texts, by default ``text``, or ``input_ids`` for token ids.
        label_column: the column of labels, by default ``label``.
        score_column: the column of scores, by default ``score`` where there is one.
        limit: documents of each label, the first ones; all by default.
        encoding_errors: what to do with text that is not UTF-8: ``strict`` refuses the corpus, ``replace`` and
            ``ignore`` put U+FFFD or nothing in place of the bytes, ``skip`` leaves the document out.

    Returns:
        The corpus. Its data are memory-mapped: they may be larger than memory, not than the folder for temporary files
        (``TMPDIR``). A label is text, as written: 01, TRUE, 1.0. A number of JSON or CSV in ``score`` is a float64.
        Columns that are neither stay: typed in Parquet, strings in CSV, and strings, numbers or bools in JSON, or the
        JSON of other values.

    Raises:
        NotFoundError: there is no corpus, split or configuration of that name.
        BadInputError: an argument or a row makes no sense: it lacks a label, its score is not a number, it is not
            UTF-8; or there is nothing to read.
        DamagedError: a file of it cannot be read.
        UnsupportedError: the folder for temporary files is full, or a hub's corpus needs code of its own.

    Examples:
        >>> from workbench.corpus import read_corpus
        >>> corpus = read_corpus("monet_model/demo/heldout.parquet", limit=2)
        >>> len(corpus.data), corpus.files, sorted(corpus.skipped)
        (14, ['heldout.parquet'], ['beyond the limit'])
    """
    if limit is not None and limit < 1:
        raise BadInputError(f"limit must be at least 1, got {limit}.")
    if encoding_errors not in ENCODING_ERRORS:
        raise BadInputError(f"encoding_errors must be one of {', '.join(ENCODING_ERRORS)}, got {encoding_errors!r}.")
    renamed = {text_column: "text", label_column: "label", score_column: "score"}
    given = [name for name in (text_column, label_column, score_column) if name is not None]
    if len(set(given)) < len(given):
        raise BadInputError(f"text, label and score must be columns of their own, got {', '.join(given)}.")
    name = str(spec) if isinstance(spec, str | Path) else IN_MEMORY
    checker = Checker(name, {k: v for k, v in renamed.items() if k is not None}, limit, encoding_errors)
    path = Path(name)
    parts: Iterable[Iterator[Block]]
    there: tuple[str | None, list[str], list[str]]  # the split, all of them, and notes
    if not isinstance(spec, str | Path):
        parts, names, there = [read_dataset(spec, name)], [], (None, [], [])
    elif path.exists():
        found = find_files(path, split, config) if path.is_dir() else _single(path, split, config)
        parts = _parts(found, encoding_errors)
        names, there = [str(name) for name in found.files], (found.split, found.splits, found.notes)
        if found.kind == "saved":
            names = sorted(str(p.relative_to(path)) for folder in found.files for p in (path / folder).glob("*.arrow"))
    elif not _on_hub(name):
        raise NotFoundError(f"there is no corpus at {path}.")
    else:
        data, chosen, splits, notes = fetch(name, config, split)
        parts, names, there = [read_dataset(data, name)], [name], (chosen, splits, notes)
    table = _collect(parts, checker)
    notes = [*there[2], *_alike(checker.labels)]
    return Corpus(name, _dataset(table, checker.features), there[0], there[1], names, dict(checker.skipped), notes)


def load_corpus(spec: str | Path | Dataset, split: str | None = None, **options: Unpack[ReadOptions]) -> Dataset:
    """Read a corpus as ``read_corpus`` does, and return its data alone.

    Args:
        spec: as for ``read_corpus``.
        split: name of the split.
        options: the keywords of ``read_corpus``.

    Returns:
        A ``datasets.Dataset``.

    Raises:
        WorkbenchError: as ``read_corpus`` does.

    Examples:
        >>> from workbench.corpus import load_corpus
        >>> corpus = load_corpus("monet_model/demo/heldout.parquet")
        >>> sorted(set(corpus["label"]))
        ['cpp', 'java', 'javascript', 'lua', 'php', 'prose', 'python']
    """
    return read_corpus(spec, split, **options).data


def _on_hub(spec: str) -> bool:
    """Whether a name that is no path here may be one on a hub: owner/name."""
    ending = Path(spec).suffix.lower()
    return spec.count("/") == 1 and not spec.startswith(("/", ".", "~")) and ending not in (*FORMATS, *COMPRESSED)


def _single(path: Path, split: str | None, config: str | None) -> Selection:
    if file_format(path) is None:
        raise BadInputError(
            f"{path} is not a corpus: expected one of {', '.join(FORMATS)}, compressed or not, or a folder."
        )
    if config is not None:
        raise NotFoundError(f"the corpus {path} is one file, without a configuration {config!r}.")
    name = Path(path.name)
    own = [there] if (there := split_of(name)) else []
    chosen, _ = choose_split(own, split, path)
    return Selection(path.parent, [name], "data", chosen, own)


def _parts(found: Selection, errors: str) -> Iterable[Iterator[Block]]:
    """The readers of the files, one after the other."""
    if found.kind == "text":
        return [reading(found.root, read_texts(found.root, found.files, found.labels, errors))]
    if found.kind == "saved":
        return (_saved(found.root / folder) for folder in found.files)
    return (read_blocks(found.root / name, str(name), errors) for name in found.files)


def _saved(folder: Path) -> Iterator[Block]:
    import datasets

    try:
        data = datasets.load_from_disk(str(folder))
    except Exception as error:  # of any kind: the library reads JSON, types and Arrow
        raise DamagedError(f"the corpus {folder} of save_to_disk cannot be read: {error}") from error
    return read_dataset(data, str(folder))


def _collect(parts: Iterable[Iterator[Block]], checker: Checker) -> pa.Table:
    try:
        with Spool() as spool:
            for part in parts:
                checker.begin()
                for block in part:
                    if (table := checker.check(block)) is not None:
                        spool.add(table)
            checker.finish()
            return spool.table()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise UnsupportedError(
            f"the corpus {checker.spec} does not fit the folder for temporary files; set TMPDIR to a larger one."
        ) from error


def _dataset(table: pa.Table, features: dict[str, Any]) -> Dataset:
    """The table as a dataset; other columns keep the features that their file gave them."""
    from datasets import Dataset, DatasetInfo, Features
    from datasets.fingerprint import generate_random_fingerprint

    own = Features.from_arrow_schema(table.schema)
    for name, feature in features.items():
        if name in own and Features({name: feature}).arrow_schema.field(name).type == table.schema.field(name).type:
            own[name] = feature
    # Without a fingerprint the library would make one of all the data.
    return Dataset(table, info=DatasetInfo(features=own), fingerprint=generate_random_fingerprint())


def _alike(labels: Iterable[str]) -> list[str]:
    """Sentences about labels that a reader would take for one, or for none."""
    groups: dict[str, list[str]] = {}
    for label in labels:
        groups.setdefault(" ".join(unicodedata.normalize("NFKC", label).casefold().split()), []).append(label)
    notes = [
        f"The labels {', '.join(_shown(label, twins) for label in twins)} look alike and are kept apart."
        for twins in groups.values()
        if len(twins) > 1
    ]
    blank = [label for label in labels if not label.strip()]
    return notes + [f"The label {label!r} is blank." for label in blank]


def _shown(label: str, twins: list[str]) -> str:
    """A label in quotes; in code points, if another one has the same glyphs."""
    same = [one for one in twins if unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", label)]
    return ascii(label) if len(same) > 1 else repr(label)
