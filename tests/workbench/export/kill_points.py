"""Exports a run in child processes that are killed, again and again, until one gets through; prints how many were.

    python kill_points.py MODEL CORPUS RUN SEED

Children are forked from a process that holds the model and the corpus, so a try takes a moment. Half of them kill
themselves around a rename of a file, when the run on disk changes, the others at any function call: points in the
program and not in time, so that a slow machine tries the same.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import torch

from workbench.corpus import load_corpus
from workbench.export import export, export_run, load_model

SETTINGS = {"batch_size": 3, "context": 48, "part_tokens": 60, "examples": 5, "examples_per_document": 2}
RENAMES, CALLS = 9, 30_000  # about what a part takes
ENOUGH = 50  # kills after which children live longer and longer, as the last step begins anew when it is killed


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_rename(count: int, before: bool) -> None:
    """Makes this process kill itself right before or after its ``count``-th rename."""
    rename, left = Path.replace, count

    def replace(self: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left == 0 and before:
            _die()
        renamed = rename(self, target)
        if left == 0:
            _die()
        return renamed

    Path.replace = replace  # type: ignore[method-assign, assignment]


def die_at_call(count: int) -> None:
    """Makes this process kill itself at its ``count``-th function call or return, of any thread."""
    left = count

    def profile(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            _die()

    threading.setprofile(profile)
    sys.setprofile(profile)


def attempt(arguments: list[str], rng: random.Random, longer: float) -> bool:
    """Whether a child got to the end; it may live ``longer`` times as long as the first ones."""
    at_rename, before = rng.random() < 0.5, rng.random() < 0.5
    rename, call = rng.randint(1, int(longer * RENAMES)), rng.randint(1, int(longer * CALLS))
    child = os.fork()
    if child == 0:
        if at_rename:
            die_at_rename(rename, before)
        else:
            die_at_call(call)
        export_run(*arguments, resume=True, **SETTINGS)  # type: ignore[arg-type]
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        sys.exit("an export failed instead of going on")
    return os.WIFEXITED(status)


def main() -> None:
    """Kills until done."""
    torch.set_num_threads(1)
    *arguments, seed = sys.argv[1:]
    model, corpus = load_model(arguments[0]), load_corpus(arguments[1])
    export.load_model = lambda _, **_place: model
    export.load_corpus = lambda _: corpus
    rng, kills = random.Random(int(seed)), 0
    while not attempt(arguments, rng, 1.2 ** max(0, kills - ENOUGH)):
        kills += 1
    print(kills)


if __name__ == "__main__":
    main()
