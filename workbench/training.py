"""`monet train`: train a model on a corpus folder with its tokenizer, with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .corpus import load_corpus
from .errors import BadInputError, NotFoundError, WorkbenchError
from .memory import keep_heap
from .progress import job

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM
    from monet_model.training import TrainingConfig

HELDOUT_SEQUENCES = 32  # per label, whose loss is measured during training


def _read_tokenizer(corpus: Path) -> Any:
    from transformers import AutoTokenizer

    folder = corpus / "tokenizer"
    if not (folder / "tokenizer.json").is_file():
        raise NotFoundError(f"there is no tokenizer in {folder}; `monet corpus build` trains one.")
    return AutoTokenizer.from_pretrained(folder)


@contextmanager
def _reporting(how: TrainingConfig) -> Iterator[Callable[[int, float], None]]:
    size, seen = how.sequence * how.batch, 0
    with job("training", how.steps * size, "tokens") as advance:

        def report(steps: int, loss: float) -> None:
            nonlocal seen
            advance((steps - seen) * size, f"loss {loss:.3f}")
            seen = steps

        yield report


def train_on_corpus(config: Path, corpus: Path, out: Path, resume: bool = False) -> MonetForCausalLM:
    """Train a Monet model on the training part of a corpus; ``out`` then holds it with its tokenizer and log.

    Args:
        config: JSON file, see ``monet_model.training.read_config``.
        corpus: folder with ``train/``, ``heldout/`` and ``tokenizer/``.
        out: folder for the result; with ``resume`` it may hold an interrupted training, which then continues.
        resume: continue from the last checkpoint.

    Raises:
        NotFoundError: there is no corpus or no tokenizer.
        BadInputError: a configuration, corpus or folder cannot be used, or the loss stopped being finite; the message
            says which and why.
    """
    import torch

    from monet_model.training import read_config, train

    from .corpus.tokens import label_sequences, token_stream

    try:
        model_config, how = read_config(config)
        tokenizer = _read_tokenizer(corpus)
        if len(tokenizer) > model_config.vocab_size:
            raise BadInputError(
                f"the tokenizer has {len(tokenizer)} tokens, the model's vocab_size is {model_config.vocab_size}; "
                f"raise it in {config}."
            )
        tokens = token_stream(load_corpus(corpus, "train"), tokenizer, how.seed)
        heldout = label_sequences(load_corpus(corpus, "heldout"), tokenizer, how.sequence, HELDOUT_SEQUENCES)
        keep_heap()
        threads = torch.get_num_threads()
        torch.set_num_threads(max(1, threads // how.replicas))
        try:
            with _reporting(how) as report:
                model = train(model_config, how, tokens, out, heldout=heldout, resume=resume, report=report)
        finally:
            torch.set_num_threads(threads)
    except WorkbenchError:
        raise
    except (ValueError, FloatingPointError) as error:
        raise BadInputError(str(error)) from error
    tokenizer.model_max_length = model_config.max_position_embeddings
    tokenizer.save_pretrained(out)
    return model
