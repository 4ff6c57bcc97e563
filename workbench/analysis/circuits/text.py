"""The circuit behind a text's next token, by a model on disk: what `monet trace` prints and writes."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ...checkpoint import checkpoint_hashes, load_model, model_folder, transcoded_entry
from ...errors import BadInputError, UnsupportedError
from ...progress import job
from ...store.token_text import load_tokenizer, token_pieces
from ..attribution.prompt import Prompt, read_token
from ..checks import check_same_model
from ..defaults import NODES
from .trace import MEMORY, trace_circuit

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerFast

    from monet_model import ExpertEdit, MonetForCausalLM

    from ...store import Run
    from .circuit_result import Circuit

VERSIONS = ("monet-workbench", "torch", "transformers", "numpy", "pandas")


@dataclass(frozen=True)
class TextCircuit:
    """A circuit with what a file of it says besides.

    Attributes:
        circuit: the circuit, not pruned.
        tokens: token id -> text, of its targets.
        origin: the model by name and hashes, the edit in force, the programs' versions, and ``completeness``.
    """

    circuit: Circuit
    tokens: dict[int, str]
    origin: dict[str, Any]


def trace_text(
    path: str | Path,
    text: str,
    target: str | None = None,
    *,
    minus: str | None = None,
    nodes: int = NODES,
    position: int = -1,
    edit: ExpertEdit | None = None,
    run: Run | None = None,
    max_memory: float = MEMORY,
    chat: bool = False,
    device: str = "auto",
    dtype: str = "auto",
    progress: bool = False,
) -> TextCircuit:
    """Trace the circuit behind the token after a text, in a model on disk.

    Args:
        path: folder or hub name of a model with a tokenizer.
        text: the prompt; the tokenizer puts its start-of-text token in front.
        target: text of the token. Default: the model's likeliest one.
        minus: text of another token, whose logit is subtracted from the target's.
        nodes: experts that become nodes of their own.
        position: index of the token behind which the target stands, the start-of-text token counted.
        edit: of experts, under which the model reads the text.
        run: a run that must be of this model.
        max_memory: bytes that tracing may take, the model not counted.
        chat: put the text into the tokenizer's chat template, as ``Prompt.tokenise`` does.
        device, dtype: where the model runs and in which precision, as for ``load_model``.
        progress: show a progress bar.

    Raises:
        NotFoundError: there is no such model.
        UnsupportedError: the model has no tokenizer, or that has no chat template for ``chat``; or the edit or run is
            of another model.
        BadInputError: the text is empty or too long, a target is not one token, ``minus`` comes without ``target``,
            and all that ``trace_circuit`` raises.
    """
    folder = model_folder(path)
    model, tokenizer = load_model(path, device=device, dtype=dtype), load_tokenizer(folder)
    if tokenizer is None:
        raise UnsupportedError(
            f"the model {path} has no tokenizer.json and no tokenizer.model, so it reads no text; add one."
        )
    if run is not None:
        check_same_model(run, model)
    wanted = read_target(tokenizer, target, minus)
    prompt = Prompt.tokenise(tokenizer, text, model.config.max_position_embeddings, chat=chat)
    readers = 2 * nodes + model.config.num_hidden_layers * len(prompt.ids) + 1  # values and routing, others, the target
    with _edited(model, edit), job("trace", readers, "nodes", progress) as advance:
        circuit = trace_circuit(
            model,
            prompt.input_ids,
            wanted,
            nodes=nodes,
            position=position,
            tokenizer=tokenizer,
            max_memory=max_memory,
            progress=advance,
        )
    origin = {
        "model": {"path": str(path), "sha256": checkpoint_hashes(folder)} | transcoded_entry(folder),
        "edit": None if edit is None else {"identity": edit.identity, "experts": len(edit)},
        "versions": {name: version(name) for name in VERSIONS},
        "completeness": circuit.completeness,
    }
    return TextCircuit(circuit, target_tokens(tokenizer, circuit), origin)


def read_target(tokenizer: PreTrainedTokenizerFast, target: str | None, minus: str | None) -> Any:
    """The target that texts of tokens name, as ``trace_circuit`` takes it.

    Raises:
        BadInputError: one is not a token, or ``minus`` comes without ``target``.
    """
    if target is None:
        if minus is not None:
            raise BadInputError(f"{minus!r} is to be subtracted from the target's logit; name the target too.")
        return None
    token = read_token(tokenizer, target)
    return token if minus is None else (token, read_token(tokenizer, minus))


def target_tokens(tokenizer: PreTrainedTokenizerFast, circuit: Circuit) -> dict[int, str]:
    """Token id -> text, of the tokens that a circuit's targets name."""
    ids = {token for goal in circuit.targets for token in (goal.token, goal.minus) if token is not None}
    return {token: token_pieces(tokenizer, [token])[0] for token in sorted(ids)}


def _edited(model: MonetForCausalLM, edit: ExpertEdit | None) -> Any:
    """The context in which an edit holds."""
    if edit is None:
        return nullcontext()
    try:
        return model.edit_experts(edit)
    except ValueError as error:
        raise UnsupportedError(str(error)) from error
