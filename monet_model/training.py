"""Training on packed token sequences: AdamW, warm-up and cosine decay, exact resumption.

The recipe follows arXiv 2412.04139, section 3 and appendix B, at a scale that a CPU can train.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn

from .config import MonetConfig
from .modeling import MonetForCausalLM
from .precision import bfloat16_products
from .revive import KeyUse, revive
from .train_state import Log, load_state, save_state

Report = Callable[[int, float], None]


@dataclass(frozen=True)
class TrainingConfig:
    """Hyperparameters of training; ``MonetConfig`` describes the model.

    Attributes:
        tokens: tokens to train on; the run takes as many full batches as fit.
        sequence: tokens per sequence.
        batch: sequences per step.
        replicas: threads that share a step; each takes its part of the batch, over which its routers normalise.
        lr: peak learning rate of AdamW.
        warmup: steps of linear warm-up, before a cosine decay to ``final_lr`` times the peak.
        final_lr: final learning rate as a share of the peak.
        weight_decay: weight decay of matrices; norms and biases are not decayed.
        beta2: second-moment decay of AdamW; the first is 0.9.
        clip: norm that gradients are clipped to.
        autocast: run matrix products outside the routers in bfloat16, on devices that have them.
        revive_every: steps between revivals of dead keys (``monet_model.revive``) in the first half of training; 0
            for none.
        seed: seed of the initial weights and of the order of sequences.
        save_every, eval_every, log_every: steps between checkpoints, held-out evaluations and lines of the log.
    """

    tokens: int
    sequence: int = 256
    batch: int = 8
    replicas: int = 1
    lr: float = 2e-3
    warmup: int = 200
    final_lr: float = 0.02
    weight_decay: float = 0.1
    beta2: float = 0.95
    clip: float = 1.0
    autocast: bool = False
    revive_every: int = 0
    seed: int = 0
    save_every: int = 200
    eval_every: int = 500
    log_every: int = 20

    def __post_init__(self) -> None:
        for name in ("tokens", "sequence", "batch", "replicas", "save_every", "eval_every", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.batch % self.replicas:
            raise ValueError(f"batch ({self.batch}) must be a multiple of replicas ({self.replicas}).")
        if self.revive_every and self.save_every % self.revive_every:
            raise ValueError(
                f"save_every ({self.save_every}) must be a multiple of revive_every ({self.revive_every})."
            )
        if self.sequence < 2:
            raise ValueError(f"sequence must be at least 2 tokens, got {self.sequence}.")

    @property
    def steps(self) -> int:
        """Number of optimizer steps."""
        return max(1, self.tokens // (self.sequence * self.batch))


def read_config(path: str | Path) -> tuple[MonetConfig, TrainingConfig]:
    """Read model and training configuration from a JSON file with the objects ``model`` and ``training``.

    Raises:
        ValueError: the file is missing or not JSON, a field is unknown, or a value is out of range.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"there is no training configuration at {path}: {error.strerror}.") from error
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from error
    if not isinstance(content, dict) or set(content) != {"model", "training"}:
        raise ValueError(f"{path} must hold one object with `model` and `training`.")
    known = {field.name for field in fields(TrainingConfig)}
    if unknown := set(content["training"]) - known:
        raise ValueError(f"{path}: unknown training fields {sorted(unknown)}; the fields are {sorted(known)}.")
    try:
        return MonetConfig(**content["model"]), TrainingConfig(**content["training"])
    except (StrictDataclassError, TypeError) as error:
        raise ValueError(f"{path}: {error.__cause__ or error}") from error


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Return the learning rate of a step (from 0): linear warm-up, then cosine decay."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.lr * (config.final_lr + (1 - config.final_lr) * 0.5 * (1 + math.cos(math.pi * done)))


