"""Loading a Monet model with errors that say what is wrong with its files, and describing what identifies it."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .device import read_device, read_dtype
from .errors import DamagedError, NotFoundError, UnsupportedError
from .importing import importing_transformers
from .memory import keep_heap
from .store.files import sha256
from .store.transcoded import FIGURES, TRANSCODED, Transcoded

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedModel

    from monet_model import MonetForCausalLM

_HUB_NAME = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_FLOATS = {"F64": ("float64", 8), "F32": ("float32", 4), "BF16": ("bfloat16", 2), "F16": ("float16", 2)}
HELD_BYTES = 2**29  # a checkpoint in half precision above this size is not copied to float32: see load_model
_FILES = [
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*",
    "special_*",
    "added_tokens.json",
    "chat_template*",
]


def model_folder(path: str | Path) -> Path:
    """Return the folder of a model: ``path`` itself, or the local copy of the hub's model of that name.

    A name may end in ``@`` and a revision: a branch, a tag or a commit. Without a network, or with HF_HUB_OFFLINE=1,
    the copy in the hub's cache is taken.

    Raises:
        NotFoundError: there is no such folder and no such name on a reachable hub, or it has no config.json.
    """
    folder = Path(path)
    named = _HUB_NAME.fullmatch(str(path))
    if named and not folder.exists() and not str(path).startswith("."):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            folder = Path(snapshot_download(named["name"], revision=named["revision"], allow_patterns=_FILES))
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            raise NotFoundError(f"there is no model folder {path}, and no hub gives a model of that name.") from error
    if not folder.is_dir():
        raise NotFoundError(f"there is no model folder {path}; give a folder with config.json and *.safetensors.")
    if not (folder / "config.json").is_file():
        raise NotFoundError(f"the model folder {path} has no config.json; is it the right folder?")
    return folder


def weight_files(folder: Path) -> list[Path]:
    """Return the files that hold a model's weights: one, or the shards of an index.

    Raises:
        NotFoundError: there are none, or a shard is missing.
        DamagedError: the index cannot be read.
    """
    index = folder / "model.safetensors.index.json"
    names = {"model.safetensors"}
    if not (folder / "model.safetensors").is_file() and index.is_file():
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(f"{index} is damaged ({error}); copy it again.") from error
    for name in sorted(names):
        if not (folder / name).is_file():
            raise NotFoundError(f"the model folder {folder} has no {name}; only safetensors weights are read.")
    return [folder / name for name in sorted(names)]


def load_model(
    path: str | Path, *, device: str | torch.device = "auto", dtype: str | torch.dtype = "auto"
) -> MonetForCausalLM:
    """Load a Monet model in evaluation mode.

    By default it computes in float32 on a processor, and in the checkpoint's own precision on a GPU; its routers always
    compute in float32. A large checkpoint in half precision that is to compute in float32 on a processor stays in
    half precision, mapped from its files, and is widened layer by layer (``monet_model.held``): the numbers of a
    float32 copy, in half its memory.

    Args:
        path: a folder with config.json and safetensors, or a name on a hub, of a revision if `NAME@REVISION`.
        device: auto, cpu, cuda, cuda:N or mps, as for ``workbench.device.read_device``.
        dtype: auto, float32, bfloat16 or float16, as for ``workbench.device.read_dtype``.

    Raises:
        NotFoundError: there is no such model, or its weights are missing.
        DamagedError: its files are truncated, do not fit the config, or hold NaN or infinity.
        UnsupportedError: it is not a Monet model, or this machine lacks the device.
        BadInputError: there is no device or precision of that name.

    Examples:
        >>> from workbench import load_model
        >>> model = load_model("monet_model/demo", device="cpu")
        >>> model.config.moe_experts, model.training, model.dtype
        (512, False, torch.float32)
    """
    import torch

    folder, where = model_folder(path), read_device(device)
    if model_type(folder) != "monet":
        raise UnsupportedError(f"{folder / 'config.json'} is not a Monet model's: its model_type is not 'monet'.")
    stored = _stored(folder)
    precision = read_dtype(dtype, where, stored.dtype)
    held = where.type == "cpu" and precision == torch.float32 and stored.narrow and stored.size > HELD_BYTES
    with importing_transformers():
        from monet_model import MonetForCausalLM
        from monet_model.held import hold_weights

    model: MonetForCausalLM = _read_weights(MonetForCausalLM, path, folder, stored.dtype if held else precision)
    if held:
        keep_heap()  # every matrix that is widened is a large temporary
        model = hold_weights(model)
    return model.eval().to(where)


def load_llama(
    path: str | Path, *, device: str | torch.device = "auto", dtype: str | torch.dtype = "auto"
) -> LlamaForCausalLM:
    """Load a dense model, transformers' LlamaForCausalLM, in evaluation mode.

    Args:
        path, device, dtype: as for ``load_model``.

    Raises:
        WorkbenchError: as ``load_model``; UnsupportedError where it is not a LLaMA model.

    Examples:
        >>> from workbench.checkpoint import load_llama
        >>> model = load_llama("workbench/baselines/models/dense", device="cpu")
        >>> model.config.intermediate_size, model.training, model.dtype
        (1883, False, torch.float32)
    """
    folder, where = model_folder(path), read_device(device)
    if model_type(folder) != "llama":
        raise UnsupportedError(f"{folder / 'config.json'} is not a LLaMA model's: its model_type is not 'llama'.")
    with importing_transformers():
        from transformers import LlamaForCausalLM

    precision = read_dtype(dtype, where, _stored(folder).dtype)
    model: LlamaForCausalLM = _read_weights(LlamaForCausalLM, path, folder, precision)
    return model.eval().to(where)


def model_type(folder: Path) -> str:
    """The ``model_type`` of a model folder's config.json; empty where it has none.

    Raises:
        DamagedError: it cannot be read.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DamagedError(f"{folder / 'config.json'} is not JSON: {error}") from error
    return str(config.get("model_type", "")) if isinstance(config, dict) else ""


