"""Training a harvest policy by proximal policy optimisation (arXiv 1707.06347), with exact resumption."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from torch import nn
from torch.nn.functional import mse_loss

from monet_model.train_state import STATE_FILE, Log, load_state, save_state

from ...errors import BadInputError, DamagedError
from ...progress import Progress, silent
from .actor import MonetActorCritic, PopulationReader, StateReader
from .cloning import visited
from .fishery import Fishery
from .mlp import save_mlp
from .observations import observe
from .policy import TRAINING_FILE, make_model, save_policy, write_fishery
from .rules import constant_mortality
from .vec_env import FisheryVecEnv

_TRAIN_SEED = 0  # first seed of the noise of training episodes; those of figures are a million and more
_SAVE_EVERY = 10  # updates
# Settings of an MLP in place of a Monet policy's.
_MLP = {"episodes": 64, "epochs": 10, "batch": 1024, "lr": 1e-3, "last_deviation": 0.1}
_VALUE_BATCH = 1024  # steps of the fishery per step of the critic alone
_REFRESH_STATES = 512  # of a rollout, whose statistics the routers take


@dataclass(frozen=True)
class PolicyTraining:
    """How a policy is trained.

    Attributes:
        model: of the fishery, 1 to 4.
        policy: "monet", or "mlp" for two layers of 64 tanh units.
        steps: of the fishery, in all; as many full rollouts as it takes.
        episodes: that are played side by side.
        rollout: steps of each between two updates.
        epochs: passes over a rollout in an update.
        batch: steps of the fishery per step of the optimiser.
        lr: learning rate of Adam at the start; it falls to 0 linearly.
        gamma, gae_lambda: discounts of rewards, and of what advantages are estimated from.
        clip: of the ratio of probabilities.
        deviation, last_deviation: standard deviation of mortalities at the start and at the end of training; it falls
            geometrically. What little is left of noise at the end still shows what a change of the policy is worth.
        reward_scale: what rewards are multiplied with in training, so that values are of the size of the critic's
            first outputs.
        value_epochs: passes over a rollout by the critic of a Monet policy alone, before those of both. They cost
            little, as the model reads nothing for them, and better values make better advantages of the next rollout.
        auxiliary: weight of the auxiliary losses of routing (arXiv 2412.04139, section 3) in a Monet policy. Without
            them, a policy for Model 4 used 594 of its 8,192 experts; docs/control.md tells what they change.
        seed: of weights, episodes and exploration.
    """

    model: int = 3
    policy: str = "monet"
    steps: int = 1_200_000
    episodes: int = 128
    rollout: int = 64
    epochs: int = 6
    batch: int = 4096
    lr: float = 3e-3
    gamma: float = 0.99
    gae_lambda: float = 0.98
    clip: float = 0.2
    deviation: float = 0.15
    last_deviation: float = 0.06
    reward_scale: float = 0.1
    value_epochs: int = 10
    auxiliary: float = 0.003
    seed: int = 0

    @classmethod
    def of(cls, policy: str = "monet", **settings: Any) -> PolicyTraining:
        """The settings that suit a kind of policy, with some of one's own.

        A Monet policy takes fewer and larger batches: states of a batch that are equal, or begin alike, are read once.

        Raises:
            BadInputError: there is no such kind, or a setting makes no sense.
        """
        return cls(policy=policy, **({**_MLP, **settings} if policy == "mlp" else settings))

    def __post_init__(self) -> None:
        if self.policy not in ("monet", "mlp"):
            raise BadInputError(f"a policy is monet or mlp, got {self.policy!r}.")
        for name in ("steps", "episodes", "rollout", "epochs", "batch"):
            if getattr(self, name) < 1:
                raise BadInputError(f"{name} must be at least 1, got {getattr(self, name)}.")

    @property
    def updates(self) -> int:
        """Number of updates."""
        return -(-self.steps // self.per_update)

    @property
    def per_update(self) -> int:
        """Steps of the fishery between two updates."""
        return self.episodes * self.rollout

    @property
    def identity(self) -> str:
        """A hash of the settings, which a state to resume from must share."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def train_policy(
    settings: PolicyTraining, out: Path, *, resume: bool = False, progress: Progress = silent
) -> dict[str, Any]:
    """Train a policy; ``out`` then holds it with its settings and log.

    The routers of a Monet policy normalise by fixed statistics while a rollout is played and learned from, so that
    probabilities are those of one and the same policy; after each update they take the statistics of its rollout.

    Args:
        settings: what is trained, and how.
        out: folder for the policy (see ``save_policy``; an MLP is in ``mlp.safetensors``), ``training.json`` and
            ``log.jsonl``; a line of the log has the updates done (``step``), steps of the fishery, mean reward of
            the last 100 episodes as they were played, with noise, and the deviation of that noise.
        resume: continue from the state in ``out``; the result is that of a training that was never interrupted.
        progress: called with the steps of the fishery done.

    Returns:
        What ``training.json`` holds: the settings, and the ``deviation`` of the noise at the end.

    Raises:
        BadInputError: ``out`` holds a training already, or with ``resume`` one with other settings.
    """
    if not resume and ((out / STATE_FILE).exists() or (out / TRAINING_FILE).exists()):
        raise BadInputError(f"{out} holds a training already; resume it, or choose another folder.")
    out.mkdir(parents=True, exist_ok=True)
    fishery = Fishery.of(settings.model)
    env = FisheryVecEnv(fishery, settings.episodes, _TRAIN_SEED + settings.seed, settings.reward_scale)
    with _own_randomness():
        algorithm = _algorithm(settings, fishery, env)
        kept = _Kept(algorithm.policy, env)
        try:
            done = load_state(out, kept, algorithm.policy.optimizer, settings.identity) if resume else 0
        except ValueError as error:
            raise (DamagedError if "damaged" in str(error) else BadInputError)(str(error)) from error
        if done:
            kept.give_back(env)
            algorithm.take_up(done)
        progress(done * settings.per_update)
        algorithm.after_update = _Keeper(settings, out, kept, env, done, progress)
        left = (settings.updates - done) * settings.per_update
        if left:
            never = settings.updates + 1  # prints of stable-baselines3
            algorithm.learn(
                left, _BeforeRollouts(settings, algorithm.policy), log_interval=never, reset_num_timesteps=not done
            )
    if settings.policy == "monet":
        save_policy(algorithm.reader.model, fishery, out)
    else:
        save_mlp(algorithm.policy, out)
        write_fishery(fishery, out)
    result = {"settings": asdict(settings), "deviation": algorithm.policy.log_std.detach().exp().tolist()}
    (out / TRAINING_FILE).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


