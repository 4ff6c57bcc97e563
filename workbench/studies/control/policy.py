"""Harvest policies that are Monet models: made, read, saved and loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from monet_model import MonetConfig, MonetForCausalLM

from ...checkpoint import load_model
from ...errors import DamagedError, NotFoundError
from .fishery import Array, Fishery
from .tokens import BINS, BOS, VOCABULARY, Ids, action_ids, make_tokenizer, state_ids

if TYPE_CHECKING:
    from .episodes import Policy

FISHERY_FILE = "fishery.json"
_AT_ONCE = 8192  # states that are read in one pass


def make_model(seed: int = 0, **changes: Any) -> MonetForCausalLM:
    """A fresh policy: two layers of 4,096 experts each over the tokens of a state, 0.16 M parameters.

    The logit of token ``Mx`` (``My``) behind a state is the mortality of X (of Y). Rows of the head for the tokens of
    states are 0 and stay so: a policy expects no next state.

    Args:
        seed: of the initial weights.
        changes: fields of the configuration in place of these.
    """
    shape: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 16,
        "max_position_embeddings": 16,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "bos_token_id": BOS,
        "eos_token_id": None,
        "moe_experts": 64,
        "moe_heads": 2,
        "moe_topk": 4,
        "moe_dim": 4,
        "moe_groups": 1,
    }
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = MonetForCausalLM(MonetConfig(**(shape | changes)))
    with torch.no_grad():
        model.lm_head.weight[: 1 + 3 * BINS] = 0
    return model.eval()


@torch.no_grad()
def refresh_statistics(model: MonetForCausalLM, ids: torch.Tensor) -> None:
    """Set the running statistics of the routers to those of some states, (states, tokens), and of nothing else."""
    norms = [norm for layer in model.model.layers for norm in (layer.router.norm1, layer.router.norm2)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    try:
        model.model(ids)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval()
            norm.momentum = momentum


def monet_policy(
    model: MonetForCausalLM, fishery: Fishery, edit: Callable[[], AbstractContextManager[None]] = nullcontext
) -> Policy:
    """The policy of a model, without noise: its mortalities at populations, cut to 0 … 1.

    A state is read once, and its mortality kept: populations in the same bins are the same state.

    Args:
        model: in evaluation mode; a policy made before the model is trained on keeps what it has read.
        fishery: the fishery that it was trained on.
        edit: makes the context in which states are read, such as ``lambda: model.edit_experts(removal)``.

    Examples:
        >>> import numpy as np
        >>> from workbench.studies.control import Fishery, make_model, monet_policy
        >>> policy = monet_policy(make_model(), Fishery.of(3))
        >>> policy(np.array([[0.5, 0.5, 0.7]])).shape
        (1, 2)
    """
    wanted = action_ids(fishery)
    table = np.empty((0, len(wanted)))
    rows: dict[int, int] = {}

    def policy(populations: Array) -> Array:
        nonlocal table
        ids = state_ids(fishery, populations)
        codes = ids[:, 1:] @ VOCABULARY ** np.arange(ids.shape[1] - 1)
        distinct, at, of = np.unique(codes, return_index=True, return_inverse=True)
        fresh = [n for n, code in enumerate(distinct.tolist()) if code not in rows]
        if fresh:
            rows.update(zip(distinct[fresh].tolist(), range(len(table), len(table) + len(fresh)), strict=True))
            with edit():
                read = mortalities(model, fishery, ids[at[fresh]])
            table = np.concatenate([table, read])
        places = np.array([rows[code] for code in distinct.tolist()])
        return table[places][of]

    return policy


@torch.no_grad()
def mortalities(model: MonetForCausalLM, fishery: Fishery, ids: Ids) -> Array:
    """The mortalities of states given as ids (states, tokens): (states, harvested species), cut to 0 … 1."""
    parts = []
    for start in range(0, len(ids), _AT_ONCE):
        logits = model(torch.from_numpy(ids[start : start + _AT_ONCE]), logits_to_keep=1).logits
        parts.append(logits[:, -1, action_ids(fishery)].double().numpy())
    return np.concatenate(parts).clip(0, 1)


def save_policy(model: MonetForCausalLM, fishery: Fishery, folder: Path) -> None:
    """Write a policy: a checkpoint that everything reads as any Monet model's, its tokenizer and its fishery."""
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    (folder / FISHERY_FILE).write_text(json.dumps(fishery.to_dict(), indent=1) + "\n", encoding="utf-8")


def load_policy(folder: str | Path) -> tuple[MonetForCausalLM, Fishery]:
    """A saved policy and the fishery that it was trained on.

    Raises:
        NotFoundError: the folder is no policy's.
        DamagedError: a file of it cannot be read.
    """
    path = Path(folder) / FISHERY_FILE
    if not path.is_file():
        raise NotFoundError(f"the folder {folder} has no {FISHERY_FILE}; is it one that `monet control train` wrote?")
    try:
        fishery = Fishery.of(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DamagedError(f"{path} is damaged: {error}") from error
    return load_model(folder), fishery
