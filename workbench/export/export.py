"""`monet export`: run a model over a corpus once and keep what every expert of every group did."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from ..checkpoint import describe_model, describe_tokenizer, load_model, model_folder
from ..corpus import read_corpus
from ..corpus.load import ReadOptions
from ..errors import BadInputError, DamagedError, UnsupportedError
from ..memory import keep_heap, resident_memory, trim_heap
from ..progress import interruptible, job
from ..store.expert_files import write_group
from ..store.manifest import listed_files, read_manifest, write_manifest
from ..store.remote import Place, Remote, place, remove_files
from ..store.schema import MANIFEST, SCHEMA_VERSION, histogram_edges
from ..store.token_text import load_tokenizer
from ..store.verify import damaged_files
from ..threads import in_threads
from .documents import Document, Reading
from .folder import check_free, check_same, claimed, save_tokenizer
from .mapped import giving_back
from .parts import cut_parts, describe, empty_totals, read_here, read_there
from .pipeline import ExportProgress
from .scan import CorpusSummary, scan
from .state import STATE, Totals, memory_needed, physical_memory, state_name

if TYPE_CHECKING:
    from datasets import Dataset

    from monet_model import MonetForCausalLM

DEFAULT_CONTEXT = 256  # tokens per context window
BATCH, BATCH_VALUES = 16, 1_600_000  # windows per forward pass by default: at most, and values of the residual stream
OVERLAP = 8  # a later window repeats this fraction of it, 1 / OVERLAP, from the window before


def export_run(
    model: str | Path,
    corpus: str | Path | Dataset,
    run: str | Path,
    *,
    resume: bool = False,
    batch_size: int | None = None,
    context: int | None = None,
    split: str | None = None,
    part_tokens: int = 262_144,
    examples: int = 32,
    examples_per_document: int = 4,
    keep_routing: float = 1.0,
    ray: str | None = None,
    workers: int = 2,
    device: str = "auto",
    dtype: str = "auto",
    report: Callable[[CorpusSummary], None] | None = None,
    progress: bool = False,
    **options: Unpack[ReadOptions],
) -> None:
    """Run a model over a corpus once and write a run: tokens, sparse routing, statistics and examples.

    Statistics and examples cover all E * E experts of every routing group, exactly, from float32 scores; the stored
    routing is in half precision. The corpus is cut into parts of whole documents, and a crash loses at most the current
    part. Control tokens (start-of-text, end-of-text, padding) are read by the model and left out of everything else. As
    many batches are read at once as torch has threads (`OMP_NUM_THREADS`); the run is the same with any number of them.

    The whole corpus is read once before the model begins, and summarised: ``report`` is called with that summary, and
    the run's manifest keeps it. Documents that nearly repeat an earlier one (MinHash; 0.7 of their runs of five tokens)
    count in statistics, and are left out of the lists of best and sampled tokens.

    Ctrl-C ends the export between two batches with KeyboardInterrupt; the parts done are kept, for ``resume``.

    Args:
        model: folder of a Monet model, or a name on a hub.
        corpus: anything ``workbench.corpus.read_corpus`` reads, or a ``datasets.Dataset`` in memory with its columns;
            `input_ids` are used as they are, before `text`.
        run: folder to write, or a URL that fsspec knows, such as ``s3://bucket/run``, to which each part is sent when
            it is done; it must be new or empty, unless ``resume``.
        resume: continue a half-written run, with the same arguments; a complete one is left as it is.
        batch_size: context windows per forward pass; by default 16, and fewer of a wide model on a processor, where
            each thread holds what its pass makes.
        context: tokens per window, by default 256 or what the model's positions allow. A longer document is cut into
            windows that the model reads separately; later ones begin with the document's start-of-text token, if it
            has one, and repeat the last eighth of the window before, which counts once.
        split: of the corpus, as for ``workbench.corpus.read_corpus``.
        part_tokens: a part ends with the document that reaches this number of tokens.
        examples: highest-scoring tokens to keep per expert.
        examples_per_document: how many of them may be of one document.
        keep_routing: fraction of the documents whose routing is written, 0 to 1; which ones depends on their numbers
            alone. Everything else covers all documents.
        ray: address of a Ray cluster that reads the parts, or ``local`` for one on this machine; by default this
            process reads them. The run is the same to the bit if all processors are of one kind.
        workers: processes of the cluster that read parts, each with a copy of the model.
        device, dtype: where the model runs and in which precision, as for ``load_model``.
        report: called with the summary of the corpus, before the model reads anything.
        progress: show a progress bar with tokens per second, time left and memory used.
        options: the keywords of ``workbench.corpus.read_corpus``: columns of other names, documents per label (limit).

    Raises:
        NotFoundError: there is no such model or corpus.
        BadInputError: a setting is out of range, the folder is not free or holds a run of other inputs or settings, the
            corpus has no tokens, or text that no tokenizer can read.
        DamagedError: the model's files are incomplete or hold NaN, or a run to resume has changed.
        UnsupportedError: another export is writing to the folder, every layer of the model is dense, the statistics
            need more memory than there is, the disk is full, or Ray is missing. If no part was finished, nothing is
            left in the folder.

    Examples:
        >>> from workbench import export_run, open_run
        >>> export_run("monet_model/demo", "monet_model/demo/heldout.parquet", "runs/few", limit=1)
        >>> open_run("runs/few").documents["label"].value_counts().unique().tolist()
        [1]
    """
    path = place(run)
    counts = {"batch_size": batch_size, "context": context, "part_tokens": part_tokens}
    counts |= {"examples": examples, "examples_per_document": examples_per_document, "workers": workers}
    for name, value in counts.items():
        if value is not None and value < 1:
            raise BadInputError(f"{name} must be at least 1, got {value}.")
    if not 0 <= keep_routing <= 1:
        raise BadInputError(f"keep_routing must lie in 0 .. 1, got {keep_routing}.")
    check_free(path, resume)
    folder = model_folder(model)
    read = read_corpus(corpus, split, **options)
    data = read.data
    tokenizer = load_tokenizer(folder)
    if tokenizer is None and "input_ids" not in data.column_names:
        raise BadInputError(
            f"the corpus {corpus} has text, and the model folder {model} has no tokenizer.json to read it with; put "
            "the model's tokenizer there, or give `input_ids` in the corpus."
        )
    keep_heap()
    loaded = load_model(model, device=device, dtype=dtype)
    if not loaded.config.routing_groups:
        raise UnsupportedError(f"every layer of the model {model} is dense: it has no experts that a run could hold.")
    positions = loaded.config.max_position_embeddings
    if context is not None and context > positions:
        raise BadInputError(f"context {context} is more than the model's {positions} positions.")
    window = context or min(DEFAULT_CONTEXT, positions)
    reading = Reading.of(loaded.config, tokenizer, "input_ids" in data.column_names)
    if context == 1 and reading.bos is not None:
        raise BadInputError("context must be at least 2: a start-of-text token opens every window.")
    with job("read the corpus", len(data), "documents", progress) as advance:
        summary = scan(data, reading, read.skipped, read.notes, advance)
    if report is not None:
        report(summary)
    manifest: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "state": "exporting",
        "model": describe_model(model, folder, loaded),
        "tokenizer": None if tokenizer is None else describe_tokenizer(folder),
        "corpus": {"path": read.name, "hash": summary.hash, "documents": len(data)} | summary.to_json(),
        "labels": summary.labels,
        "settings": {
            "batch_size": batch_size or _batch_size(loaded, window),
            "context": window,
            "bos_in_windows": True,
            "overlap": window // OVERLAP,
            "control_in_text": False,
            "part_tokens": part_tokens,
            "examples": examples,
            "examples_per_document": examples_per_document,
            "keep_routing": float(keep_routing),
        },
        "histogram": histogram_edges(loaded.config.moe_heads),
        "parts": [],
        "files": {},
    }
    _check_memory(manifest)
    with claimed(path), giving_back(loaded):
        check_free(path, resume)
        if (path / MANIFEST).exists():
            manifest = _resumed(path, manifest)
            if manifest["state"] == "complete":
                _drop_state(path)  # it may have been killed right before
                return
        else:
            if tokenizer is not None:
                save_tokenizer(path, tokenizer)
            write_manifest(path, manifest)
        size = sum(part["size"] for part in manifest["parts"])
        with _reporting(size, summary.size, summary.unit, progress) as advance:
            first = manifest["parts"][-1]["documents"][1] if manifest["parts"] else 0
            documents = reading.documents(data, first, summary.originals)
            _export(path, manifest, documents, loaded, advance, ray, workers)


def _batch_size(model: MonetForCausalLM, window: int) -> int:
    """Context windows per forward pass, where none is given."""
    if model.device.type != "cpu":
        return BATCH
    return max(1, min(BATCH, BATCH_VALUES // (window * model.config.hidden_size)))


def _resumed(path: Place, wanted: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a run to resume, if it has the same inputs and is undamaged.

    Parts of a remote run are checked by size only: reading them could mean terabytes.
    """
    found = read_manifest(path)
    check_same(path, found, wanted)
    if problems := damaged_files(path, listed_files(found), found["files"] if isinstance(path, Remote) else None):
        raise DamagedError(f"the run {path} cannot go on: {' '.join(problems)} Remove it and export again.")
    return found