@contextmanager
def _own_randomness() -> Iterator[None]:
    """stable-baselines3 seeds the generators of all; give them back as they were."""
    before = np.random.get_state()
    with torch.random.fork_rng([]):
        try:
            yield
        finally:
            np.random.set_state(before)


class _Training(PPO):
    """PPO that calls ``after_update`` when an update is done, and refreshes the routers of a Monet policy there."""

    after_update: Any = None
    value_epochs = 0
    policy: Any
    env: FisheryVecEnv

    @property
    def reader(self) -> StateReader:
        reader = self.policy.features_extractor
        assert isinstance(reader, StateReader)
        return reader

    def take_up(self, updates: int) -> None:
        """Go on after so many updates, from where the episodes are."""
        self.num_timesteps = updates * self.n_steps * self.n_envs
        self._last_obs = self.env.observations()
        self._last_episode_starts = self.env.episodes.time == 0

    def train(self) -> None:
        self._fit_values()
        super().train()
        if isinstance(self.policy, MonetActorCritic):
            seen = self.rollout_buffer.observations
            chosen = np.linspace(0, len(seen) - 1, min(len(seen), _REFRESH_STATES)).astype(int)
            self.reader.refresh(torch.from_numpy(seen[chosen]))
        self.after_update(self)

    def _fit_values(self) -> None:
        self._update_learning_rate(self.policy.optimizer)
        for _ in range(self.value_epochs):
            for batch in self.rollout_buffer.get(_VALUE_BATCH):
                self.policy.optimizer.zero_grad()
                mse_loss(self.policy.values_of(batch.observations), batch.returns).backward()
                nn.utils.clip_grad_norm_(self.policy.value_net.parameters(), self.max_grad_norm)
                self.policy.optimizer.step()


