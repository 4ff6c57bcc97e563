"""Runs beside a run: those in the same folder whose corpus is read alike, so that token rows mean the same in both."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadInputError, NotFoundError, UnsupportedError, WorkbenchError
from .schema import MANIFEST

if TYPE_CHECKING:
    from .run import Run

NAME = re.compile(r"[^/\\\0]{1,255}")


def check_same_tokens(run: Run, other: Run) -> None:
    """Raise UnsupportedError unless two runs read the same documents as the same tokens of the same vocabulary.

    Corpus, tokenizer and vocabulary are compared by the manifests; the numbers of documents and tokens too, as a run
    may skip what another reads.
    """
    for name, of in {
        "corpus": lambda one: one.manifest["corpus"]["hash"],
        "tokenizer": lambda one: (one.manifest["tokenizer"] or {}).get("hash"),
        "vocabulary": lambda one: one.manifest["model"]["vocabulary"],
        "number of documents": lambda one: one.manifest["corpus"]["documents"],
        "number of tokens": lambda one: one.tokens_total,
    }.items():
        if of(run) != of(other):
            raise UnsupportedError(
                f"{run.path} and {other.path} differ in their {name}, so a token of one has no counterpart in the "
                "other; export both models with one corpus and one tokenizer."
            )


def sibling_names(run: Run) -> list[str]:
    """Names of the runs beside a run that are comparable with it, in alphabetical order; none for a remote run.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.store.siblings import sibling_names
        >>> "demo" in sibling_names(open_run("runs/demo"))
        False
    """
    if not isinstance(run.path, Path):
        return []
    here = run.path.resolve()
    names = []
    for folder in sorted(here.parent.iterdir()):
        if folder.name != here.name and (folder / MANIFEST).is_file():
            try:
                find_sibling(run, folder.name)
            except WorkbenchError:  # half-written, of another schema or another corpus
                continue
            names.append(folder.name)
    return names


def find_sibling(run: Run, name: str) -> Run:
    """The run of a name beside a run.

    Args:
        run: a run in a folder of this machine.
        name: of a folder beside it; no path.

    Raises:
        BadInputError: it is no name of a folder, or names the run itself.
        NotFoundError: there is no run of that name.
        DamagedError: its manifest cannot be read.
        UnsupportedError: its tokens are other ones, it is half-written, or the run is on another machine.
    """
    from .run import open_run

    if not isinstance(run.path, Path):
        raise UnsupportedError(f"{run.path} is on another machine, where no runs beside it are looked for.")
    if not NAME.fullmatch(name) or name in (".", ".."):
        raise BadInputError(f"{name!r:.80} names no run; give the name of a folder beside {run.path}, without slashes.")
    here = run.path.resolve()
    if name == here.name:
        raise BadInputError(f"{name!r} is this run itself; name another one beside it.")
    if not (here.parent / name / MANIFEST).is_file():
        raise NotFoundError(f"there is no run {name!r} beside {run.path}.")
    other = open_run(here.parent / name)
    check_same_tokens(run, other)
    return other
