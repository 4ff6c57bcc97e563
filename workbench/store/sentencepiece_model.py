"""Tokenizers of folders that hold SentencePiece's `tokenizer.model` and no `tokenizer.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DamagedError, UnsupportedError
from ..importing import importing_transformers

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

NAME = "tokenizer.model"
SPACE = "▁"
CONTROL, USER_DEFINED = 3, 4  # types of pieces in sentencepiece_model.proto
BPE = 2  # type of model there
PROBES = (  # texts on which both tokenizers must agree: spaces, digits, scripts, bytes, code
    "The quick brown fox, in 1984 (or 12.5 %), didn't jump.",
    "def f(x):\n    return  x  +  1\n\n\t# done\r\n",
    " leading,  two   three    and trailing spaces  ",
    "Žluťoučký kůň, naïve café, Straße; 漢字かな交じり文, привет, مرحبا, 한국어",
    "emoji 👩‍🚀 and 𝔸, nul-free control \x07, no-break\u00a0space, fullwidth ＡＢＣ, ligature ﬁ",
    "<html>&amp;{}[]\\|~`$%^*_=",
)


def load_sentencepiece(folder: Path) -> PreTrainedTokenizerFast:
    """Return a fast tokenizer that splits texts as the `tokenizer.model` in a folder does.

    Merges are ordered by the pieces' scores, as SentencePiece orders them; transformers 5 orders them by number, which
    splits runs of spaces otherwise where those pieces come first in the vocabulary. Both tokenizers are compared on a
    few texts. Special tokens, the chat template and whether texts begin with a start-of-text token are read from
    `tokenizer_config.json`, if it is there.

    Raises:
        DamagedError: a file cannot be read.
        UnsupportedError: the model is not one of byte-pair encoding, or is not split the same way.
    """
    with importing_transformers():
        from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2
        from transformers import PreTrainedTokenizerFast

    proto = vars(sentencepiece_model_pb2)["ModelProto"]()  # generated when it is imported
    try:
        proto.ParseFromString((folder / NAME).read_bytes())
        pieces = SentencePieceProcessor(model_file=str(folder / NAME))
        file = folder / "tokenizer_config.json"
        config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except Exception as error:  # the libraries raise bare errors of several kinds for a broken file
        raise DamagedError(f"the tokenizer in {folder} cannot be read: {error}") from error
    if proto.trainer_spec.model_type != BPE:
        raise UnsupportedError(f"{folder / NAME} is not a model of byte-pair encoding; {_ADVICE}")
    tokenizer = _tokenizer(proto, config)
    for text in PROBES:
        if tokenizer.encode(text, add_special_tokens=False).ids != pieces.encode(text):
            raise UnsupportedError(f"{folder / NAME} normalises or splits text in a way of its own; {_ADVICE}")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **_names(config, pieces), **_chat(folder, config))


_ADVICE = "save a tokenizer.json beside it, with transformers' save_pretrained"


def _tokenizer(proto: Any, config: dict[str, Any]) -> Tokenizer:
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    vocabulary = {piece.piece: number for number, piece in enumerate(proto.pieces)}
    unknown = proto.pieces[proto.trainer_spec.unk_id].piece
    merges = _merges(vocabulary, [piece.score for piece in proto.pieces])
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    prefix = [normalizers.Prepend(SPACE)] if proto.normalizer_spec.add_dummy_prefix else []
    tokenizer.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", SPACE)])
    strip = [decoders.Strip(" ", 1, 0)] if prefix else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    special = {unknown} | {piece.piece for piece in proto.pieces if piece.type == CONTROL}
    tokenizer.add_special_tokens([AddedToken(piece, normalized=False, special=True) for piece in sorted(special)])
    symbols = [piece.piece for piece in proto.pieces if piece.type == USER_DEFINED]
    tokenizer.add_tokens([AddedToken(piece, normalized=False) for piece in symbols])
    for _, added in sorted(config.get("added_tokens_decoder", {}).items(), key=lambda item: int(item[0])):
        wanted = AddedToken(added["content"], normalized=False, special=bool(added.get("special", False)))
        (tokenizer.add_special_tokens if wanted.special else tokenizer.add_tokens)([wanted])
    begin = proto.pieces[proto.trainer_spec.bos_id].piece if proto.trainer_spec.bos_id >= 0 else None
    if begin is not None and config.get("add_bos_token", True):
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begin}:0 $A:0",
            pair=f"{begin}:0 $A:0 {begin}:1 $B:1",
            special_tokens=[(begin, vocabulary[begin])],
        )
    return tokenizer


def _merges(vocabulary: dict[str, int], scores: list[float]) -> list[tuple[str, str]]:
    """Every way to make a piece of two others, those of the highest score first."""
    found = [
        (piece[:cut], piece[cut:], piece)
        for piece in vocabulary
        for cut in range(1, len(piece))
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]
    found.sort(key=lambda merge: (-scores[vocabulary[merge[2]]], vocabulary[merge[0]], vocabulary[merge[1]]))
    return [(left, right) for left, right, _ in found]


def _names(config: dict[str, Any], pieces: SentencePieceProcessor) -> dict[str, Any]:
    """The special tokens by name: those of the config, or else those of the model."""
    own = {"bos_token": pieces.bos_id(), "eos_token": pieces.eos_id(), "unk_token": pieces.unk_id()}
    names: dict[str, Any] = {name: pieces.id_to_piece(number) for name, number in own.items() if number >= 0}
    for name in ("bos_token", "eos_token", "unk_token", "pad_token"):
        if (said := config.get(name)) is not None:
            names[name] = said["content"] if isinstance(said, dict) else said
    return names


def _chat(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The chat template, from its own file or from the config."""
    file = folder / "chat_template.jinja"
    template = file.read_text(encoding="utf-8") if file.is_file() else config.get("chat_template")
    return {} if template is None else {"chat_template": template}
