"""What analyses ask of a model, a run and a rule before they begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..checkpoint import checkpoint_hashes, loaded_from
from ..errors import BadInputError, UnsupportedError

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ..store import Run


SAME_KEYS = 0.9  # fraction of active keys that a run's model chooses again in another numerical precision, at least


def check_model(model: MonetForCausalLM) -> None:
    """Raise BadInputError for a model in training mode."""
    if model.training:
        raise BadInputError(
            "the model is in training mode, where routing depends on the batch: call model.eval() first."
        )


def check_same_model(run: Run, model: MonetForCausalLM) -> None:
    """Raise unless the model is the one that the run was exported from, and in evaluation mode.

    A model that was loaded from files must come from files with the hashes in the run's manifest, so another checkpoint
    of the same shape is detected even at the same path. Then the routing of one window is compared, which detects a
    model that was made or changed in memory; an edit by ``model.edit_experts`` is not a change.

    Raises:
        BadInputError: the model is in training mode.
        UnsupportedError: it is another model.
    """
    check_model(model)
    _check_shape(run, model)
    _check_files(run, model)
    _check_routing(run, model)


def _check_shape(run: Run, model: MonetForCausalLM) -> None:
    config = model.config
    shape = config.moe_experts, config.moe_heads, [group[0] for group in config.routing_groups]
    expected = run.num_keys, run.heads, run.group_layers
    if shape != expected:
        raise UnsupportedError(
            f"the model's keys, heads and router layers are {shape}, those of {run.path} are {expected}; "
            f"use the model it was exported from, {run.model_path}."
        )


def _check_files(run: Run, model: MonetForCausalLM) -> None:
    """Compare the hashes of the files a model was loaded from with the manifest's, where there are both."""
    expected: dict[str, str] = run.manifest["model"].get("hash") or {}
    folder = loaded_from(model)
    if folder is None or not expected:
        return
    actual = checkpoint_hashes(folder)
    for name in sorted(expected.keys() | actual.keys()):
        if actual.get(name) != expected.get(name):
            now, then = (hashes.get(name, "no such file")[:12] for hashes in (actual, expected))
            raise UnsupportedError(
                f"the model in {folder} is not the one that {run.path} was exported from: SHA-256 of {name} is {now}, "
                f"and was {then} then. Use the model it was exported from ({run.model_path}, as it was), or export the "
                "run again from this one."
            )


def _check_routing(run: Run, model: MonetForCausalLM) -> None:
    """Compare the routing of the first window that the run keeps, in its first group.

    In another numerical precision a model still chooses nearly all keys alike, and another checkpoint does not.
    """
    import torch

    from .windows import read_windows

    kept = run.documents.query("tokens > 0 and kept").head(1)
    if not len(kept):  # a run without any routing leaves nothing to compare
        return
    batch = read_windows(run, kept).batches[0]
    counted = (batch.row[0] >= 0).nonzero()[:, 0]
    with torch.no_grad():
        probs = model(batch.ids[:1].to(model.device), output_router_probs=True, use_cache=False).router_probs
    now = [g[0, counted.to(model.device)] > 0 for g in probs[run.group_layers[0]]]
    then = [g.to(model.device) > 0 for g in run.routing(batch.row[0, counted].numpy(), run.groups[0]).dense()]
    both = sum(int((a & b).sum()) for a, b in zip(now, then, strict=True))
    either = sum(int((a | b).sum()) for a, b in zip(now, then, strict=True))
    if both < SAME_KEYS * either:
        raise UnsupportedError(
            f"the model does not route as the one that {run.path} was exported from, {run.model_path}; use that one, "
            "or export the run again from this one."
        )


def check_labels(run: Run) -> None:
    """Raise BadInputError for a run of fewer than two labels."""
    if len(run.labels) < 2:
        raise BadInputError(
            f"{run.path} has one label, {run.labels[0]!r}; experts are compared between two labels or more."
        )


def check_rule(ratio: float, min_tokens: int) -> None:
    """Raise BadInputError where these make no specialisation rule."""
    if not ratio >= 1 or not np.isfinite(ratio):
        raise BadInputError(f"ratio must be a number of at least 1 (the paper's rule has 2), got {ratio}.")
    if min_tokens < 1:
        raise BadInputError(f"min_tokens must be at least 1, got {min_tokens}.")
