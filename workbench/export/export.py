"""`monet export`: run a model over a corpus once and keep what every expert of every group did."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import WorkbenchError
from ..store.files import TEMPORARY, replacing, sha256, write_json
from ..store.manifest import describe_file, read_manifest
from ..store.schema import MANIFEST, SCHEMA_VERSION, histogram_edges
from .documents import Document, read_documents, summarise
from .finish import write_examples, write_experts
from .model import describe_model, load_model, load_tokenizer, model_folder
from .part import Part, Report, export_part
from .statistics import Statistics
from .toplists import Collector, TopLists

if TYPE_CHECKING:
    from datasets import Dataset

    from monet_model import MonetForCausalLM

CONTEXT = 256


def export_run(
    model: str | Path,
    corpus: str | Path,
    run: str | Path,
    *,
    resume: bool = False,
    batch_size: int = 16,
    context: int | None = None,
    limit: int | None = None,
    part_tokens: int = 262_144,
    examples: int = 32,
    examples_per_document: int = 4,
    progress: bool = False,
) -> None:
    """Read a corpus with a model once and write a run: tokens, sparse routing, statistics and best tokens.

    Statistics and best tokens cover all E * E experts of all routing groups and come from float32 scores; the stored
    routing is in half precision. The corpus is cut into parts of whole documents, and a crash loses at most the part in
    hand. Start-of-text tokens that open a document, and padding, are left out of everything.

    Args:
        model: folder of a Monet model, or a name on a hub.
        corpus: anything :func:`workbench.corpus.load_corpus` reads.
        run: folder to write; it must be new or empty, unless ``resume``.
        resume: continue a half-written run; everything else must be as it was. A complete run is left as it is.
        batch_size: context windows a forward pass.
        context: tokens a window, by default the model's positions or 256, whichever is less. A longer document is cut
            into windows that the model reads separately; later ones begin without a start-of-text token.
        limit: documents to read, from the first; all by default.
        part_tokens: a part ends with the document that reaches this number of tokens.
        examples: best tokens kept for an expert.
        examples_per_document: most of them from one document.
        progress: show tokens, rate and time left.

    Raises:
        WorkbenchError: the model, tokenizer or corpus cannot be used, the folder is not free, another export is writing
            to it, or it holds a run of other inputs or settings. Nothing is written then.
    """
    for name, value in (
        ("batch_size", batch_size),
        ("context", context),
        ("limit", limit),
        ("part_tokens", part_tokens),
    ):
        if value is not None and value < 1:
            raise WorkbenchError(f"{name} must be at least 1, got {value}.")
    path = Path(run)
    _check_free(path, resume)
    from ..corpus import load_corpus

    data = load_corpus(corpus)
    if limit is not None:
        data = data.select(range(min(limit, len(data))))
    folder = model_folder(model)
    loaded = load_model(model)
    tokenizer = load_tokenizer(folder)
    if tokenizer is None and "input_ids" not in data.column_names:
        raise WorkbenchError(
            f"the model folder {model} has no tokenizer.json, and the corpus {corpus} has text but no `input_ids`; put "
            "the model's tokenizer into its folder."
        )
    summary = summarise(data)
    settings = {
        "batch_size": batch_size,
        "context": min(context or CONTEXT, loaded.config.max_position_embeddings),
        "part_tokens": part_tokens,
        "examples": examples,
        "examples_per_document": examples_per_document,
    }
    manifest = {
        "schema": SCHEMA_VERSION,
        "state": "exporting",
        "model": describe_model(model, folder, loaded),
        "tokenizer": None if tokenizer is None else {"hash": sha256(folder / "tokenizer.json")},
        "corpus": {"path": str(corpus), "hash": summary.hash, "documents": summary.documents},
        "labels": summary.labels,
        "settings": settings,
        "histogram": histogram_edges(loaded.config.moe_heads),
        "parts": [],
        "files": {},
    }
    with _claimed(path):
        if (path / MANIFEST).exists():
            found = read_manifest(path)
            _check_same(path, found, manifest)
            if found["state"] == "complete":
                return
            manifest = found
        else:
            if tokenizer is not None:
                tokenizer.save_pretrained(path / "tokenizer")
            _save(path, manifest)
        size = sum(part["size"] for part in manifest["parts"])
        with _progress(size, summary.size, progress) as report:
            _export(path, manifest, data, loaded, tokenizer, report)


def _export(
    path: Path, manifest: dict[str, Any], data: Dataset, model: MonetForCausalLM, tokenizer: Any, report: Report
) -> None:
    """Writes the parts that are missing, then the files that close the run."""
    settings, labels = manifest["settings"], manifest["labels"]
    keys, heads, groups = model.config.moe_experts, model.config.moe_heads, len(manifest["model"]["groups"])
    totals, lists = _load_state(path, manifest, keys, len(labels), heads)
    done = manifest["parts"][-1] if manifest["parts"] else {"documents": [0, 0], "rows": [0, 0], "windows": [0, 0]}
    bos = model.config.bos_token_id
    if tokenizer is not None and (bos is None or "input_ids" not in data.column_names):
        bos = tokenizer.bos_token_id
    documents = read_documents(data, done["documents"][1], tokenizer, model.config.vocab_size, bos)
    for held, last in _cut(documents, settings["part_tokens"]):
        part = Part(len(manifest["parts"]), held, done["rows"][1], done["windows"][1], settings["context"], labels)
        if last and done["rows"][1] + part.rows == 0:
            raise WorkbenchError(f"the corpus {manifest['corpus']['path']} holds no tokens.")
        fresh = [Statistics(keys, len(labels), heads) for _ in range(groups)]
        collectors = [
            Collector(keys**2, settings["examples"], settings["examples_per_document"], part.document_of_row)
            for _ in range(groups)
        ]
        names = export_part(part, model, path, settings["batch_size"], fresh, collectors, report)
        for group in range(groups):
            totals[group].merge(fresh[group])
            lists[group] = lists[group].merge(collectors[group].finish(part.first_row), settings["examples"])
        done = {
            "part": part.number,
            "documents": [held[0].number, held[-1].number + 1],
            "rows": [part.first_row, part.first_row + part.rows],
            "windows": [part.first_window, part.first_window + part.windows],
            "size": part.size,
            "files": {name: describe_file(path / name) for name in names},
        }
        manifest["parts"].append(done)
        if last:
            closing = [write_experts(path, g, totals[g], labels) for g in range(groups)]
            closing += [write_examples(path, g, lists[g], manifest["parts"]) for g in range(groups)]
            closing += [str(f.relative_to(path)) for f in sorted((path / "tokenizer").glob("*"))]
            manifest["files"] = {name: describe_file(path / name) for name in closing}
            manifest["state"] = "complete"
            _save(path, manifest)
            shutil.rmtree(path / "state", ignore_errors=True)
        else:
            _save_state(path, manifest, totals, lists)


def _cut(documents: Iterator[Document], tokens: int) -> Iterator[tuple[list[Document], bool]]:
    """Documents in parts of at least ``tokens`` tokens, and whether a part is the last."""
    held: list[Document] = []
    rows = 0
    for document in documents:
        if rows >= tokens:
            yield held, False
            held, rows = [], 0
        held.append(document)
        rows += document.rows
    yield held, True


def _state_name(part: int, group: int) -> str:
    return f"state/part-{part:05d}-group-{group}.npz"


def _save_state(path: Path, manifest: dict[str, Any], totals: list[Statistics], lists: list[TopLists]) -> None:
    """Totals so far, for a resumed export to go on from; enters them in the manifest and drops the previous ones."""
    number, old = manifest["parts"][-1]["part"], manifest["files"]
    names = [_state_name(number, group) for group in range(len(totals))]
    for name, total, best in zip(names, totals, lists, strict=True):
        with replacing(path / name) as temporary, temporary.open("wb") as file:
            np.savez(file, **total.arrays(), **best.arrays())
    manifest["files"] = {name: describe_file(path / name) for name in names}
    _save(path, manifest)
    for name in old:
        (path / name).unlink(missing_ok=True)


def _load_state(
    path: Path, manifest: dict[str, Any], keys: int, labels: int, heads: int
) -> tuple[list[Statistics], list[TopLists]]:
    totals, lists = [], []
    for group in range(len(manifest["model"]["groups"])):
        total, best = Statistics(keys, labels, heads), TopLists.empty()
        if manifest["parts"]:
            name = _state_name(manifest["parts"][-1]["part"], group)
            if not (path / name).is_file() or describe_file(path / name) != manifest["files"][name]:
                raise WorkbenchError(
                    f"{path / name} is missing or damaged, so the export cannot go on; start a new run."
                )
            with np.load(path / name, allow_pickle=False) as saved:
                for key in total.arrays():
                    setattr(total, key, saved[key])
                best = TopLists(*(saved[key] for key in best.arrays()))
        totals.append(total)
        lists.append(best)
    return totals, lists


def _save(path: Path, manifest: dict[str, Any]) -> None:
    write_json(path / MANIFEST, manifest)


def _check_free(path: Path, resume: bool) -> None:
    if path.exists() and not path.is_dir():
        raise WorkbenchError(f"{path} is a file; name a folder for the run.")
    if (path / MANIFEST).exists():
        if not resume:
            state = read_manifest(path)["state"]
            what = "a complete run" if state == "complete" else "a half-written run; continue it with --resume"
            raise WorkbenchError(f"{path} already holds {what}, or choose another folder.")
    elif path.is_dir() and any(f.name != LOCK for f in path.iterdir()):
        raise WorkbenchError(f"{path} is not empty and holds no run; choose another folder.")


def _check_same(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuses to go on with other inputs or settings than the run's."""
    for name, key in (("model", "hash"), ("tokenizer", None), ("corpus", "hash")):
        was, now = (m[name] if key is None else m[name][key] for m in (found, wanted))
        if was != now:
            raise WorkbenchError(
                f"the run {path} was begun with another {name}; give the one it was begun with, or another folder."
            )
    for name, value in wanted["settings"].items():
        if found["settings"][name] != value:
            raise WorkbenchError(
                f"the run {path} was begun with {name} {found['settings'][name]}, now {value}; give the same."
            )


