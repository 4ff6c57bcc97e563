"""`monet corpus build`: collect, clean, split and write a labelled corpus, and train its tokenizer."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import track

from ..errors import BadInputError, NotFoundError, UnsupportedError
from . import clean, code7, code9, toxic
from .sources import SourceFile
from .tokenizer import count_tokens, train_tokenizer

Sources = Callable[[Path], Iterable[tuple[str, Iterator[SourceFile]]]]
BUILDERS: dict[str, Sources] = {"code7": code7.source_files, "code9": code9.source_files}

SCHEMA = pa.schema([(name, pa.string()) for name in ("text", "label", "source", "project", "licence", "copyright")])
CHARS_PER_LABEL = {"train": 7_000_000, "heldout": 700_000}
LARGEST_SHARE = {"code9": 0.5}  # of a label's characters that one project may have; of other corpora all of them


def _rank(source: str) -> int:
    """Return a number in 0 .. 2**32 - 1 that depends on a file's path inside its package alone, not on versions."""
    return int.from_bytes(hashlib.sha256(source.partition(": ")[2].encode()).digest()[:4], "big")


def _rows(files: Iterable[SourceFile], duplicates: clean.NearDuplicates) -> Iterator[dict[str, str]]:
    for file in files:
        text = clean.decode(file.raw)
        if text is None:
            continue
        text, notices = clean.strip_header(text)
        text = clean.shorten(text)
        if len(text) < clean.MIN_CHARS or (not file.prose and clean.is_machine_made(text)) or duplicates.seen(text):
            continue
        yield {
            "text": text,
            "label": file.label,
            "source": file.source,
            "project": file.source.split(" ")[0],
            "licence": file.licence,
            "copyright": notices,
            "split": file.split or ("heldout" if _rank(file.source) % 10 == 0 else "train"),
        }


def _balance(rows: list[dict[str, str]], characters: int, largest: float) -> list[dict[str, str]]:
    """Return rows in hash order, from each package in turn, up to a number of characters per label.

    Args:
        rows: of one split.
        characters: per label, at most.
        largest: share of a label's characters that one package may have; what others lack is not made up for.
    """
    queues: dict[str, dict[str, list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for row in sorted(rows, key=lambda r: (_rank(r["source"]), r["source"])):
        queues[row["label"]][row["project"]].append(row)
    chosen = []
    for packages in queues.values():
        sizes = [sum(len(row["text"]) for row in rows) for rows in packages.values()]
        room = float(characters)
        if largest < 1:
            room = min(room, (sum(sizes) - max(sizes)) / (1 - largest))
        left = [largest * room] * len(sizes)  # room of each package
        waiting = dict(enumerate(map(deque, packages.values())))
        while waiting and room > 0:
            for place, queue in list(waiting.items()):
                if left[place] <= 0 or not queue:
                    del waiting[place]
                elif room > 0:
                    chosen.append(queue.popleft())
                    room -= len(chosen[-1]["text"])
                    left[place] -= len(chosen[-1]["text"])
    return sorted(chosen, key=lambda r: (_rank(r["source"]), r["source"]))


def build_corpus(name: str, out: Path, downloads: Path | None = None) -> dict[str, Counter[str]]:
    """Build a named corpus: ``train/`` and ``heldout/`` Parquet, ``tokenizer/`` and ``corpus.json`` in ``out``.

    ``toxic`` is there to measure models on, not to train them: it has neither ``train/`` nor ``tokenizer/``, and its
    texts have a score.

    Args:
        name: of the corpus: ``code7``, ``code9`` or ``toxic``.
        out: a folder that does not exist yet or is empty; it appears only when everything has been written.
        downloads: folder where package archives are cached; a temporary one by default.

    Returns:
        Characters per label, for each split.

    Raises:
        NotFoundError: there is no such corpus.
        BadInputError: ``out`` is not empty.
        UnsupportedError: a package cannot be fetched or unpacked, no file of it survives cleaning, or the classifier
            that scores ``toxic`` is not installed.
        DamagedError: an archive of ``toxic`` is damaged.
    """
    if name not in (*BUILDERS, toxic.NAME):
        raise NotFoundError(f"no corpus is called {name!r}; there is {', '.join([*BUILDERS, toxic.NAME])}.")
    out = out.resolve()
    if out.exists() and any(out.iterdir()):
        raise BadInputError(f"{out} is not empty; name a new folder, or remove it first.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        work = Path(scratch)
        cache = downloads if downloads is not None else work / "downloads"
        cache.mkdir(parents=True, exist_ok=True)
        kept: dict[str, list[dict[str, Any]]]
        kept = {"heldout": toxic.toxic_rows(cache)} if name == toxic.NAME else _collected(name, cache)
        done = work / "corpus"
        counts = {split: _write_split(kept[split], split, done / split) for split in kept}
        tokens: dict[str, dict[str, int]] = {}
        if name != toxic.NAME:
            train_tokenizer(done, done / "tokenizer")
            tokens = count_tokens(done)
        (done / "corpus.json").write_text(_summary(name, kept, tokens), encoding="utf-8")
        if out.exists():
            out.rmdir()
        shutil.move(done, out)
    return counts


def _collected(name: str, cache: Path) -> dict[str, list[dict[str, str]]]:
    """The rows of each split, of files that are cleaned and balanced."""
    duplicates = clean.NearDuplicates()
    rows: list[dict[str, str]] = []
    for package, files in BUILDERS[name](cache):
        rows += _rows(track(files, description=package, transient=True), duplicates)
    return {
        split: _balance([row for row in rows if row["split"] == split], characters, LARGEST_SHARE.get(name, 1))
        for split, characters in CHARS_PER_LABEL.items()
    }


def _write_split(rows: list[dict[str, Any]], split: str, folder: Path) -> Counter[str]:
    if not rows:
        raise UnsupportedError(f"the {split} part of the corpus is empty: no file survived cleaning.")
    folder.mkdir(parents=True)
    schema = SCHEMA.append(pa.field("score", pa.float64())) if "score" in rows[0] else SCHEMA
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table, folder / "part-00000.parquet", compression="zstd", row_group_size=1024)
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row["label"]] += len(row["text"])
    return counts


def _summary(name: str, kept: dict[str, list[dict[str, Any]]], tokens: dict[str, dict[str, int]]) -> str:
    """What a corpus is made of: documents, characters and licences per split, label and package; tokens per label."""
    packages: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
    for split, rows in kept.items():
        labels = packages[split] = defaultdict(dict)
        for row in rows:
            package = labels[row["label"]].setdefault(
                row["source"].partition(": ")[0], {"documents": 0, "characters": 0, "licences": Counter()}
            )
            package["documents"] += 1
            package["characters"] += len(row["text"])
            package["licences"][row["licence"]] += 1
    return json.dumps({"name": name, "tokens": tokens, "packages": packages}, indent=2, sort_keys=True)
