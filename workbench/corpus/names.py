"""What the names of files tell: the format of a file, and the split of a corpus that it belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ..errors import BadInputError, NotFoundError

FORMATS = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
}
COMPRESSED = (".gz", ".zst", ".bz2", ".lz4", ".xz")
PREFERRED = ("heldout", "test", "validation", "train")  # the split read where none is asked for

_SPLITS = {
    "heldout": r"held[-_]?out",
    "test": r"test|testing|eval|evaluation",
    "validation": r"validation|valid|val|dev",
    "train": r"train|training",
}
_SPLIT_WORD = re.compile(
    "(?<![a-z])(?:" + "|".join(f"(?P<{name}>{words})" for name, words in _SPLITS.items()) + ")(?![a-z])"
)
_HUB_PART = re.compile(r"(?P<split>\w+(?:\.\w+)*)-[0-9]{5}-of-[0-9]{5}.*")  # data/NAME-00000-of-00001.parquet


def bare(name: str) -> str:
    """Return the lower-case name of a file without the ending of its compression."""
    name = name.lower()
    return next((name.removesuffix(ending) for ending in COMPRESSED if name.endswith(ending)), name)


def file_format(path: Path) -> str | None:
    """Return the format that a file's name tells, in any case and compressed or not: None if it is not data.

    Examples:
        >>> from pathlib import Path
        >>> file_format(Path("C.JSONL.gz")), file_format(Path("x.py"))
        ('json', None)
    """
    return FORMATS.get(Path(bare(path.name)).suffix)


def split_of(path: Path) -> str | None:
    """Return the split that a path inside a corpus names, the file before its folders, or None.

    Examples:
        >>> from pathlib import Path
        >>> [split_of(Path(name)) for name in ("data/train-00000-of-00001.parquet", "dev/a.csv", "latest.csv")]
        ['train', 'validation', None]
    """
    stem = bare(path.name)
    stem = stem.removesuffix(Path(stem).suffix)
    if path.parent.name == "data" and (part := _HUB_PART.fullmatch(stem)) and not _SPLIT_WORD.search(part["split"]):
        return part["split"]
    for name in (stem, *(folder.lower() for folder in reversed(path.parent.parts))):
        if found := _SPLIT_WORD.search(name):
            return found.lastgroup
    return None


def choose_split(splits: Iterable[str], asked: str | None, spec: str | Path) -> tuple[str | None, list[str]]:
    """Choose a split: the one asked for, or the first of ``PREFERRED``, or the only one.

    Returns:
        The split, None where there are none, and a sentence about the choice where it was not asked for.

    Raises:
        NotFoundError: the one asked for is not there.
        BadInputError: there are several, none of them in ``PREFERRED``.
    """
    there = list(splits)
    if asked is not None:
        known = named_split(asked) or asked
        if asked in there or known in there:
            return (asked if asked in there else known), []
        raise NotFoundError(f"the corpus {spec} has no split {asked!r}; it has {', '.join(there) or 'none'}.")
    if len(there) < 2:
        return (there[0] if there else None), []
    split = next((name for name in PREFERRED if name in there), None)
    if split is None:
        raise BadInputError(f"the corpus {spec} has the splits {', '.join(there)}; choose one with --split.")
    others = ", ".join(name for name in there if name != split)
    return split, [f"The split {split} was read; there is also {others} (--split)."]


def named_split(name: str) -> str | None:
    """Return the split that a whole name means, in any of its spellings, or None."""
    return next((split for split, words in _SPLITS.items() if re.fullmatch(words, name.lower())), None)


def ordered(splits: Iterable[str]) -> list[str]:
    """Return splits in the order in which they are preferred, the others by name."""
    there = set(splits)
    return [name for name in PREFERRED if name in there] + sorted(there - {*PREFERRED})
