"""A training checkpoint on disk: everything an interrupted training needs to go on as if it had not been."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

STATE = "state.safetensors"
LOG = "log.jsonl"


def _tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Parameters, buffers and optimizer moments by name; tensors that share memory once."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    if getattr(model.config, "tie_word_embeddings", False):
        del tensors["model.lm_head.weight"]
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{key}.{name}"] = value
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def save_state(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int, identity: str) -> None:
    """Write the state after ``step`` steps in place of the last one; a crash leaves one of the two, whole.

    Args:
        folder: the training's folder.
        model, optimizer: what is trained; every parameter has been stepped at least once.
        step: steps done.
        identity: what the training was started with; :func:`load_state` refuses another.
    """
    scratch = folder / f".{STATE}"
    save_file(_tensors(model, optimizer), scratch, {"step": str(step), "identity": identity})
    with scratch.open("rb") as written:
        os.fsync(written.fileno())
    scratch.replace(folder / STATE)


def load_state(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, identity: str) -> int:
    """Restore what :func:`save_state` wrote; returns the steps done, 0 where nothing was saved yet.

    Raises:
        ValueError: the state is damaged, or of a training with another configuration or corpus.
    """
    path = folder / STATE
    if not path.exists():
        return 0
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); remove it to train from the beginning.") from error
    if metadata["identity"] != identity:
        raise ValueError(
            f"{path} belongs to a training with another configuration or corpus; resume with the one it was started "
            "with, or name another folder."
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
    """The training's log, ``log.jsonl``: one JSON object a line, each with its ``step``.

    Lines past the step a training resumes from are dropped, so that the log reads as if nothing had happened.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / LOG
        kept = [line for line in self._lines() if json.loads(line)["step"] <= step] if step else []
        self.path.write_text("".join(kept), encoding="utf-8")

    def _lines(self) -> list[str]:
        if not self.path.exists():
            return []
        return [line for line in self.path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]

    def add(self, row: dict[str, Any]) -> None:
        """Append a row."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