class Sequences:
    """A stream of token ids cut into training sequences, in an order that depends on seed and epoch alone.

    Each epoch cuts at a different random offset, so that later epochs do not repeat the same sequences.

    Args:
        tokens: (n,) ids of all documents, concatenated.
        length: tokens per sequence.
        seed: seed of the order and the offsets.

    Raises:
        ValueError: there are fewer tokens than two sequences take.
    """

    def __init__(self, tokens: np.ndarray, length: int, seed: int) -> None:
        if len(tokens) < 2 * length:
            raise ValueError(f"the corpus has {len(tokens):,} tokens, too few for sequences of {length}.")
        self.tokens, self.length, self.seed = tokens, length, seed
        self.per_epoch = (len(tokens) - length) // length
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    def _starts(self, epoch: int) -> np.ndarray:
        if self._order[0] != epoch:
            rng = np.random.default_rng((self.seed, epoch))
            offset = rng.integers(self.length)
            self._order = (epoch, offset + self.length * rng.permutation(self.per_epoch))
        return self._order[1]

    def batch(self, step: int, size: int) -> Tensor:
        """Return the sequences of a step, (size, length) int64."""
        rows = []
        for at in range(step * size, (step + 1) * size):
            epoch, place = divmod(at, self.per_epoch)
            start = self._starts(epoch)[place]
            rows.append(self.tokens[start : start + self.length])
        return torch.from_numpy(np.stack(rows).astype(np.int64))


