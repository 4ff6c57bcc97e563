"""States as tokens: a population of each species, cut into bins, after the start-of-text token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .fishery import SPECIES, Array, Fishery

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BINS = 64  # per species
WIDTH = 1.6 / BINS  # of a bin, in units of population
BOS = 0
ACTIONS = ("Mx", "My")  # tokens whose logits behind a state are the mortality of X and of Y
_FIRST_ACTION = 1 + BINS * len(SPECIES)
VOCABULARY = _FIRST_ACTION + len(ACTIONS)

Ids = NDArray[np.int64]


def action_ids(fishery: Fishery) -> list[int]:
    """The tokens whose logits are a policy's mortalities: one for each harvested species.

    Examples:
        >>> from workbench.studies.control import Fishery
        >>> from workbench.studies.control.tokens import action_ids
        >>> action_ids(Fishery.of(3)), action_ids(Fishery.of(2))
        ([193, 194], [193])
    """
    return [_FIRST_ACTION + column for column in fishery.harvested]


def state_bins(populations: Array) -> Ids:
    """The bin of every population, in the shape of ``populations``; the last one takes all that is above.

    Examples:
        >>> import numpy as np
        >>> from workbench.studies.control.tokens import state_bins
        >>> state_bins(np.array([0.0, 0.51, 9.0]))
        array([ 0, 20, 63])
    """
    return np.minimum(np.floor(populations / WIDTH + 1e-9), BINS - 1).astype(np.int64)


def state_ids(fishery: Fishery, populations: Array) -> Ids:
    """What a policy reads at some states: (states, 1 + species) ids, the start-of-text token first.

    Args:
        fishery: which says the species that a state has.
        populations: (states, 3).

    Examples:
        >>> import numpy as np
        >>> from workbench.studies.control import Fishery
        >>> from workbench.studies.control.tokens import state_ids
        >>> state_ids(Fishery.of(3), np.array([[0.51, 0.2, 0.71]]))
        array([[  0,  21,  73, 157]])
    """
    columns = list(fishery.observed)
    ids = np.full((len(populations), 1 + len(columns)), BOS)
    ids[:, 1:] = 1 + np.array(columns) * BINS + state_bins(populations[:, columns])
    return ids


def state_codes(ids: Ids) -> Ids:
    """One number for each state given as ids (states, tokens), equal for equal states: (states,)."""
    return ids[:, 1:] @ VOCABULARY ** np.arange(ids.shape[1] - 1)


def populations_of(ids: Ids) -> Array:
    """The populations that tokens stand for, in their shape: the middle of the bin; NaN for other tokens.

    Examples:
        >>> import numpy as np
        >>> from workbench.studies.control.tokens import populations_of
        >>> populations_of(np.array([0, 21, 73, 157])).round(4).tolist()
        [nan, 0.5125, 0.2125, 0.7125]
    """
    middles = ((ids - 1) % BINS + 0.5) * WIDTH
    return np.where((ids > 0) & (ids < _FIRST_ACTION), middles, np.nan)


def token_name(number: int) -> str:
    """A token as text: a space, a species and the middle of its bin to two decimals, such as `` X=0.51``.

    So the tokens of states, one after the other, join to text that reads ``X=0.51 Y=0.21 Z=0.71 X=0.54``.
    """
    if number == BOS:
        return "<s>"
    if number >= _FIRST_ACTION:
        return ACTIONS[number - _FIRST_ACTION]
    return f" {SPECIES[(number - 1) // BINS]}={populations_of(np.array(number)):.2f}"


def state_texts(fishery: Fishery, populations: Array) -> list[str]:
    """States as the tokenizer reads them, such as ``X=0.51 Y=0.21 Z=0.71``.

    Args:
        fishery: which says the species that a state has.
        populations: (states, 3).

    Examples:
        >>> import numpy as np
        >>> from workbench.studies.control import Fishery
        >>> from workbench.studies.control.tokens import state_texts
        >>> state_texts(Fishery.of(3), np.array([[0.51, 0.2, 0.71]]))
        ['X=0.51 Y=0.21 Z=0.71']
    """
    return ["".join(map(token_name, ids)).strip() for ids in state_ids(fishery, populations)[:, 1:].tolist()]


def make_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer that reads states as text, and puts the start-of-text token before them.

    Examples:
        >>> from workbench.studies.control.tokens import make_tokenizer
        >>> make_tokenizer()("X=0.51 Y=0.21 Z=0.71")["input_ids"]
        [0, 21, 73, 157]
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token_name(number): number for number in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=token_name(BOS)))
    tokenizer.normalizer = normalizers.Prepend(" ")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_next")
    tokenizer.decoder = decoders.Sequence([decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", BOS)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", model_max_length=1 + len(SPECIES))