def _read_weights(kind: type[PreTrainedModel], path: str | Path, folder: Path, dtype: torch.dtype) -> Any:
    """The model of a class whose files are in a folder.

    Raises:
        DamagedError: as ``load_model``.
    """
    from huggingface_hub.errors import StrictDataclassError

    try:
        loaded: Any = kind.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # they are reported, and refused below by name
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, StrictDataclassError) as error:
        raise DamagedError(f"the model {path} cannot be loaded: {error}") from error
    model, report = loaded
    missing, mismatched = report["missing_keys"], {name for name, *_ in report["mismatched_keys"]}
    for problem, names in (("lacks", missing), ("has other shapes than its config for", mismatched)):
        if names:
            shown = ", ".join(sorted(names)[:3])
            raise DamagedError(f"the model {path} {problem} {len(names)} weights: {shown}; copy the folder again.")
    for name, tensor in model.state_dict().items():
        # The extremes of a tensor are finite if all of it is; unlike isfinite they take no second one in memory.
        if tensor.is_floating_point() and not all(bool(extreme.isfinite()) for extreme in tensor.aminmax()):
            raise DamagedError(
                f"the model {path} holds NaN or infinity in {name}; its training diverged or it is damaged."
            )
    return model


@dataclass(frozen=True)
class _Stored:
    """How a checkpoint's files hold its weights.

    Attributes:
        dtype: the precision of most of them, by size.
        narrow: whether it is half precision, and that of every matrix.
        size: bytes of all weights.
    """

    dtype: torch.dtype
    narrow: bool
    size: int


