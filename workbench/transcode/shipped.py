"""A transcoded model as it is shipped: what its teacher does not hold, in half precision; and the whole of it again."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..checkpoint import load_model
from ..errors import BadInputError, DamagedError, NotFoundError, UnsupportedError
from ..store.files import write_json
from ..store.transcoded import FIGURES
from .held_out import recovered
from .sequences import read_sequences
from .splice import mean_losses
from .teacher import Teacher, load_teacher

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel

EXPERTS, CONFIG, LOG = "experts.safetensors", "config.json", "log.jsonl"
OF_LOSSES = ("loss", "rise", "recovered", "loss_by_label")  # figures that are measured anew on the shipped weights
TOLERANCE = 0.01  # nats: by which a teacher's loss may differ between two machines; another corpus differs by more


def weights_hash(model: PreTrainedModel) -> str:
    """SHA-256 of a model's weights: name, shape and bytes, in float32, of every tensor, by name.

    It depends on nothing else: the files of one model differ in their headers, and so in their hashes, from one version
    of a library to the next.

    Examples:
        >>> import torch
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> from workbench.transcode.shipped import weights_hash
        >>> shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
        >>> model = LlamaForCausalLM(LlamaConfig(**shape, vocab_size=100))
        >>> before = weights_hash(model)
        >>> with torch.no_grad():
        ...     _ = model.model.norm.weight.add_(1)
        >>> before == weights_hash(model)
        False
    """
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(f"{name} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().data)
    return found.hexdigest()


def pack(
    folder: str | Path, teacher: Teacher | str | Path, corpus: str | Path | Dataset, out: str | Path, name: str
) -> dict[str, Any]:
    """Write what a transcoded model adds to its teacher, in half precision, with the figures of these weights.

    ``out`` gets ``experts.safetensors`` (experts and routers of the transcoded layers in float16; the statistics that
    routers normalise by, a few numbers, as they are), ``config.json`` of the mixed model, ``log.jsonl``, and
    ``transcode.json`` with ``teacher_weights``, the teacher's ``weights_hash``. Loss, rise and share of cross-entropy
    recovered are measured anew, on the corpus's held-out sequences; those of the weights before rounding are kept under
    ``unrounded``. Variance unexplained is that before rounding.

    Args:
        folder: that `monet transcode` wrote.
        teacher: the dense model that it was made from.
        corpus: the corpus that it was made with.
        out: folder to write to; other files in it are left as they are.
        name: what the figures call the teacher.

    Returns:
        The figures, as ``transcode.json`` holds them.

    Raises:
        NotFoundError: there is no such model, teacher or corpus, or no figures beside the model.
        BadInputError: it was transcoded from another teacher, or with another corpus.
        UnsupportedError: half precision cannot hold a weight.
        DamagedError: a file cannot be read.
    """
    folder, out = Path(folder), Path(out)
    figures = read_figures(folder)
    sequence, count, seed = (figures["settings"][at] for at in ("sequence", "heldout_sequences", "seed"))
    if not isinstance(teacher, Teacher):
        teacher = load_teacher(teacher)
    model = load_model(folder, device=teacher.device)
    if strays := _differing(model, teacher.model):
        raise BadInputError(f"{folder} was not made from {teacher.name}: they differ in {strays[0]}.")
    experts = {at: _halved(at, tensor) for at, tensor in model.state_dict().items() if _is_own(at)}
    model.load_state_dict(experts, strict=False)  # from here on, the model that is shipped
    held = read_sequences(corpus, teacher, sequence, 1, count, seed).heldout
    original = mean_losses(teacher.model, held)
    _check_same(original, figures["original"])
    figures |= {
        "teacher": name,
        "teacher_weights": weights_hash(teacher.model),
        "weights": "float16",
        "unrounded": {at: figures[at] for at in OF_LOSSES},
        "original": original,
        **recovered(mean_losses(model, held), original, figures["mean_ablated"], figures["zero_ablated"], held),
    }
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".pack-") as scratch:
        work = Path(scratch)
        save_file(experts, work / EXPERTS, {"format": "pt"})
        write_json(work / FIGURES, figures)
        for at in (CONFIG, LOG):
            shutil.copyfile(folder / at, work / at)
        for file in work.iterdir():
            file.replace(out / file.name)
    return figures


def unpack(shipped: str | Path, teacher: str | Path, out: str | Path) -> Path:
    """Make the whole mixed model again, from what is shipped and its teacher.

    Args:
        shipped: folder that ``pack`` wrote.
        teacher: folder of the dense model, such as ``smollm2`` writes.
        out: folder to write, which must not exist yet: the model with tokenizer, generation config and chat template,
            and its figures, as `monet transcode` writes them.

    Returns:
        ``out``.

    Raises:
        BadInputError: ``out`` exists, or the teacher is another model than the one that was transcoded.
        NotFoundError: a file is missing.
        DamagedError: a file cannot be read, or does not fit the others.
    """
    from monet_model.mixed import OF_EXPERTS, mixed_from_llama

    shipped, out = Path(shipped), Path(out)
    if out.exists():
        raise BadInputError(f"{out} exists already; choose another folder, or remove it.")
    figures = read_figures(shipped)
    loaded = load_teacher(teacher, device="cpu")
    found, wanted = weights_hash(loaded.model), figures.get("teacher_weights")
    if found != wanted:
        raise BadInputError(
            f"{teacher} is another model than the one that was transcoded: its weights have the SHA-256 {found}, and "
            f"{figures['teacher']} has {wanted}."
        )
    config = _read_json(shipped / CONFIG)
    try:
        experts = load_file(shipped / EXPERTS)
        shape = {name: config[name] for name in OF_EXPERTS}
        model = mixed_from_llama(loaded.model, figures["settings"]["layers"], **shape)
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no {shipped / EXPERTS}; is it the right folder?") from error
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise DamagedError(f"the shipped model {shipped} is damaged: {error!r}; copy the folder again.") from error
    known = {name: tensor.shape for name, tensor in model.state_dict().items() if _is_own(name)}
    if known != {name: tensor.shape for name, tensor in experts.items()}:
        raise DamagedError(f"{shipped / EXPERTS} does not fit {shipped / CONFIG}; copy the folder again.")
    model.load_state_dict(experts, strict=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".unpack-") as scratch:
        made = Path(scratch) / "model"
        model.save_pretrained(made)
        if loaded.tokenizer is not None:
            loaded.tokenizer.save_pretrained(made)
        for name in (FIGURES, LOG):
            shutil.copyfile(shipped / name, made / name)
        made.rename(out)
    return out


def read_figures(folder: Path) -> dict[str, Any]:
    """What ``transcode.json`` in a folder holds.

    Raises:
        NotFoundError: there is none.
        DamagedError: it cannot be read, or lacks what every transcoding has.
    """
    figures = _read_json(folder / FIGURES)
    if missing := {"settings", "teacher", "original", "mean_ablated", "zero_ablated", *OF_LOSSES} - figures.keys():
        raise DamagedError(f"{folder / FIGURES} lacks {min(missing)}; copy the folder again.")
    return figures


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no {file}; name a folder that `monet transcode` or `pack` wrote.") from error
    except (OSError, ValueError) as error:
        raise DamagedError(f"{file} is damaged ({error}); copy the folder again.") from error
    if not isinstance(found, dict):
        raise DamagedError(f"{file} is damaged: it holds no names with values; copy the folder again.")
    return found


def _is_own(name: str) -> bool:
    """Whether a weight of a mixed model is one of its experts or routers, which its teacher lacks."""
    return ".moe." in name or ".router." in name


def _differing(model: PreTrainedModel, teacher: PreTrainedModel) -> list[str]:
    """Weights that a mixed model and a dense one both have and that are not equal, or that only the former has."""
    theirs = teacher.state_dict()
    return [
        name
        for name, tensor in model.state_dict().items()
        if not _is_own(name) and (name not in theirs or not torch.equal(tensor, theirs[name]))
    ]


def _halved(name: str, tensor: Tensor) -> Tensor:
    """A weight in half precision; the statistics of routers stay as they are.

    Raises:
        UnsupportedError: it exceeds what half precision holds.
    """
    if ".norm" in name:
        return tensor.clone()
    found = tensor.half()
    if not bool(found.isfinite().all()):
        raise UnsupportedError(f"{name} exceeds 65,504, the largest number of float16: it cannot be shipped so.")
    return found


def _check_same(found: dict[str, float], known: dict[str, float]) -> None:
    """Raise BadInputError unless a teacher's losses by label are those that a transcoding was measured beside."""
    if found.keys() != known.keys() or any(abs(found[label] - known[label]) > TOLERANCE for label in found):
        told = (", ".join(f"{label} {loss:.3f}" for label, loss in sorted(losses.items())) for losses in (found, known))
        raise BadInputError(
            "the corpus is another than the one it was transcoded with: the teacher's held-out losses are {}, and were "
            "{}.".format(*told)
        )
