"""The policy that a Monet one stands beside: two layers of tanh units, as stable-baselines3 makes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import nn

from ...errors import DamagedError
from .episodes import Policy
from .fishery import UNIT, Array, Fishery
from .observations import observe
from .policy import MLP_FILE, cut

if TYPE_CHECKING:
    from stable_baselines3.common.policies import ActorCriticPolicy


def save_mlp(policy: ActorCriticPolicy, folder: Path) -> None:
    """Write the layers that set mortalities: ``weight.N`` and ``bias.N`` of each, in order."""
    layers = [layer for layer in policy.mlp_extractor.policy_net if isinstance(layer, nn.Linear)]
    tensors = {}
    for number, layer in enumerate([*layers, policy.action_net]):
        assert isinstance(layer, nn.Linear)
        tensors[f"weight.{number}"] = layer.weight.detach().numpy().copy()
        tensors[f"bias.{number}"] = layer.bias.detach().numpy().copy()
    save_file(tensors, folder / MLP_FILE)


def mlp_policy(folder: Path, fishery: Fishery, deviation: Array | None = None, seed: int = 0) -> Policy:
    """A saved policy; ``deviation`` and ``seed`` as for ``monet_policy``.

    Raises:
        DamagedError: its file cannot be read.
    """
    try:
        tensors = load_file(folder / MLP_FILE)
        layers = [(tensors[f"weight.{n}"].T, tensors[f"bias.{n}"]) for n in range(len(tensors) // 2)]
    except (SafetensorError, OSError, KeyError) as error:
        raise DamagedError(f"{folder / MLP_FILE} is damaged ({error}); train the policy again.") from error

    def means(populations: Array) -> Array:
        values = observe(fishery, populations) * UNIT
        for weight, bias in layers[:-1]:
            values = np.tanh(values @ weight + bias)
        return (values @ layers[-1][0] + layers[-1][1]).astype(np.float64)

    return cut(means, deviation, seed)