LOCK = ".lock"


@contextmanager
def _claimed(path: Path) -> Iterator[None]:
    """The run's folder, for this process alone; removed again if an error comes before anything is kept."""
    from filelock import FileLock, Timeout

    fresh = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / LOCK, timeout=0)
        lock.acquire()
    except Timeout as error:
        raise WorkbenchError(f"another export is writing to {path}; wait for it, or choose another folder.") from error
    except OSError as error:
        raise WorkbenchError(f"the run {path} cannot be written: {error}") from error
    try:
        for left in path.rglob(f"*{TEMPORARY}"):
            left.unlink()
        yield
    except WorkbenchError:
        if fresh and not read_manifest(path)["parts"]:
            shutil.rmtree(path)
        raise
    finally:
        lock.release()


@contextmanager
def _progress(done: float, size: int, shown: bool) -> Iterator[Report]:
    """A bar on the error stream; what it yields is called with the tokens and the size done since the last call."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("export"),
        BarColumn(),
        TextColumn("{task.fields[tokens]:,} tokens, {task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task("export", total=size, completed=done, tokens=0, rate=0.0)
        begun, tokens = time.monotonic(), 0

        def report(rows: int, size: float) -> None:
            nonlocal tokens
            tokens += rows
            bar.update(task, advance=size, tokens=tokens, rate=tokens / (time.monotonic() - begun))

        yield report
