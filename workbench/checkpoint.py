"""Loading a Monet model with errors that say what is wrong with its files, and describing what identifies it."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import DamagedError, NotFoundError, UnsupportedError
from .importing import importing_transformers
from .store.files import sha256

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_FILES = [
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*",
    "special_*",
]


def model_folder(path: str | Path) -> Path:
    """Return the folder of a model: ``path`` itself, or the local copy of the hub's model of that name.

    Raises:
        NotFoundError: there is no such folder and no such name on a reachable hub, or it has no config.json.
    """
    folder = Path(path)
    if not folder.exists() and _HUB_NAME.fullmatch(str(path)) and not str(path).startswith("."):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            folder = Path(snapshot_download(str(path), allow_patterns=_FILES))
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


def load_model(path: str | Path) -> MonetForCausalLM:
    """Load a Monet model in float32 and evaluation mode.

    Args:
        path: a folder with config.json and safetensors, or a name on a hub.

    Raises:
        NotFoundError: there is no such model, or its weights are missing.
        DamagedError: its files are truncated, do not fit the config, or hold NaN or infinity.
        UnsupportedError: it is not a Monet model.

    Examples:
        >>> from workbench import load_model
        >>> model = load_model("monet_model/demo")
        >>> model.config.moe_experts, model.training
        (512, False)
    """
    folder = model_folder(path)
    _check_files(folder)
    with importing_transformers():
        import torch
        from huggingface_hub.errors import StrictDataclassError

        from monet_model import MonetForCausalLM

    try:
        loaded: Any = MonetForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
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
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise DamagedError(
                f"the model {path} holds NaN or infinity in {name}; its training diverged or it is damaged."
            )
    return model.eval()


def _check_files(folder: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedError(f"{folder / 'config.json'} is not JSON: {error}") from error
    if not isinstance(config, dict) or config.get("model_type") != "monet":
        raise UnsupportedError(f"{folder / 'config.json'} is not a Monet model's: its model_type is not 'monet'.")
    for file in weight_files(folder):
        try:
            with safe_open(file, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            raise DamagedError(f"{file} is truncated or damaged ({error}); copy it again.") from error


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


def loaded_from(model: MonetForCausalLM) -> Path | None:
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


def describe_model(path: str | Path, folder: Path, model: MonetForCausalLM) -> dict[str, Any]:
    """A model's entry in a manifest: where it is, hashes of its files, and the shape of its routing."""
    config = model.config
    return {
        "path": str(folder.resolve()) if Path(path).exists() else str(path),
        "hash": checkpoint_hashes(folder),
        "heads": config.moe_heads,
        "keys": config.moe_experts,
        "decompose": config.moe_decompose,
        "groups": [layers.start for layers in config.routing_groups],
        "layers": config.num_hidden_layers,
        "topk": config.moe_topk,
        "vocabulary": config.vocab_size,
    }


def describe_tokenizer(folder: Path) -> dict[str, Any]:
    """A tokenizer's entry in a manifest: hashes of its files."""
    files = [folder / name for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")]
    return {"hash": {file.name: sha256(file) for file in files if file.is_file()}}
