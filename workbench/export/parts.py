"""The parts of a corpus, cut and read one after the other: in this process, or by the workers of a cluster."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import BadInputError
from ..store.manifest import describe_file
from ..store.remote import Place, Remote, file_size
from ..threads import in_threads
from .documents import Document
from .part import Part
from .pipeline import Report, export_part
from .state import Totals

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

Files = dict[str, dict[str, Any]]  # as a manifest lists them


def cut_parts(documents: Iterable[Document], manifest: dict[str, Any]) -> Iterator[Part]:
    """The parts that come after those of the manifest, as documents are read; there is at least one.

    Raises:
        BadInputError: the whole corpus holds no tokens.
    """
    settings, done = manifest["settings"], manifest["parts"]
    number, row, window = len(done), *(done[-1][name][1] if done else 0 for name in ("rows", "windows"))
    for held, last in _cut(documents, settings["part_tokens"]):
        part = Part(number, held, row, window, manifest["labels"], settings, last)
        if last and part.end_row == 0:
            raise BadInputError(f"the corpus {manifest['corpus']['path']} holds no tokens.")
        yield part
        number, row, window = number + 1, part.end_row, window + part.windows


def _cut(documents: Iterable[Document], tokens: int) -> Iterator[tuple[list[Document], bool]]:
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


def describe(path: Place, names: list[str]) -> Files:
    """Sizes and checksums of files just written; of those of a remote run, no local copy is kept."""
    files = dict(zip(names, in_threads(lambda name: describe_file(path / name), names), strict=True))
    if isinstance(path, Remote):
        path.drop(names)
    return files


def read_here(
    parts: Iterable[Part],
    model: MonetForCausalLM,
    path: Place,
    manifest: dict[str, Any],
    totals: list[Totals],
    report: Report,
) -> Generator[tuple[Part, Files], None, None]:
    """Runs the model over each part in turn, writes its files and adds it to the totals."""
    for part in parts:
        yield part, describe(path, export_part(part, model, path, manifest["settings"]["batch_size"], totals, report))


def read_there(
    parts: Iterable[Part],
    model: MonetForCausalLM,
    path: Place,
    manifest: dict[str, Any],
    totals: list[Totals],
    report: Report,
    address: str,
    workers: int,
) -> Generator[tuple[Part, Files], None, None]:
    """The same by workers of a Ray cluster; they write the files to where the run is, and send back their totals.

    Raises:
        UnsupportedError: as :func:`~workbench.export.cluster.read_on_cluster` does.
        BadInputError: this process does not see what a worker wrote.
    """
    from .cluster import read_on_cluster

    shape = {name: manifest[name] for name in ("model", "labels", "settings")}
    where = path if isinstance(path, Remote) else path.absolute()
    read = partial(read_alone, model=model, path=where, shape=shape)
    for part, (files, gathered) in read_on_cluster(parts, read, address, workers, lambda: report(0, 0)):
        for name, file in files.items():
            if file_size(path, name) != file["bytes"]:
                raise BadInputError(
                    f"a worker wrote {name} to {path}, and it is not here; name a folder that all machines share, or "
                    "a URL such as s3://bucket/run."
                )
        for total, found in zip(totals, gathered, strict=True):
            total.merge(found)
        yield part, files
        report(part.rows, part.size)


def read_alone(part: Part, model: MonetForCausalLM, path: Place, shape: dict[str, Any]) -> tuple[Files, list[Totals]]:
    """What a worker does with a part: its files, and totals of it alone."""
    totals = empty_totals(shape)
    names = export_part(part, model, path, shape["settings"]["batch_size"], totals, lambda *_: None)
    return describe(path, names), totals


def empty_totals(manifest: dict[str, Any]) -> list[Totals]:
    """Totals of no token, for each routing group."""
    model = manifest["model"]
    return [Totals.empty(model, len(manifest["labels"]), manifest["settings"]) for _ in model["groups"]]