def _stored(folder: Path) -> _Stored:
    """Read the headers of a checkpoint's files.

    Raises:
        NotFoundError: one is missing.
        DamagedError: one cannot be read.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    sizes: Counter[str] = Counter()
    matrices: set[str] = set()
    for file in weight_files(folder):
        try:
            with safe_open(file, framework="np") as weights:
                for name in weights.keys():  # noqa: SIM118  # not a mapping
                    header = weights.get_slice(name)
                    kind, shape = header.get_dtype(), header.get_shape()
                    if kind in _FLOATS:
                        sizes[kind] += math.prod(shape)
                        matrices |= {kind} if len(shape) > 1 else set()
        except (SafetensorError, OSError) as error:
            raise DamagedError(f"{file} is truncated or damaged ({error}); copy it again.") from error
    kind = max(sizes, key=lambda kind: sizes[kind] * _FLOATS[kind][1], default="F32")
    bytes_of = sum(count * _FLOATS[kind][1] for kind, count in sizes.items())
    narrow = matrices == {kind} and _FLOATS[kind][1] == 2
    return _Stored(getattr(torch, _FLOATS[kind][0]), narrow, bytes_of)


def checkpoint_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of the files that make a model, by name: config.json and its weights.

    Raises:
        WorkbenchError: one is missing.
    """
    hashes = {}
    for file in [folder / "config.json", *weight_files(folder)]:
        state = file.stat()
        hashes[file.name] = _file_hash(file, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
    return hashes


@lru_cache(maxsize=256)
def _file_hash(file: Path, *_state: int) -> str:
    """The hash of a file in a state; weights are large, and the same model is checked again and again."""
    return sha256(file)


def loaded_from(model: PreTrainedModel) -> Path | None:
    """The folder whose files a model was loaded from; None where there is none, as for a model made in memory."""
    name = model.name_or_path
    if not name:
        return None
    folder = Path(name)
    if not folder.is_dir() and _HUB_NAME.fullmatch(name):
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(name, allow_patterns=_FILES, local_files_only=True))
        except (OSError, ValueError):  # not in the cache
            return None
    return folder if (folder / "config.json").is_file() else None


def transcoded_entry(folder: Path) -> dict[str, Any]:
    """How well a transcoded model stands for its teacher, as an entry of a model; empty for any other model.

    Raises:
        DamagedError: the figures beside the model cannot be read.
    """
    found = Transcoded.of_folder(folder)
    return {} if found is None else {TRANSCODED: found.to_entry()}


def describe_model(path: str | Path, folder: Path, model: MonetForCausalLM) -> dict[str, Any]:
    """A model's entry in a manifest: where it is, hashes of its files, the shape of its routing, and how well it stands
    for its teacher if it was transcoded.

    Raises:
        DamagedError: its figures cannot be read, or are of other layers than it has experts in.
    """
    config = model.config
    dense = {"dense_layers": list(config.dense_layers)} if config.dense_layers else {}
    transcoded = transcoded_entry(folder)
    with_experts = [layer for layers in config.routing_groups for layer in layers]
    if transcoded and transcoded[TRANSCODED]["layers"] != with_experts:
        raise DamagedError(
            f"{folder / FIGURES} is of another model: it names the layers {transcoded[TRANSCODED]['layers']}, and the "
            f"model has experts in {with_experts}; copy the model's folder again."
        )
    return {
        "path": str(folder.resolve()) if Path(path).exists() else str(path),
        "hash": checkpoint_hashes(folder),
        "heads": config.moe_heads,
        "keys": config.moe_experts,
        "decompose": config.moe_decompose,
        "groups": [layers[0] for layers in config.routing_groups],
        "layers": config.num_hidden_layers,
        **dense,
        **transcoded,
        "topk": config.moe_topk,
        "vocabulary": config.vocab_size,
    }


def describe_tokenizer(folder: Path) -> dict[str, Any]:
    """A tokenizer's entry in a manifest: hashes of its files."""
    main = "tokenizer.json" if (folder / "tokenizer.json").is_file() else "tokenizer.model"
    files = [folder / name for name in (main, "tokenizer_config.json", "special_tokens_map.json")]
    return {"hash": {file.name: sha256(file) for file in files if file.is_file()}}
