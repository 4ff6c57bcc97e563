"""`monet corpus build`: collect, clean, split and write a labelled corpus, and train its tokenizer."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import track

from ..errors import BadInputError, NotFoundError, UnsupportedError
from . import clean, code7
from .code7 import SourceFile
from .tokenizer import train_tokenizer

Sources = Callable[[Path], Iterable[tuple[str, Iterator[SourceFile]]]]
BUILDERS: dict[str, Sources] = {"code7": code7.source_files}

SCHEMA = pa.schema([(name, pa.string()) for name in ("text", "label", "source", "licence", "copyright")])
CHARS_PER_LABEL = {"train": 7_000_000, "heldout": 700_000}


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
        if len(text) < clean.MIN_CHARS or (file.is_code and clean.is_machine_made(text)) or duplicates.seen(text):
            continue
        yield {
            "text": text,
            "label": file.label,
            "source": file.source,
            "licence": file.licence,
            "copyright": notices,
        }


def _balance(rows: list[dict[str, str]], split: str) -> list[dict[str, str]]:
    """Return the rows of a split in hash order, from each package in turn, up to its number of characters per label."""
    queues: dict[str, dict[str, list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for row in sorted(rows, key=lambda r: (_rank(r["source"]), r["source"])):
        queues[row["label"]][row["source"].split(" ")[0]].append(row)
    chosen = []
    for packages in queues.values():
        room, waiting = CHARS_PER_LABEL[split], [iter(q) for q in packages.values()]
        while waiting and room > 0:
            for queue in list(waiting):
                try:
                    row = next(queue)
                except StopIteration:
                    waiting.remove(queue)
                    continue
                if room > 0:
                    chosen.append(row)
                    room -= len(row["text"])
    return sorted(chosen, key=lambda r: (_rank(r["source"]), r["source"]))


def build_corpus(name: str, out: Path, downloads: Path | None = None) -> dict[str, Counter[str]]:
    """Build a named corpus: ``train/`` and ``heldout/`` Parquet, ``tokenizer/`` and ``corpus.json`` in ``out``.

    Args:
        name: of the corpus: ``code7``.
        out: a folder that does not exist yet or is empty; it appears only when everything has been written.
        downloads: folder where package archives are cached; a temporary one by default.

    Returns:
        Characters per label, for each split.

    Raises:
        NotFoundError: there is no such corpus.
        BadInputError: ``out`` is not empty.
        UnsupportedError: a package cannot be fetched or unpacked, or no file of it survives cleaning.
    """
    if name not in BUILDERS:
        raise NotFoundError(f"no corpus is called {name!r}; there is {', '.join(BUILDERS)}.")
    out = out.resolve()
    if out.exists() and any(out.iterdir()):
        raise BadInputError(f"{out} is not empty; name a new folder, or remove it first.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        work = Path(scratch)
        cache = downloads if downloads is not None else work / "downloads"
        cache.mkdir(parents=True, exist_ok=True)
        duplicates = clean.NearDuplicates()
        rows: list[dict[str, str]] = []
        for package, files in BUILDERS[name](cache):
            rows += _rows(track(files, description=package, transient=True), duplicates)
        done = work / "corpus"
        counts = {split: _write_split(rows, split, done / split) for split in CHARS_PER_LABEL}
        train_tokenizer(done, done / "tokenizer")
        (done / "corpus.json").write_text(_summary(name, rows, counts), encoding="utf-8")
        if out.exists():
            out.rmdir()
        shutil.move(done, out)
    return counts


def _write_split(rows: list[dict[str, str]], split: str, folder: Path) -> Counter[str]:
    heldout = [(_rank(r["source"]) % 10 == 0) == (split == "heldout") for r in rows]
    kept = _balance([r for r, h in zip(rows, heldout, strict=True) if h], split)
    if not kept:
        raise UnsupportedError(f"the {split} part of the corpus is empty: no file survived cleaning.")
    folder.mkdir(parents=True)
    table = pa.Table.from_pylist(kept, schema=SCHEMA)
    pq.write_table(table, folder / "part-00000.parquet", compression="zstd", row_group_size=1024)
    counts: Counter[str] = Counter()
    for row in kept:
        counts[row["label"]] += len(row["text"])
    return counts


def _summary(name: str, rows: list[dict[str, str]], counts: dict[str, Counter[str]]) -> str:
    packages = sorted({row["source"].partition(": ")[0] for row in rows})
    licences: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        licences[row["label"]][row["licence"]] += 1
    return json.dumps(
        {"name": name, "packages": packages, "characters": counts, "licences": licences}, indent=2, sort_keys=True
    )