def _algorithm(settings: PolicyTraining, fishery: Fishery, env: FisheryVecEnv) -> _Training:
    """PPO with a fresh policy."""
    torch.manual_seed(settings.seed)
    shared = {"log_std_init": float(np.log(settings.deviation))}
    reading: dict[str, Any] = {"features_extractor_class": PopulationReader}
    if settings.policy == "monet":
        reading = {
            "net_arch": [],
            "features_extractor_class": StateReader,
            "features_extractor_kwargs": {"model": make_model(settings.seed), "fishery": fishery},
        }
    algorithm = _Training(
        MonetActorCritic if settings.policy == "monet" else "MlpPolicy",
        env,
        policy_kwargs=shared | reading,
        n_steps=settings.rollout,
        batch_size=settings.batch,
        n_epochs=settings.epochs,
        learning_rate=lambda left: settings.lr * left,
        gamma=settings.gamma,
        gae_lambda=settings.gae_lambda,
        clip_range=settings.clip,
        ent_coef=settings.auxiliary if settings.policy == "monet" else 0.0,
        seed=settings.seed,
        device="cpu",
    )
    algorithm.policy.log_std.requires_grad_(False)
    algorithm.value_epochs = settings.value_epochs if settings.policy == "monet" else 0
    if settings.policy == "mlp":
        with torch.no_grad():  # as a Monet policy's
            algorithm.policy.action_net.bias.copy_(torch.tensor(fishery.base))
    else:
        # No rollout has been played yet: the routers begin with the states that light fishing leads to.
        states = visited(fishery, constant_mortality(*[0.1] * len(fishery.harvested)), 16, settings.seed)
        algorithm.reader.refresh(torch.from_numpy(observe(fishery, states)))
    return algorithm


class _Kept(nn.Module):
    """Everything that a training goes on from, as the parameters and buffers of one module."""

    def __init__(self, policy: nn.Module, env: FisheryVecEnv) -> None:
        super().__init__()
        for name, parameter in policy.named_parameters():
            self.register_parameter(name.replace(".", "/"), parameter)
        for name, buffer in policy.named_buffers():
            self.register_buffer(name.replace(".", "/"), buffer)
        self._of_env = list(env.state())
        self.take(env)

    def take(self, env: FisheryVecEnv) -> None:
        """Note where the episodes are."""
        for name, values in env.state().items():
            self.register_buffer(f"env/{name}", torch.from_numpy(values.copy()))

    def give_back(self, env: FisheryVecEnv) -> None:
        """Put the episodes where they were noted to be."""
        env.restore({name: self.get_buffer(f"env/{name}").numpy() for name in self._of_env})


class _BeforeRollouts(BaseCallback):
    """Sets the deviation, and seeds exploration and the order of batches, by the steps done: no generator is saved."""

    def __init__(self, settings: PolicyTraining, policy: Any) -> None:
        super().__init__()
        self.settings, self.policy = settings, policy

    def _on_rollout_start(self) -> None:
        how, done = self.settings, self.num_timesteps / (self.settings.updates * self.settings.per_update)
        with torch.no_grad():
            deviation = how.deviation * (how.last_deviation / how.deviation) ** done
            self.policy.log_std.fill_(float(np.log(deviation)))
        state = np.random.SeedSequence([how.seed, self.num_timesteps]).generate_state(2)
        torch.manual_seed(int(state[0]))
        np.random.seed(int(state[1]))

    def _on_step(self) -> bool:
        return True


class _Keeper:
    """Logs and reports updates, and saves the state now and then."""

    def __init__(
        self, settings: PolicyTraining, out: Path, kept: _Kept, env: FisheryVecEnv, done: int, progress: Progress
    ) -> None:
        self.settings, self.out, self.kept, self.env, self.progress = settings, out, kept, env, progress
        self.done = done
        self.log = Log(out, done)

    def __call__(self, algorithm: _Training) -> None:
        self.done += 1
        recent = [episode["r"] for episode in algorithm.ep_info_buffer or []]
        reward = float(np.mean(recent)) if recent else None
        deviation = algorithm.policy.log_std.detach().exp().tolist()
        row = {"step": self.done, "steps": algorithm.num_timesteps, "reward": reward, "deviation": deviation}
        self.log.add(row)
        if self.done % _SAVE_EVERY == 0 or self.done == self.settings.updates:
            self.kept.take(self.env)
            save_state(self.out, self.kept, algorithm.policy.optimizer, self.done, self.settings.identity)
        self.progress(self.settings.per_update, "" if reward is None else f"reward {reward:.1f}")
