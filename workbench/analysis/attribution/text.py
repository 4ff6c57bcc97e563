"""The attribution of a text's next token by a model on disk, with its tokens' texts: what `monet attribute` prints."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...checkpoint import load_model, model_folder
from ...errors import BadInputError, UnsupportedError
from ...store.token_text import load_tokenizer, token_pieces
from .direct import Attribution
from .gradient import Faithfulness, attribute_gradient, rank_against_ablation
from .prompt import Prompt, read_prompt, read_token

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd


@dataclass(frozen=True)
class TextAttribution:
    """What `monet attribute` prints: the attribution of a text's next token, with the texts of all tokens.

    Attributes:
        attribution: direct logit attribution of the target.
        pieces: the text's tokens, the start-of-text token included.
        target_text: text of the target token, or ``a - b`` for a difference.
        seconds: time of tokenising, forward pass and attribution; the model's loading does not count.
        gradient: rows of ``attribute_gradient``, largest first, if asked for.
        ablation: both attributions compared with true ablation, if asked for.
    """

    attribution: Attribution
    pieces: list[str]
    target_text: str
    seconds: float
    gradient: pd.DataFrame | None
    ablation: Faithfulness | None

    def to_json(self, top: int = 50) -> dict[str, Any]:
        """``Attribution.to_json`` with the tokens' texts, and gradient and ablation where they were asked for."""
        content: dict[str, Any] = {
            "tokens": self.pieces,
            "target_text": self.target_text,
            "seconds": self.seconds,
            **self.attribution.to_json(top),
        }
        if self.gradient is not None:
            content["gradient"] = self.gradient.head(top).to_dict("records")
        if self.ablation is not None:
            content["ablation"] = self.ablation.to_json()
        return content


def attribute_text(
    path: str | Path,
    text: str,
    target: str | None = None,
    *,
    minus: str | None = None,
    gradient: bool = False,
    ablations: int = 0,
    chat: bool = False,
    device: str = "auto",
    dtype: str = "auto",
) -> TextAttribution:
    """Attribute the next token's logit after a text, by a model on disk.

    One forward pass; ``gradient`` adds one, and ``ablations`` one for each expert ablated and two more.

    Args:
        path: folder or hub name of a model with a tokenizer.
        text: the prompt; the tokenizer puts its start-of-text token in front.
        target: text of the next token. Default: the model's likeliest one.
        minus: text of another token, whose logit is subtracted from the target's.
        gradient: also attribute by gradient, to every layer and position.
        ablations: experts to ablate one by one, to compare both attributions with; 0 for none.
        chat: put the text into the tokenizer's chat template, as ``Prompt.tokenise`` does.
        device, dtype: where the model runs and in which precision, as for ``load_model``.

    Raises:
        NotFoundError: there is no such model.
        UnsupportedError: the model has no tokenizer, or that has no chat template for ``chat``.
        BadInputError: the text is empty or too long, a target is not one token, ``minus`` comes without ``target``, or
            ``ablations`` is 1, which cannot be ranked.
    """
    if minus is not None and target is None:
        raise BadInputError(f"{minus!r} is to be subtracted from the target's logit; name the target too.")
    model, tokenizer = load_model(path, device=device, dtype=dtype), load_tokenizer(model_folder(path))
    if tokenizer is None:
        raise UnsupportedError(
            f"the model {path} has no tokenizer.json and no tokenizer.model, so it reads no text; add one."
        )
    token = None if target is None else read_token(tokenizer, target)
    wanted = token if token is None or minus is None else (token, read_token(tokenizer, minus))
    start = time.perf_counter()
    reading = read_prompt(model, Prompt.tokenise(tokenizer, text, model.config.max_position_embeddings, chat=chat))
    attribution = reading.attribute(wanted)
    seconds = time.perf_counter() - start
    explained = attribution.target
    assert explained is not None
    rows, ablation, ids = None, None, reading.forward.ids
    if gradient or ablations:
        rows = attribute_gradient(model, ids, explained)
    if rows is not None and ablations:
        ablation = rank_against_ablation(model, ids, explained, attribution.experts, rows, ablations)
    if rows is not None:
        rows = rows.sort_values("contribution", key=abs, ascending=False, kind="stable", ignore_index=True)
    pair = explained if isinstance(explained, tuple) else (explained,)
    return TextAttribution(
        attribution=attribution,
        pieces=reading.prompt.pieces,
        target_text=" - ".join(token_pieces(tokenizer, pair)),
        seconds=seconds,
        gradient=rows if gradient else None,
        ablation=ablation,
    )
