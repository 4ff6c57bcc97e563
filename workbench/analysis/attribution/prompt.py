"""Attribution of a text's next token, from a model's folder: what `monet attribute` prints."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...checkpoint import load_model, model_folder
from ...errors import WorkbenchError
from ...store.text import load_tokenizer, token_pieces
from .direct import Attribution, attribute
from .gradient import Faithfulness, attribute_gradient, compare_with_ablation

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class TextAttribution:
    """An :class:`Attribution` with the texts it speaks of, and what else was asked for.

    Attributes:
        attribution: of the target's logit after the text.
        pieces: the text's tokens, a start-of-text token included, as they are shown.
        target_text: the target token as it is shown, or ``a - b`` for a difference.
        seconds: the attribution took, the model being loaded.
        gradient: rows of :func:`~workbench.analysis.attribute_gradient`, largest first, if asked for.
        ablation: how both attributions rank against true ablation, if asked for.
    """

    attribution: Attribution
    pieces: list[str]
    target_text: str
    seconds: float
    gradient: pd.DataFrame | None
    ablation: Faithfulness | None

    def to_json(self, top: int = 50) -> dict[str, Any]:
        """JSON-ready: :meth:`Attribution.to_json` with the tokens' texts; gradient and ablation where they are."""
        found = {"tokens": self.pieces, "target_text": self.target_text, "seconds": self.seconds}
        found |= self.attribution.to_json(top)
        if self.gradient is not None:
            found["gradient"] = self.gradient.head(top).to_dict("records")
        if self.ablation is not None:
            found["ablation"] = self.ablation.to_json()
        return found


def attribute_text(
    path: str | Path,
    text: str,
    target: str | None = None,
    *,
    minus: str | None = None,
    gradient: bool = False,
    ablations: int = 0,
) -> TextAttribution:
    """Attribute the next token's logit after a text.

    Args:
        path: folder or hub name of a model with a tokenizer.
        text: the prompt; the tokenizer puts its start-of-text token in front.
        target: the next token's text; the model's own first choice by default.
        minus: another token's text, whose logit is taken off the target's.
        gradient: also attribute by gradient, to every layer and position.
        ablations: experts that are removed for real, one by one, and ranked against both attributions; 0 for none.

    Raises:
        WorkbenchError: the model cannot be loaded or has no tokenizer, the text is empty or too long, a target is not
            one token, there is something to subtract and nothing to subtract it from, or one ablation, which has no
            rank.
    """
    import torch

    model, tokenizer = load_model(path), load_tokenizer(model_folder(path))
    if tokenizer is None:
        raise WorkbenchError(f"the model {path} has no tokenizer.json, so text cannot be read; put it into its folder.")
    if not text:
        raise WorkbenchError("the text is empty; give a prompt of at least one character.")
    if minus is not None and target is None:
        raise WorkbenchError(f"{minus!r} is to be taken off the target; name the target too.")
    prompt = tokenizer(text, verbose=False)["input_ids"]
    ids, token = torch.tensor([prompt]), None if target is None else read_token(tokenizer, target)
    wanted = token if token is None or minus is None else (token, read_token(tokenizer, minus))
    start = time.perf_counter()
    found = attribute(model, ids, wanted)
    seconds = time.perf_counter() - start
    assert found.target is not None
    pair = found.target if isinstance(found.target, tuple) else (found.target,)
    rows = None
    if gradient:
        rows = attribute_gradient(model, ids, found.target)
        rows = rows.sort_values("contribution", key=abs, ascending=False, kind="stable").reset_index(drop=True)
    return TextAttribution(
        attribution=found,
        pieces=token_pieces(tokenizer, prompt),
        target_text=" - ".join(token_pieces(tokenizer, pair)),
        seconds=seconds,
        gradient=rows,
        ablation=compare_with_ablation(model, ids, found.target, ablations) if ablations else None,
    )


def read_token(tokenizer: PreTrainedTokenizerFast, text: str) -> int:
    """The id of a text that is one token. Raises WorkbenchError for another, with its tokens."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise WorkbenchError(
            f"the target {text!r} is {len(ids)} tokens ({token_pieces(tokenizer, ids)}); give one of them."
        )
    return int(ids[0])
