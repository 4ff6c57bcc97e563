"""How a trained policy does: by itself, and with the noise that it was trained with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np

from monet_model.train_state import LOG_FILE, STATE_FILE

from ...errors import BadInputError, DamagedError, NotFoundError
from .episodes import Policy
from .figures import CHOOSE_SEED, EPISODES, Figures, measure
from .fishery import Array, Fishery
from .mlp import mlp_policy
from .policy import MLP_FILE, TRAINING_FILE, load_policy, monet_policy, read_fishery


def open_policy(folder: str | Path, deviation: Array | None = None, seed: int = 0) -> tuple[Policy, Fishery]:
    """A saved policy of either kind, with its fishery.

    Args:
        folder: that `monet control train` wrote.
        deviation: (harvested species,) standard deviation of noise on its mortalities; None for the policy itself.
        seed: of that noise.

    Raises:
        NotFoundError: the folder is no policy's.
        DamagedError: a file of it cannot be read.
    """
    folder = Path(folder)
    if (folder / MLP_FILE).is_file():
        fishery = read_fishery(folder)
        return mlp_policy(folder, fishery, deviation, seed), fishery
    model, fishery = load_policy(folder)
    return monet_policy(model, fishery, deviation=deviation, seed=seed), fishery


def evaluate_policy(folder: str | Path, episodes: int = EPISODES, fishery: Fishery | None = None) -> dict[str, Figures]:
    """Figures of a policy on fresh episodes.

    Args:
        folder: that `monet control train` wrote.
        episodes: how many.
        fishery: to play in place of the policy's own, such as one with perturbed parameters.

    Returns:
        ``policy``: as it is; and where its training kept the deviation of its noise, ``with noise``: as the paper
        evaluates, whose code draws actions also then.

    Raises:
        NotFoundError: the folder is no policy's.
        DamagedError: a file of it cannot be read.
        BadInputError: there is no episode.

    Examples:
        >>> from importlib.resources import files
        >>> from workbench.studies.control import evaluate_policy
        >>> figures = evaluate_policy(files("workbench.studies.control") / "policies" / "model-3", episodes=100)
        >>> figures["policy"].whole > 0.9
        True
    """
    policy, own = open_policy(folder)
    played = fishery or own
    figures = {"policy": measure(played, policy, episodes)}
    deviation = read_deviation(Path(folder))
    if deviation is not None:
        figures["with noise"] = measure(played, open_policy(folder, deviation)[0], episodes)
    return figures


def choose_policy(folders: Sequence[str | Path], out: Path, episodes: int = EPISODES) -> Path:
    """Copy the files of the policy with the highest mean reward, on episodes that figures are not measured on.

    Args:
        folders: of policies.
        out: folder for the copy, without log and state of the training; must not exist yet.
        episodes: that the choice is made on.

    Returns:
        The folder of the chosen policy.

    Raises:
        NotFoundError: a folder is no policy's.
        DamagedError: a file cannot be read.
        BadInputError: ``out`` exists, or there is no folder or episode.
    """
    if out.exists():
        raise BadInputError(f"{out} exists already; choose another folder.")
    if not folders:
        raise BadInputError("there is no policy to choose from.")
    opened = [open_policy(folder) for folder in folders]
    rewards = [measure(fishery, policy, episodes, CHOOSE_SEED).reward for policy, fishery in opened]
    chosen = Path(folders[int(np.argmax(rewards))])
    out.mkdir(parents=True)
    for file in chosen.iterdir():
        if file.name not in (STATE_FILE, LOG_FILE):
            copyfile(file, out / file.name)
    return chosen


def read_training(folder: Path) -> dict[str, Any]:
    """What `monet control train` noted of a training: its settings, and the deviation of its noise at the end.

    Raises:
        NotFoundError: there is no such note.
        DamagedError: it cannot be read.
    """
    path = folder / TRAINING_FILE
    if not path.is_file():
        raise NotFoundError(f"the folder {folder} has no {TRAINING_FILE}; is it one that `monet control train` wrote?")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DamagedError(f"{path} is damaged: {error}") from error


def read_deviation(folder: Path) -> Array | None:
    """(harvested species,) deviation of the noise at the end of a policy's training; None for a clone, without any."""
    if not (folder / TRAINING_FILE).is_file():
        return None
    deviation = read_training(folder).get("deviation")
    return None if deviation is None else np.array(deviation)
