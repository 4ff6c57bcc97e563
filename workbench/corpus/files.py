"""Which files of a folder are its corpus: formats by extension, splits by name, labels by folder."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import NotFoundError
from .card import read_configs
from .names import choose_split, file_format, named_split, ordered, split_of

_ABOUT = re.compile(  # files that describe a corpus
    r"(readme|license|licence|notice|copying|citation|changelog|contributing)([._-].*)?"
    r"|thumbs\.db|desktop\.ini|(dataset_infos?|dataset_dict|state|corpus|croissant|metadata)\.json"
    r"|(tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab)\.json|merges\.txt|checksums?(\.\w+)?"
)
_SHOWN = 3  # names in a note


@dataclass
class Selection:
    """The files to read.

    Attributes:
        root: the folder.
        files: relative paths, in the order in which they are read.
        kind: ``data``; ``text``, one document a file; or ``saved``, a folder of ``Dataset.save_to_disk``.
        split: the split they are, None where there are none.
        splits: all splits there.
        labels: label of each file, for ``text``.
        notes: sentences about what was left out and what else there is.
    """

    root: Path
    files: list[Path]
    kind: str = "data"
    split: str | None = None
    splits: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_files(folder: Path, split: str | None, config: str | None) -> Selection:
    """Find the files of a corpus in a folder.

    Args:
        folder: with data files, with splits, with one folder of text files per label, a clone of a hub's repository, or
            written by ``save_to_disk``.
        split: the split; by default the first of the usual ones that is there.
        config: the configuration, of those that README.md lists.

    Returns:
        The files, and what a reader should know of those left out.

    Raises:
        NotFoundError: there is no corpus, split or configuration of that name.
        BadInputError: there are several splits or configurations, and none is the usual one.
    """
    if (folder / "dataset_dict.json").is_file():
        splits = sorted(p.parent.name for p in folder.glob("*/state.json"))
        chosen, notes = choose_split(splits, split, folder)
        return Selection(folder, [Path(chosen or ".")], "saved", chosen, splits, notes=notes)
    if (folder / "state.json").is_file() and any(folder.glob("*.arrow")):
        choose_split([], split, folder)
        return Selection(folder, [Path(".")], "saved")
    files = [path for path in _walk(folder) if not _ABOUT.fullmatch(path.name.lower())]
    listed = read_configs(folder, files, config)
    if listed is not None:
        by_split, said = listed
        splits = list(by_split)
        chosen, notes = choose_split(splits, split, folder)
        return _data(Selection(folder, by_split[chosen or splits[0]], "data", chosen, splits, notes=said + notes))
    if config is not None:
        raise NotFoundError(f"the corpus {folder} has no configuration {config!r}; its README.md lists none.")
    data = [path for path in files if file_format(path)]
    texts = [path for path in files if not file_format(path)]
    if data and not _documents(data, texts):
        return _by_split(folder, data, texts, split)
    return _text_folders(folder, files, data if texts else [], split)


def _walk(folder: Path) -> list[Path]:
    """Relative paths of all files, sorted; hidden ones and caches are left out."""
    found, visited = [], set()
    for top, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(top)
        if real in visited:  # a link to a folder above
            folders.clear()
            continue
        visited.add(real)
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        found += [Path(top, name).relative_to(folder) for name in names if not name.startswith(".")]
    return sorted(found)


def _documents(data: list[Path], texts: list[Path]) -> bool:
    """Whether JSON and CSV files are documents: a few of them among text files in the folders of labels."""
    nested = [path for path in texts if len(path.parts) > 1]
    table = any(len(path.parts) == 1 or file_format(path) in ("parquet", "arrow") for path in data)
    return not table and len(nested) >= 2 * len(data)


def _by_split(folder: Path, data: list[Path], texts: list[Path], split: str | None) -> Selection:
    named: dict[str | None, list[Path]] = {}
    for path in data:
        named.setdefault(split_of(path), []).append(path)
    if split is not None and split not in named:  # a split of another name: of a file or a folder
        word = re.compile(rf"(?<![^\W_]){re.escape(split)}(?![^\W_])")
        if own := [p for p in data if any(word.search(part) for part in (*p.parent.parts, p.stem))]:
            named = {name: [p for p in files if p not in own] for name, files in named.items()}
            named[split] = own
    splits = ordered(name for name, there in named.items() if name is not None and there)
    chosen, notes = choose_split(splits, split, folder)
    loose = named.get(None, []) if chosen is not None else []
    notes += _ignored(loose, "it is" if len(loose) == 1 else "they are", "in no split")
    notes += _ignored(texts, "it is" if len(texts) == 1 else "they are", "not Parquet, JSON or CSV")
    return _data(Selection(folder, named[chosen], "data", chosen, splits, notes=notes))


def _data(selection: Selection) -> Selection:
    formats = sorted({file_format(path) or "" for path in selection.files})
    if len(formats) > 1:
        selection.notes.append(f"Files of several formats were read as one corpus: {', '.join(formats)}.")
    return selection


def _text_folders(folder: Path, files: list[Path], data: list[Path], split: str | None) -> Selection:
    nested = [path for path in files if len(path.parts) > 1]
    loose = [path for path in files if len(path.parts) == 1]
    if not nested:
        raise NotFoundError(
            f"the corpus {folder} has no Parquet, JSONL or CSV files, and no folders of text files named for labels."
        )
    tops = {path.parts[0]: named_split(path.parts[0]) for path in nested}
    chosen: str | None = None
    splits: list[str] = []
    notes: list[str] = []
    depth = 0
    if all(tops.values()) and any(len(path.parts) > 2 for path in nested):
        splits = ordered(filter(None, tops.values()))
        chosen, notes = choose_split(splits, split, folder)
        nested = [path for path in nested if tops[path.parts[0]] == chosen]
        loose += [path for path in nested if len(path.parts) == 2]
        nested = [path for path in nested if len(path.parts) > 2]
        depth = 1
        if not nested:
            raise NotFoundError(f"the split {chosen} of the corpus {folder} has no folders of text named for labels.")
    elif split is not None:
        choose_split([], split, folder)
    elif all(tops.values()) and len(tops) > 1:
        raise NotFoundError(
            f"the folders {', '.join(tops)} of the corpus {folder} are named for splits and hold text files; put "
            "them into folders named for labels."
        )
    notes += _ignored(loose, "it lies" if len(loose) == 1 else "they lie", "beside the folders of labels")
    data = [path for path in data if path in set(nested)]
    if data:
        notes.append(f"{_listed(data)} among text files: each was read as one document.")
    labels = [path.parts[depth] for path in nested]
    return Selection(folder, nested, "text", chosen, splits, labels, notes)


def _ignored(files: list[Path], verb: str, why: str) -> list[str]:
    return [f"{_listed(files)} ignored: {verb} {why}."] if files else []


def _listed(files: list[Path]) -> str:
    names = ", ".join(str(path) for path in files[:_SHOWN])
    more = f" and {len(files) - _SHOWN:,} more" if len(files) > _SHOWN else ""
    return f"{names}{more} {'is' if len(files) == 1 else 'are'}"
