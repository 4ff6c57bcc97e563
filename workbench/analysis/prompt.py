"""Attribution of a text's next token, from a model's folder: what `monet attribute` prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import WorkbenchError
from ..export.model import load_model, load_tokenizer, model_folder
from ..store.text import token_pieces
from .attribution import Attribution, attribute

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class TextAttribution:
    """An :class:`Attribution` with the texts it speaks of.

    Attributes:
        attribution: of the target's logit after the text.
        pieces: the text's tokens, a start-of-text token included, as they are shown.
        target_text: the target token, as it is shown.
    """

    attribution: Attribution
    pieces: list[str]
    target_text: str

    def to_json(self, top: int = 50) -> dict[str, Any]:
        """JSON-ready: :meth:`Attribution.to_json` with the tokens' texts."""
        return {"tokens": self.pieces, "target_text": self.target_text, **self.attribution.to_json(top)}


def attribute_text(path: str | Path, text: str, target: str | None = None) -> TextAttribution:
    """Attribute the next token's logit after a text.

    Args:
        path: folder or hub name of a model with a tokenizer.
        text: the prompt; the tokenizer puts its start-of-text token in front.
        target: the next token's text; the model's own first choice by default.

    Raises:
        WorkbenchError: the model cannot be loaded or has no tokenizer, the text is empty or too long, or the target is
            not one token.
    """
    import torch

    model, tokenizer = load_model(path), load_tokenizer(model_folder(path))
    if tokenizer is None:
        raise WorkbenchError(f"the model {path} has no tokenizer.json, so text cannot be read; put it into its folder.")
    if not text:
        raise WorkbenchError("the text is empty; give a prompt of at least one character.")
    token = None
    if target is not None:
        ids = tokenizer(target, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            raise WorkbenchError(
                f"the target {target!r} is {len(ids)} tokens ({token_pieces(tokenizer, ids)}); give one of them."
            )
        token = ids[0]
    prompt = tokenizer(text, verbose=False)["input_ids"]
    found = attribute(model, torch.tensor([prompt]), token)
    assert isinstance(found.target, int)
    return TextAttribution(found, token_pieces(tokenizer, prompt), token_pieces(tokenizer, [found.target])[0])
