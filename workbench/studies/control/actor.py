"""A Monet policy as stable-baselines3's PPO trains one: it draws mortalities around the model's logits."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from torch import Tensor, nn

from cuda_ext.routing import Routing
from monet_model import MonetForCausalLM
from monet_model.losses import ambiguity_loss, uniformity_loss

from .fishery import UNIT, Fishery
from .observations import observed_populations
from .policy import refresh_statistics
from .prefixes import last_hidden
from .tokens import action_ids, state_codes, state_ids


class PopulationReader(FlattenExtractor):
    """Observations as populations, for a policy that is no Monet model."""

    def forward(self, observations: Tensor) -> Tensor:
        return super().forward(observations) * UNIT


class StateReader(BaseFeaturesExtractor):
    """Observations through a Monet model: the logits of its action tokens, and beside them the populations observed.

    Without gradients, as in a rollout, each state is read once until the next training or refreshing.

    Args:
        observation_space: of the fishery.
        model: of ``make_model``; trained in place.
        fishery: the fishery.
    """

    def __init__(self, observation_space: spaces.Box, model: MonetForCausalLM, fishery: Fishery) -> None:
        self.rows = action_ids(fishery)
        super().__init__(observation_space, len(self.rows) + observation_space.shape[0])
        self.model = model
        self.fishery = fishery
        self._base = torch.tensor(fishery.base)
        self._routed: list[Routing] = []
        self._known: dict[int, int] = {}  # state -> row of the table
        self._table = torch.empty(0, len(self.rows))

    def train(self, mode: bool = True) -> StateReader:
        """Forget what was read. The model stays in evaluation mode: its routers normalise by fixed statistics."""
        self.forget()
        self.training = mode
        self.model.eval()
        return self

    def forget(self) -> None:
        """Read every state again from here on."""
        self._known, self._table = {}, torch.empty(0, len(self.rows))

    def ids(self, observations: Tensor) -> Tensor:
        """The tokens of observed states, (states, tokens)."""
        return torch.from_numpy(state_ids(self.fishery, observed_populations(self.fishery, observations.numpy())))

    def auxiliary(self) -> Tensor:
        """The auxiliary losses of routing (arXiv 2412.04139, section 3) at the states that were read last."""
        return uniformity_loss(self._routed) + ambiguity_loss(self._routed)

    def forward(self, observations: Tensor) -> Tensor:
        """Logits and populations (states, actions + species) for observations (states, species)."""
        ids = self.ids(observations)
        logits = self._read(ids) if torch.is_grad_enabled() else self._recall(ids)
        return torch.cat([logits, observations * UNIT], 1)

    def _read(self, ids: Tensor) -> Tensor:
        self._routed = []
        hidden = last_hidden(self.model, ids, self._routed)
        return self._base + hidden @ self.model.lm_head.weight[self.rows].T

    def _recall(self, ids: Tensor) -> Tensor:
        codes = state_codes(ids.numpy()).tolist()
        fresh = {code: n for n, code in enumerate(codes) if code not in self._known}
        if fresh:
            self._known |= {code: len(self._table) + n for n, code in enumerate(fresh)}
            self._table = torch.cat([self._table, self._read(ids[list(fresh.values())])])
        return self._table[[self._known[code] for code in codes]]

    def refresh(self, observations: Tensor) -> None:
        """Set the statistics of the routers to those of some observations, (states, species)."""
        refresh_statistics(self.model, self.ids(observations))
        self.forget()


class _Columns(nn.Module):
    """Some of the features that the reader gives."""

    def __init__(self, chosen: slice) -> None:
        super().__init__()
        self.chosen = chosen

    def forward(self, features: Tensor) -> Tensor:
        return features[:, self.chosen]


class MonetActorCritic(ActorCriticPolicy):
    """PPO's policy over a Monet model: Gaussian mortalities around its action logits.

    States are valued by a network of their own, two layers of 64 tanh units on the populations, which is dropped when
    the policy is saved: experts then serve the policy alone. Read off the same tokens, values are learned more slowly.

    Takes the arguments of ``ActorCriticPolicy`` that concern the optimiser and the initial deviation; the features
    extractor must be a ``StateReader``.
    """

    features_extractor: StateReader

    def evaluate_actions(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """Values, log-probabilities, and in place of the entropy, which is fixed, minus the auxiliary losses."""
        values, log_prob, _ = super().evaluate_actions(obs, actions)
        return values, log_prob, -self.features_extractor.auxiliary()

    def values_of(self, observations: Tensor) -> Tensor:
        """The critic's values, (states,), of observations (states, species); the model does not read them."""
        no_logits = observations.new_zeros(len(observations), len(self.features_extractor.rows))
        return self.value_net(torch.cat([no_logits, observations * UNIT], 1)).flatten()

    def _build(self, lr_schedule: Any) -> None:
        self._build_mlp_extractor()
        reader = self.features_extractor
        actions = len(reader.rows)
        species = reader.features_dim - actions
        self.log_std = nn.Parameter(torch.full((actions,), float(self.log_std_init)))
        self.action_net = _Columns(slice(actions))
        self.value_net = nn.Sequential(  # type: ignore[assignment]
            _Columns(slice(actions, None)),
            nn.Linear(species, 64),
            nn.Tanh(),
            nn.Linear(64, 64),
            nn.Tanh(),
            nn.Linear(64, 1),
        )
        options = {"lr": lr_schedule(1), **self.optimizer_kwargs}
        self.optimizer = self.optimizer_class(self.parameters(), **options)
