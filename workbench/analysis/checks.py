"""What analyses ask of a model, a run and a rule before they begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import BadInputError, WorkbenchError

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ..store import Run


SAME_KEYS = 0.9  # of the active keys


def check_model(model: MonetForCausalLM) -> None:
    """Raises WorkbenchError for a model in training mode."""
    if model.training:
        raise WorkbenchError(
            "the model is in training mode, where routing rests on the batch: call model.eval() first."
        )


def check_same_model(run: Run, model: MonetForCausalLM) -> None:
    """Raises WorkbenchError unless the model is in evaluation mode and routes as the run's did.

    The routing of the first window it holds in the first group is compared, where a model of other numerical precision
    still chooses nearly all keys alike and another checkpoint does not.
    """
    from .windows import read_windows

    check_model(model)
    config = model.config
    shape = config.moe_experts, config.moe_heads, [group.start for group in config.routing_groups]
    wanted = run.num_keys, run.heads, run.group_layers
    if shape != wanted:
        raise WorkbenchError(
            f"the model's keys, heads and router layers are {shape}, those of {run.path} are {wanted}; "
            f"give the model it was exported from, {run.model_path}."
        )
    kept = run.documents.query("tokens > 0 and kept").head(1)
    if not len(kept):  # a run without any routing leaves nothing to compare
        return
    batch = read_windows(run, kept).batches[0]
    counted = batch.row[0] >= 0
    with torch.no_grad():
        probs = model(batch.ids[:1].to(model.device), output_router_probs=True, use_cache=False).router_probs
    now = [g[0, counted] > 0 for g in probs[run.group_layers[0]]]
    then = [g.to(model.device) > 0 for g in run.routing(batch.row[0, counted].numpy(), run.groups[0]).dense()]
    alike = sum(int((a & b).sum()) for a, b in zip(now, then, strict=True))
    if alike < SAME_KEYS * sum(int((a | b).sum()) for a, b in zip(now, then, strict=True)):
        raise WorkbenchError(
            f"the model does not route as the one that {run.path} was exported from, {run.model_path}; give that one, "
            "or export the run anew."
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
