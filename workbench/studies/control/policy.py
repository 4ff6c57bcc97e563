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
from .tokens import BOS, VOCABULARY, Ids, action_ids, make_tokenizer, state_codes, state_ids

if TYPE_CHECKING:
    from .episodes import Policy

FISHERY_FILE, TRAINING_FILE, MLP_FILE = "fishery.json", "training.json", "mlp.safetensors"
EXPERT_WIDTH = 16  # dimensions of the residual stream that experts alone write, and actions alone read
_AT_ONCE = 8192  # states that are read in one pass


def make_model(seed: int = 0, **changes: Any) -> MonetForCausalLM:
    """A fresh policy: two layers of 4,096 experts each over the tokens of a state, 0.16 M parameters.

    The logit of token ``Mx`` (``My``) behind a state is how much more of X (of Y) is taken than ``Fishery.base``. All
    rows of the head are 0: a fresh policy is the constant one. Those of the tokens of states stay so, as no policy
    expects a next state.

    The last ``EXPERT_WIDTH`` dimensions of the residual stream are for experts alone, and they alone are read by the
    head: embedding and attention cannot write them, in training too. So a mortality is the base and what experts add,
    and a policy without experts is the constant one.

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
        model.lm_head.weight.zero_()
    inner = model.model
    _hold_at_zero(inner.embed_tokens.weight, (slice(None), slice(-EXPERT_WIDTH, None)))
    for layer in inner.layers:
        _hold_at_zero(layer.self_attn.o_proj.weight, (slice(-EXPERT_WIDTH, None),))
    _hold_at_zero(model.lm_head.weight, (slice(None), slice(-EXPERT_WIDTH)))
    return model.eval()


def _hold_at_zero(weight: torch.nn.Parameter, where: tuple[slice, ...]) -> None:
    """Set a part of a weight to 0, and its gradient for good."""
    keep = torch.ones_like(weight, requires_grad=False)
    keep[where] = 0
    with torch.no_grad():
        weight.mul_(keep)
    weight.register_hook(lambda gradient: gradient * keep)


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
    model: MonetForCausalLM,
    fishery: Fishery,
    edit: Callable[[], AbstractContextManager[None]] = nullcontext,
    deviation: Array | None = None,
    seed: int = 0,
) -> Policy:
    """The policy of a model: its mortalities at populations, cut to 0 … 1.

    A state is read once, and its mortality kept: populations in the same bins are the same state.

    Args:
        model: in evaluation mode; a policy made before the model is trained on keeps what it has read.
        fishery: the fishery that it was trained on.
        edit: makes the context in which states are read, such as ``lambda: model.edit_experts(removal)``.
        deviation: (harvested species,) standard deviation of normal noise on mortalities before they are cut, as in
            training; None for the policy itself.
        seed: of that noise.

    Examples:
        >>> import numpy as np
        >>> from workbench.studies.control import Fishery, make_model, monet_policy
        >>> policy = monet_policy(make_model(), Fishery.of(3))
        >>> policy(np.array([[0.5, 0.5, 0.7]]))
        array([[0.3 , 0.25]])
    """
    table = np.empty((0, len(action_ids(fishery))))
    known: dict[int, int] = {}  # state -> row of the table

    def means(populations: Array) -> Array:
        nonlocal table
        ids = state_ids(fishery, populations)
        codes, first, which = np.unique(state_codes(ids), return_index=True, return_inverse=True)
        fresh = [n for n, code in enumerate(codes.tolist()) if code not in known]
        if fresh:
            with edit():
                table = np.concatenate([table, mortality_logits(model, fishery, ids[first[fresh]])])
            known.update({int(codes[n]): len(known) + place for place, n in enumerate(fresh)})
        return table[[known[code] for code in codes.tolist()]][which]

    return cut(means, deviation, seed)


def cut(means: Policy, deviation: Array | None = None, seed: int = 0) -> Policy:
    """The policy that cuts mortalities to 0 … 1, with normal noise before that if there is a ``deviation``."""
    rng = np.random.default_rng(seed)

    def policy(populations: Array) -> Array:
        mortality = means(populations)
        if deviation is not None:
            mortality = mortality + deviation * rng.standard_normal(mortality.shape)
        return mortality.clip(0, 1)

    return policy


@torch.no_grad()
def mortality_logits(model: MonetForCausalLM, fishery: Fishery, ids: Ids) -> Array:
    """The mortalities, before they are cut, of states given as ids (states, tokens): (states, harvested species)."""
    parts = []
    for start in range(0, len(ids), _AT_ONCE):
        logits = model(torch.from_numpy(ids[start : start + _AT_ONCE]), logits_to_keep=1).logits
        parts.append(logits[:, -1, action_ids(fishery)].double().numpy())
    base: Array = np.array(fishery.base)
    return base + np.concatenate(parts)


def save_policy(model: MonetForCausalLM, fishery: Fishery, folder: Path) -> None:
    """Write a policy: a checkpoint that everything reads as any Monet model's, its tokenizer and its fishery."""
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    write_fishery(fishery, folder)


def write_fishery(fishery: Fishery, folder: Path) -> None:
    """Note in a folder of which fishery the policy there is."""
    (folder / FISHERY_FILE).write_text(json.dumps(fishery.to_dict(), indent=1) + "\n", encoding="utf-8")


def read_fishery(folder: str | Path) -> Fishery:
    """The fishery that a policy was trained on.

    Raises:
        NotFoundError: the folder is no policy's.
        DamagedError: the file cannot be read.
    """
    path = Path(folder) / FISHERY_FILE
    if not path.is_file():
        raise NotFoundError(f"the folder {folder} has no {FISHERY_FILE}; is it one that `monet control train` wrote?")
    try:
        return Fishery.of(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DamagedError(f"{path} is damaged: {error}") from error


def load_policy(folder: str | Path) -> tuple[MonetForCausalLM, Fishery]:
    """A saved policy and the fishery that it was trained on.

    Raises:
        NotFoundError: the folder is no Monet policy's.
        DamagedError: a file of it cannot be read.
    """
    fishery = read_fishery(folder)
    return load_model(folder), fishery
