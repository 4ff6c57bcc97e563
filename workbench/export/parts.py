"""Cutting a corpus into parts and reading them in order: in this process, or by the workers of a cluster."""

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
from .pipeline import ExportProgress, export_part
from .state import Totals

if TYPE_CHECKING:
    import torch

    from monet_model import MonetForCausalLM

Files = dict[str, dict[str, Any]]  # as a manifest lists them


def cut_parts(documents: Iterable[Document], manifest: dict[str, Any]) -> Iterator[Part]:
    """Yield the parts that the manifest does not have yet, as documents are read; there is at least one."""
    settings, done = manifest["settings"], manifest["parts"]
    number, row, window = len(done), *(done[-1][name][1] if done else 0 for name in ("rows", "windows"))
    for held, last in _cut(documents, settings["part_tokens"]):
        part = Part(number, held, row, window, manifest["labels"], settings, last)
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
    """Sizes and checksums of files just written; local copies of a remote run's files are dropped."""
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
    advance: ExportProgress,
) -> Generator[tuple[Part, Files], None, None]:
    """Run the model over each part in turn, write its files and add it to the totals.

    A model on a GPU gathers each part in totals of its own there, which are merged into these when the part is done.
    """
    for part in parts:
        mine = totals if gathers_here(model) else empty_totals(manifest, model.device)
        names = export_part(part, model, path, manifest["settings"]["batch_size"], mine, advance)
        if mine is not totals:
            for total, more in zip(totals, mine, strict=True):
                total.merge(more.to("cpu"))
        yield part, describe(path, names)


def gathers_here(model: MonetForCausalLM) -> bool:
    """Return whether a model's routing is on the processor, where totals are kept."""
    return model.device.type == "cpu"


def read_there(
    parts: Iterable[Part],
    model: MonetForCausalLM,
    path: Place,
    manifest: dict[str, Any],
    totals: list[Totals],
    advance: ExportProgress,
    address: str,
    workers: int,
) -> Generator[tuple[Part, Files], None, None]:
    """Do the same on a Ray cluster, whose workers write the files to where the run is and send back their totals.

    Raises:
        UnsupportedError: as ``on_cluster`` does.
        BadInputError: this process does not see what a worker wrote.
    """
    from .cluster import on_cluster

    shape = {name: manifest[name] for name in ("model", "labels", "settings")}
    where = path if isinstance(path, Remote) else path.absolute()
    read = partial(read_alone, model=model, path=where, shape=shape)
    for part, (files, gathered) in on_cluster(parts, read, address, workers, lambda: advance(0, 0), _name):
        for name, file in files.items():
            if file_size(path, name) != file["bytes"]:
                raise BadInputError(
                    f"a worker wrote {name} to {path}, which this process does not see; name a folder that all "
                    "machines share, or a URL such as s3://bucket/run."
                )
        for total, more in zip(totals, gathered, strict=True):
            total.merge(more)
        yield part, files
        advance(part.rows, part.size)


def _name(part: Part) -> str:
    return f"documents {part.documents[0].number} to {part.documents[-1].number}"


def read_alone(part: Part, model: MonetForCausalLM, path: Place, shape: dict[str, Any]) -> tuple[Files, list[Totals]]:
    """Export a part in a worker: returns its files, and totals of this part alone."""
    totals = empty_totals(shape, model.device)
    names = export_part(part, model, path, shape["settings"]["batch_size"], totals, lambda *_: None)
    return describe(path, names), [total.to("cpu") for total in totals]


def empty_totals(manifest: dict[str, Any], device: torch.device | str = "cpu") -> list[Totals]:
    """Totals over no tokens, per routing group, on a device."""
    model = manifest["model"]
    return [Totals.empty(model, len(manifest["labels"]), manifest["settings"], device) for _ in model["groups"]]