def _export(
    path: Place,
    manifest: dict[str, Any],
    documents: Iterator[Document],
    model: MonetForCausalLM,
    advance: ExportProgress,
    ray: str | None,
    workers: int,
) -> None:
    """Write the missing parts, then the files of the whole run."""
    totals, done = empty_totals(manifest), manifest["parts"]
    if done:
        for group, total in enumerate(totals):
            total.load(path / state_name(done[-1]["part"], group))
    parts = cut_parts(documents, manifest)
    if ray is None:
        read = read_here(parts, model, path, manifest, totals, advance)
    else:
        read = read_there(parts, model, path, manifest, totals, advance, ray, workers)
    with closing(read):
        for part, files in read:
            done.append(part.describe() | {"files": files})
            if part.last:
                _close(path, manifest, totals)
            else:
                _save_totals(path, manifest, totals)


def _close(path: Place, manifest: dict[str, Any], totals: list[Totals]) -> None:
    """Write the files of the whole run and mark it complete."""
    names = [f"tokenizer/{file.name}" for file in sorted((path / "tokenizer").glob("*"))]

    def write(group: int) -> list[str]:
        total = totals[group]
        return write_group(path, group, total.statistics, total.maximum, manifest["labels"], manifest["parts"])

    names += chain.from_iterable(in_threads(write, range(len(totals))))
    manifest |= {"state": "complete", "files": describe(path, names)}
    write_manifest(path, manifest)
    _drop_state(path)


