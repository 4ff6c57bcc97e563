"""A run of a policy: its episodes, exported and analysed as any corpus is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...analysis import analyze_run
from ...errors import BadInputError
from ...export import export_run
from ...store import open_run
from .corpus import episode_corpus, visits
from .policy import load_policy, monet_policy

if TYPE_CHECKING:
    from ...store import Run

EPISODES, SEED = 100, 1_000  # played for a run by default, and the seed of their noise


def read_policy(
    folder: str | Path, run: str | Path, *, episodes: int = EPISODES, seed: int = SEED, progress: bool = False
) -> Run:
    """Export the episodes of a policy as a run, and analyse it.

    The policy plays without noise. Documents are stretches of an episode in one regime (``corpus.episode_corpus``), and
    a window is one state, so every token is routed in the run as in the policy.

    Args:
        folder: of the policy.
        run: folder to write; it must be new or empty.
        episodes: to play.
        seed: of their noise.
        progress: show how far it is.

    Returns:
        The run, with labels of experts (`monet analyze`).

    Raises:
        NotFoundError: there is no such policy.
        BadInputError: no episodes are asked for, or the folder is not free.
        UnsupportedError: the policy's fishery has no regimes.
    """
    if episodes < 1:
        raise BadInputError(f"episodes must be at least 1, got {episodes}.")
    model, fishery = load_policy(folder)
    corpus = episode_corpus(fishery, visits(fishery, monet_policy(model, fishery), episodes, seed))
    context = 1 + len(fishery.observed)
    export_run(folder, corpus, run, context=context, batch_size=1024, progress=progress)
    opened = open_run(run)
    analyze_run(opened, progress=progress)
    return opened
