"""Cloning: a Monet policy that learns another policy's mortalities where its own episodes lead (DAgger)."""

from __future__ import annotations

import numpy as np
import torch

from monet_model import MonetForCausalLM

from ...progress import Progress, silent
from .episodes import Episodes, Policy
from .fishery import Array, Fishery
from .policy import monet_policy, refresh_statistics
from .prefixes import last_hidden
from .tokens import action_ids, state_ids


def visited(fishery: Fishery, policy: Policy, count: int, seed: int) -> Array:
    """Populations (states, 3) that episodes under a policy pass through, the first ones included."""
    episodes, seen = Episodes(fishery, count, seed), []
    while len(episodes):
        seen.append(episodes.populations.copy())
        episodes.keep(~episodes.step(policy(episodes.populations)).ended)
    return np.concatenate(seen)


def clone(
    model: MonetForCausalLM,
    teacher: Policy,
    fishery: Fishery,
    *,
    rounds: int = 4,
    episodes: int = 64,
    steps: int = 60,
    batch: int = 2048,
    lr: float = 3e-3,
    seed: int = 0,
    progress: Progress = silent,
) -> None:
    """Train a model, in place, to set the mortalities that a teacher sets (Ross et al. 2011, arXiv 1011.0686).

    The first round learns from episodes of the teacher; each later one adds episodes of the model itself, whose states
    the teacher answers. Loss: the mean squared error of mortality.

    Args:
        model: of ``make_model``.
        teacher: the policy to be learned.
        fishery: the fishery.
        rounds: collections of episodes.
        episodes: per round.
        steps: of the optimiser, per round.
        batch: states per step.
        lr: peak learning rate of Adam, which falls to 0 along a cosine over all rounds.
        seed: of episodes and batches.
        progress: called with each round done.
    """
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, rounds * steps)
    rows, base = action_ids(fishery), torch.tensor(fishery.base)
    populations, wanted = np.empty((0, 3)), np.empty((0, len(rows)))
    for number in range(rounds):
        fresh = visited(fishery, teacher if number == 0 else monet_policy(model, fishery), episodes, seed + number)
        populations, wanted = np.concatenate([populations, fresh]), np.concatenate([wanted, teacher(fresh)])
        ids, targets = torch.from_numpy(state_ids(fishery, populations)), torch.from_numpy(wanted).float()
        refresh_statistics(model, ids[rng.permutation(len(ids))[:batch]])
        error = 0.0
        for _ in range(steps):
            chosen = torch.from_numpy(rng.integers(len(ids), size=batch))
            means = base + last_hidden(model, ids[chosen]) @ model.lm_head.weight[rows].T
            loss = (means - targets[chosen]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            error = float(loss.detach())
        progress(1, f"error {error**0.5:.3f}")