def _drop_state(path: Place) -> None:
    """Remove the saved totals, and what crashes left of them."""
    if isinstance(path, Remote):
        path.remove([name for name in path.sizes() if name.startswith(STATE + "/")])
    else:
        shutil.rmtree(path / STATE, ignore_errors=True)


def _save_totals(path: Place, manifest: dict[str, Any], totals: list[Totals]) -> None:
    """Save the totals up to the newest part, enter both in the manifest, and remove the older totals."""
    names = [state_name(manifest["parts"][-1]["part"], group) for group in range(len(totals))]
    in_threads(lambda group: totals[group].save(path / names[group]), range(len(totals)))
    old, manifest["files"] = list(manifest["files"]), describe(path, names)
    write_manifest(path, manifest)
    remove_files(path, old)
    trim_heap()


def _check_memory(manifest: dict[str, Any]) -> None:
    """Raise UnsupportedError if the statistics alone would not fit into memory."""
    model, labels = manifest["model"], len(manifest["labels"])
    groups, examples = len(model["groups"]), manifest["settings"]["examples"]
    needed, there = memory_needed(model["keys"], labels, groups, examples), physical_memory()
    if there is not None and needed > there:
        raise UnsupportedError(
            f"statistics of {groups} groups of {model['keys'] ** 2:,} experts by {labels:,} labels take "
            f"{needed / 1e9:,.1f} GB, and this machine has {there / 1e9:,.1f} GB; are the corpus's labels classes?"
        )


@contextmanager
def _reporting(done: int, size: int, unit: str, shown: bool) -> Iterator[ExportProgress]:
    with job("export", size, unit, shown) as bar, interruptible() as check:
        bar(done)
        begun, done_tokens = time.monotonic(), 0

        def advance(tokens: int, size: int) -> None:
            nonlocal done_tokens
            done_tokens += tokens
            held = resident_memory()
            memory = "" if held is None else f", {held / 1e9:.1f} GB"
            bar(size, f"{done_tokens / (time.monotonic() - begun):,.0f} tokens/s{memory}")
            check()

        yield advance