class _Replicas:
    """Threads that share a step, each with a replica of the model for its part of the batch.

    Replicas share weights. Gradients and the routers' running statistics are averaged in a fixed order, so that a step
    gives the same bits whatever the timing of the threads.
    """

    def __init__(self, model: MonetForCausalLM, count: int, autocast: bool) -> None:
        self.autocast = autocast
        self.models = [model, *(deepcopy(model) for _ in range(count - 1))]
        for replica in self.models[1:]:
            for own, shared in zip(replica.parameters(), model.parameters(), strict=True):
                own.data = shared.data
        self.uses = [KeyUse(model) for _ in self.models]
        self.pool = ThreadPoolExecutor(count)

    def _run(self, replica: MonetForCausalLM, use: KeyUse, ids: Tensor) -> dict[str, float]:
        with bfloat16_products(ids.device, self.autocast), use.counting(replica):
            out = replica(input_ids=ids, labels=ids, use_cache=False)
        out.loss.backward()
        return {"loss": float(out.loss.detach()), "lm_loss": float(out.lm_loss.detach())}

    def step(self, ids: Tensor) -> dict[str, float]:
        """Run forward and backward on a batch (sequences, tokens), leaving gradients in the first replica.

        Returns:
            Mean losses by name, in nats per token.
        """
        parts = ids.chunk(len(self.models))
        losses = list(self.pool.map(self._run, self.models, self.uses, parts))
        with torch.no_grad():
            for shared, *others in zip(*(m.parameters() for m in self.models), strict=True):
                for other in others:
                    shared.grad.add_(other.grad)
                    other.grad = None
                shared.grad.div_(len(self.models))
            for buffers in zip(*(m.buffers() for m in self.models), strict=True):
                if buffers[0].is_floating_point():
                    mean = torch.stack(buffers).mean(0)
                    for buffer in buffers:
                        buffer.copy_(mean)
        return {name: sum(part[name] for part in losses) / len(losses) for name in losses[0]}

    def take_use(self) -> KeyUse:
        """Return how often each key was used since the last call."""
        total = KeyUse(self.models[0])
        for use in self.uses:
            total.merge(use)
            use.reset()
        return total


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """Return an AdamW optimizer that decays matrices only."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, config.beta2), fused=True)


@torch.no_grad()
def heldout_loss(model: MonetForCausalLM, sequences: Tensor) -> float:
    """Return the mean loss over (n, tokens) sequences in evaluation mode, in nats per token."""
    was_training = model.training
    model.eval()
    total = sum(float(model(input_ids=part, labels=part).loss) * len(part) for part in sequences.split(8))
    model.train(was_training)
    return total / len(sequences)


def train(
    model_config: MonetConfig,
    config: TrainingConfig,
    tokens: np.ndarray,
    out: str | Path,
    *,
    heldout: Mapping[str, Tensor] | None = None,
    resume: bool = False,
    report: Report | None = None,
) -> MonetForCausalLM:
    """Train a model and save it in ``out``, where ``from_pretrained`` can load it, with its ``log.jsonl``.

    A run that is interrupted and resumed gives the same weights, bit for bit, as an uninterrupted one on the same kind
    of machine and number of threads.

    Args:
        model_config: shape of the model; its ``router_aux_loss_coef`` weighs both auxiliary losses.
        config: hyperparameters of training.
        tokens: (n,) token ids of the corpus.
        out: folder for the model, the log and the state to resume from.
        heldout: label -> (n, tokens) sequences to evaluate on during training.
        resume: continue from the state in ``out``, if there is one.
        report: called after each step with the number of steps done and the loss in nats per token.

    Returns:
        The trained model, in evaluation mode.

    Raises:
        ValueError: too few tokens, ids outside the vocabulary, or ``out`` belongs to another training run.
        FloatingPointError: the loss is no longer finite.
    """
    out = Path(out)
    if len(tokens) and int(tokens.max()) >= model_config.vocab_size:
        raise ValueError(f"token id {int(tokens.max())} is outside the vocabulary of {model_config.vocab_size}.")
    if not resume and out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty; resume the training run in it, or choose another folder.")
    sequences = Sequences(tokens, config.sequence, config.seed)
    torch.manual_seed(config.seed)
    model = MonetForCausalLM(model_config).train()
    optimizer = make_optimizer(model, config)
    out.mkdir(parents=True, exist_ok=True)
    identity = _identity(model_config, config, tokens)
    done = load_state(out, model, optimizer, identity)
    log = Log(out, done)
    replicas = _Replicas(model, config.replicas, config.autocast)
    began, first = time.monotonic(), done
    for step in range(done, config.steps):
        rate = learning_rate(step, config)
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses = replicas.step(sequences.batch(step, config.batch))
        if not math.isfinite(losses["loss"]):
            raise FloatingPointError(f"the loss is {losses['loss']} at step {step}; lower lr ({config.lr}) and resume.")
        norm = float(nn.utils.clip_grad_norm_(model.parameters(), config.clip))
        optimizer.step()
        optimizer.zero_grad()
        done = step + 1
        last = done == config.steps
        row: dict[str, Any] = {"step": done, "tokens": done * config.sequence * config.batch, "lr": rate}
        row |= {**losses, "grad_norm": norm}
        if config.revive_every and done % config.revive_every == 0 and done <= config.steps // 2:
            row["revived"] = revive(model, optimizer, replicas.take_use(), config.seed + done)
        if heldout and (done % config.eval_every == 0 or last):
            row["heldout"] = {label: heldout_loss(model, ids) for label, ids in heldout.items()}
        if done % config.log_every == 0 or "heldout" in row or "revived" in row:
            row["tokens_per_second"] = (done - first) * config.sequence * config.batch / (time.monotonic() - began)
            log.add(row)
        if done % config.save_every == 0 or last:
            save_state(out, model, optimizer, done, identity)
        if report is not None:
            report(done, losses["loss"])
    model.eval().save_pretrained(out)
    return model


def _identity(model_config: MonetConfig, config: TrainingConfig, tokens: np.ndarray) -> str:
    """Return a hash of everything that determines the weights."""
    digest = hashlib.sha256(json.dumps(asdict(config), sort_keys=True).encode())
    shape = {k: v for k, v in model_config.to_dict().items() if k != "transformers_version"}
    digest.update(json.dumps(shape, sort_keys=True, default=str).encode())
    digest.update(np.ascontiguousarray(tokens).tobytes())
    return digest.hexdigest()
