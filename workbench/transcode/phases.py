"""One stretch of training of a transcoding, with its log, its states to resume from, and its progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from monet_model.train_state import Log, load_state, save_state
from monet_model.training import TrainingConfig, learning_rate, make_optimizer

from ..errors import BadInputError
from ..progress import interruptible, job


@dataclass
class Phase:
    """A stretch of training.

    Attributes:
        name: of it, in the log, the progress and the folder of its state.
        module: what is trained; its parameters and buffers are all of the state.
        how: steps, learning rates, and how often what happens.
        step: runs forward and backward of a step, leaving gradients; returns losses by name, ``loss`` among them.
        figures: measures held-out figures, given whether they are the last.
        revive: replaces dead keys, given the optimizer and a seed; returns how many.
        finish: what is done after the last step, before the state is saved.
    """

    name: str
    module: nn.Module
    how: TrainingConfig
    step: Callable[[int], dict[str, float]]
    figures: Callable[[bool], dict[str, Any]]
    revive: Callable[[Optimizer, int], int] | None = None
    finish: Callable[[], None] = lambda: None


def run_phase(phase: Phase, folder: Path, log_folder: Path, identity: str, offset: int = 0) -> int:
    """Train a phase from where it stands to its end, to the bits that an uninterrupted training gives.

    Args:
        phase: what to do.
        folder: of its state.
        log_folder: of the log, to which rows are added.
        identity: hash of everything that determines the weights.
        offset: steps of earlier phases, which the log counts on from.

    Returns:
        ``offset`` and the steps of this phase.

    Raises:
        BadInputError: the state is damaged or another transcoding's, or the loss stopped being finite.
        KeyboardInterrupt: asked for with Ctrl-C; what was saved last stays.
    """
    how, module = phase.how, phase.module.train()
    optimizer = make_optimizer(module, how)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        done = load_state(folder, module, optimizer, identity)
    except ValueError as error:
        raise BadInputError(str(error)) from error
    if done < how.steps:
        _train(phase, optimizer, done, Log(log_folder, offset + done), folder, identity, offset)
    module.eval()
    return offset + how.steps


def _train(phase: Phase, optimizer: Optimizer, done: int, log: Log, folder: Path, identity: str, offset: int) -> None:
    how, module, size = phase.how, phase.module, phase.how.sequence * phase.how.batch
    began, first = time.monotonic(), done
    with job(phase.name, how.steps * size, "tokens") as advance, interruptible() as check:
        advance(done * size)
        for step in range(done, how.steps):
            check()
            rate = learning_rate(step, how)
            for group in optimizer.param_groups:
                group["lr"] = rate
            losses = phase.step(step)
            if not math.isfinite(losses["loss"]):
                raise BadInputError(
                    f"{phase.name}: the loss is {losses['loss']} at step {step}; lower the learning rate ({how.lr})."
                )
            norm = float(nn.utils.clip_grad_norm_(module.parameters(), how.clip))
            optimizer.step()
            optimizer.zero_grad()
            done, last = step + 1, step + 1 == how.steps
            row: dict[str, Any] = {"phase": phase.name, "step": offset + done, "tokens": done * size, "lr": rate}
            row |= {**losses, "grad_norm": norm}
            due = how.revive_every and done % how.revive_every == 0 and done <= how.steps // 2
            if phase.revive is not None and due:
                row["revived"] = phase.revive(optimizer, how.seed + done)
            if last:
                phase.finish()
            if done % how.eval_every == 0 or last:
                module.eval()
                row["heldout"] = phase.figures(last)
                module.train()
            if done % how.log_every == 0 or "heldout" in row or "revived" in row:
                row["tokens_per_second"] = (done - first) * size / (time.monotonic() - began)
                log.add(row)
            if done % how.save_every == 0 or last:
                save_state(folder, module, optimizer, done, identity)
            advance(size, f"loss {losses['loss']:.3f}")
