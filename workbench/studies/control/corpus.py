"""Episodes of a policy as a labelled corpus: what an export reads to see what every expert does in which regime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import UnsupportedError
from .episodes import Episodes, Policy
from .fishery import Array, Fishery
from .regimes import REGIMES, regimes
from .tokens import populations_of, state_ids, state_texts

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Visits:
    """The states that episodes passed through, by episode and then step.

    Attributes:
        episode: (states,) its number.
        step: (states,) steps done before it.
        populations: (states, 3).
        mortality: (states, harvested species) that the policy set there.
        harvest: (states,) caught there, both species.
    """

    episode: NDArray[np.int64]
    step: NDArray[np.int64]
    populations: Array
    mortality: Array
    harvest: Array

    def __len__(self) -> int:
        return len(self.episode)


def visits(fishery: Fishery, policy: Policy, count: int, seed: int, first: int = 0) -> Visits:
    """Play episodes, and keep every state.

    Args:
        fishery: the fishery.
        policy: sets the mortality.
        count: episodes.
        seed: of their noise.
        first: number of the first episode.

    Examples:
        >>> from workbench.studies.control import Fishery, constant_mortality
        >>> from workbench.studies.control.corpus import visits
        >>> seen = visits(Fishery.of(3), constant_mortality(0.2, 0.2), 2, seed=0)
        >>> seen.step[:3].tolist(), seen.populations.shape == (len(seen), 3)
        ([0, 1, 2], True)
    """
    episodes = Episodes(fishery, count, seed, first)
    parts: list[tuple[NDArray[Any], ...]] = []
    while len(episodes):
        number, time, populations = episodes.numbers.copy(), episodes.time.copy(), episodes.populations.copy()
        mortality = policy(populations)
        done = episodes.step(mortality)
        parts.append((number, time, populations, mortality, done.harvest.sum(1)))
        episodes.keep(~done.ended)
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.lexsort((columns[1], columns[0]))
    return Visits(*(column[order] for column in columns))


def episode_corpus(fishery: Fishery, seen: Visits) -> Dataset:
    """Episodes as documents, each cut where the regime changes, so that its label holds for all of its states.

    An export with a context of one state (the start-of-text token and the species) reads every state as the policy
    does: a later window repeats the start-of-text token, and nothing of the state before.

    Args:
        fishery: which says the species that a state has.
        seen: the states.

    Returns:
        Columns ``text``, the states in order, such as ``X=0.51 Y=0.21 Z=0.71 X=0.54 Y=0.26 Z=0.71``; ``label``, of
        ``regimes.REGIMES``, of the middles of bins, which is what the policy knows; ``source``, such as ``episode 3,
        steps 0 to 17``.

    Raises:
        UnsupportedError: the fishery has no predator that varies, and so no regimes.
    """
    from datasets import Dataset

    if len(fishery.observed) < 3:
        raise UnsupportedError(f"fishery model {fishery.model} has one species and no regimes; read models 2 to 4.")
    label = regimes(populations_of(state_ids(fishery, seen.populations)[:, 1:]))
    fresh = np.ones(len(seen), bool)
    fresh[1:] = (seen.episode[1:] != seen.episode[:-1]) | (label[1:] != label[:-1])
    starts = np.flatnonzero(fresh)
    ends = np.append(starts[1:], len(seen))
    texts = state_texts(fishery, seen.populations)
    rows = [
        {
            "text": " ".join(texts[start:end]),
            "label": REGIMES[label[start]],
            "source": f"episode {seen.episode[start]}, steps {seen.step[start]} to {seen.step[end - 1]}",
        }
        for start, end in zip(starts, ends, strict=True)
    ]
    return Dataset.from_list(rows)
