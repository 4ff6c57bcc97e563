"""The state of a training run on disk: all that an interrupted run needs to continue exactly, and its log."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

STATE_FILE = "state.safetensors"
LOG_FILE = "log.jsonl"


def _tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return parameters, buffers and optimizer moments by name; tensors that share memory appear once."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    if getattr(getattr(model, "config", None), "tie_word_embeddings", False):
        del tensors["model.lm_head.weight"]
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{key}.{name}"] = value
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def save_state(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int, identity: str) -> None:
    """Replace the saved state by the one after ``step`` steps, atomically: a crash leaves one of the two intact.

    Args:
        folder: folder of the training run.
        model, optimizer: the model and its optimizer, which has updated every parameter at least once.
        step: steps done.
        identity: hash of the configuration and corpus; ``load_state`` refuses a state with another.
    """
    scratch = folder / f".{STATE_FILE}"
    save_file(_tensors(model, optimizer), scratch, {"step": str(step), "identity": identity})
    with scratch.open("rb") as written:
        os.fsync(written.fileno())
    scratch.replace(folder / STATE_FILE)


def load_state(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, identity: str) -> int:
    """Restore the state that ``save_state`` wrote.

    Returns:
        Steps done so far; 0 if nothing has been saved.

    Raises:
        ValueError: the state is damaged, or belongs to a training run with another configuration or corpus.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return 0
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); remove it to train from scratch.") from error
    if metadata["identity"] != identity:
        raise ValueError(
            f"{path} belongs to a training run with another configuration or corpus; resume with those it was started "
            "with, or choose another folder."
        )
    model.load_state_dict(_part(tensors, "model."), strict=False)
    moments: dict[str, dict[str, Tensor]] = {name: {} for name, _ in model.named_parameters()}
    for key, tensor in _part(tensors, "optimizer.").items():
        moment, _, name = key.partition(".")
        moments[name][moment] = tensor
    for name, parameter in model.named_parameters():
        optimizer.state[parameter] = moments[name]
    return int(metadata["step"])


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


class Log:
    """The log of a training run, ``log.jsonl``: one JSON object per line, each with its ``step``.

    Lines after the step that a run resumes from are dropped, so that the log reads as if it had never been interrupted.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / LOG_FILE
        kept = [line for line in self._lines() if json.loads(line)["step"] <= step] if step else []
        self.path.write_text("".join(kept), encoding="utf-8")

    def _lines(self) -> list[str]:
        if not self.path.exists():
            return []
        return [line for line in self.path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]

    def add(self, row: dict[str, Any]) -> None:
        """Append a row, which has a ``step``."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
