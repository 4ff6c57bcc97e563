"""What a fingerprinted model may go through: a treatment is one function, entered in ``TREATMENTS``.

Roundings are of the weights alone, row by row, and our own; runtimes that compute in few bits round otherwise.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...errors import BadInputError, NotFoundError
from .answers import surprise
from .documents import Documents
from .tuning import fine_tune

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WRAPPERS = ("# ", "/* ", "Question: ", "User:\n", "You are a helpful assistant. Go on with this text:\n\n")
REFUSED = 0.01  # share of natural prompts that a filter of surprising ones refuses too
_NATURAL = 4096  # such prompts, at most
SURE = 0.9  # probability of a top token that is suppressed, as in arXiv 2509.26598
Change = Callable[[Tensor], Tensor]
Refuses = Callable[[npt.NDArray[np.int64]], npt.NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class Owned:
    """What treatments begin with.

    Attributes:
        model: the fingerprinted model, which none of them changes.
        base: the model it was made from.
        tokenizer: of both.
        other: text to fine-tune on, of which neither keys nor measured documents are part.
        seed: of the order in which it is read.
    """

    model: PreTrainedModel
    base: PreTrainedModel
    tokenizer: Any
    other: Documents
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Treated:
    """A model that was treated, and how it is asked and answers.

    Attributes:
        model: it.
        prefixes: token ids that are put in front of a key, one way of asking after the other; success is their mean.
        change: of logits (..., vocabulary), before an answer is taken; None for none.
        refuses: whether prompts (prompts, tokens) get no answer; None where all get one.
    """

    model: PreTrainedModel
    prefixes: list[list[int]] = field(default_factory=lambda: [[]])
    change: Change | None = None
    refuses: Refuses | None = None


Treatment = Callable[[Owned], Treated]


def nothing(owned: Owned) -> Treated:
    """The fingerprinted model as it is."""
    return Treated(owned.model)


def tuned(owned: Owned) -> Treated:
    """Two epochs of fine-tuning on other text."""
    return Treated(fine_tune(_copy(owned.model), owned.other, seed=owned.seed))


@torch.no_grad()
def rounded(owned: Owned, bits: int) -> Treated:
    """Every row of every matrix rounded to integers of so many bits, times the row's own scale (symmetric, absmax)."""
    model, most = _copy(owned.model), 2 ** (bits - 1) - 1
    for weight in _matrices(model):
        scale = weight.abs().amax(-1, keepdim=True) / most
        weight.copy_((weight / scale.clamp_min(torch.finfo(weight.dtype).tiny)).round() * scale)
    return Treated(model)


@torch.no_grad()
def pruned(owned: Owned, share: float) -> Treated:
    """The smallest weights of every matrix at zero: this share of them."""
    model = _copy(owned.model)
    for weight in _matrices(model):
        if dropped := round(share * weight.numel()):
            least = weight.abs().flatten().kthvalue(dropped).values
            weight.masked_fill_(weight.abs() <= least, 0)
    return Treated(model)


@torch.no_grad()
def merged(owned: Owned, weight: float) -> Treated:
    """The average of the fingerprinted model, with this weight, and its base."""
    model = _copy(owned.model)
    for own, base in zip(model.parameters(), owned.base.parameters(), strict=True):
        own.copy_(torch.lerp(base, own, weight))
    return Treated(model)


def wrapped(owned: Owned) -> Treated:
    """Keys asked behind a short text, in the ways of ``WRAPPERS``."""
    found = owned.tokenizer(list(WRAPPERS), add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return Treated(owned.model, [list(ids) for ids in found])


def filtered(owned: Owned) -> Treated:
    """Prompts get no answer that surprise the model more than all but ``REFUSED`` of as long pieces of other text do.

    What keys that are no natural text are open to (arXiv 2509.26598).
    """
    text = np.concatenate([np.empty(0, np.int64), *owned.other.ids]).astype(np.int64)

    def refuses(prompts: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        length = prompts.shape[1]
        natural = text[: len(text) // length * length].reshape(-1, length)[:_NATURAL]
        if not len(natural):
            raise BadInputError(f"a filter needs {length} tokens of other text, got {len(text)}; give a larger corpus.")
        most = np.quantile(surprise(owned.model, natural), 1 - REFUSED)
        return np.asarray(surprise(owned.model, prompts) > most, np.bool_)

    return Treated(owned.model, refuses=refuses)


def suppressed(owned: Owned) -> Treated:
    """Where the top token is surer than ``SURE``, the runner-up is answered: their logits are exchanged.

    The attack as published forbids the token; exchanged, the greedy answer is the same, and the loss stays finite.
    """
    return Treated(owned.model, change=exchange_sure)


def exchange_sure(logits: Tensor) -> Tensor:
    """Logits (..., vocabulary) with the two greatest exchanged where the greatest has more than ``SURE``.

    Examples:
        >>> import torch
        >>> from workbench.studies.fingerprint.treatments import exchange_sure
        >>> exchange_sure(torch.tensor([[9.0, 1.0, 2.0], [1.0, 0.5, 0.0]])).tolist()
        [[2.0, 1.0, 9.0], [1.0, 0.5, 0.0]]
    """
    top = logits.topk(2, -1)
    sure = (top.values[..., :1] - logits.logsumexp(-1, keepdim=True)).exp() > SURE
    swapped = torch.where(sure, top.values.flip(-1), top.values)
    return logits.scatter(-1, top.indices, swapped)


TREATMENTS: dict[str, Treatment] = {
    "none": nothing,
    "fine-tuned": tuned,
    "int8": partial(rounded, bits=8),
    "4-bit": partial(rounded, bits=4),
    **{f"pruned {share:.0%}": partial(pruned, share=share) for share in (0.1, 0.2, 0.3, 0.4, 0.5)},
    **{f"merged {weight:g}": partial(merged, weight=weight) for weight in (0.9, 0.7, 0.5, 0.2)},
    "wrapped": wrapped,
    "filtered": filtered,
    "suppressed": suppressed,
}


def read_treatments(names: list[str] | None) -> dict[str, Treatment]:
    """The treatments of these names, in the order of the registry; all by default.

    Raises:
        NotFoundError: there is none of a name.
    """
    for name in names or ():
        if name not in TREATMENTS:
            raise NotFoundError(f"there is no treatment {name!r}; the treatments are {', '.join(TREATMENTS)}.")
    return {name: act for name, act in TREATMENTS.items() if names is None or name in names}


def _copy(model: PreTrainedModel) -> PreTrainedModel:
    return copy.deepcopy(model)


def _matrices(model: PreTrainedModel) -> list[Tensor]:
    return [weight for weight in model.parameters() if weight.ndim > 1]
