"""Permanent surgery: save a checkpoint that has an expert edit built into its weights."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import mkdtemp

from huggingface_hub import snapshot_download

from .expert_edit import ExpertEdit
from .modeling import MonetForCausalLM

# Files of a checkpoint that `save_pretrained` of the model does not write.
TOKENIZER_FILES = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "chat_template*",
)


def export_edited_model(model_dir: str | Path, edit: ExpertEdit | str | Path, out: str | Path) -> None:
    """Write a copy of a checkpoint that always behaves as the original does under an edit.

    Use it to publish a model without certain experts, or to evaluate one with tools that know nothing of edits. The
    factors become weights (``model.layers.{l}.edit.factors``, (keys, keys) float32) and the configuration lists their
    layers (``edited_layers``). Every other weight keeps its value and dtype, and the tokenizer is copied. Load the copy
    with ``MonetForCausalLM.from_pretrained``. Edits applied later, by ``edit_experts`` or by a second export, multiply
    with the built-in one.

    Args:
        model_dir: checkpoint folder or hub name. A hub name is read from the local cache where it is there.
        edit: an edit made for this model, or the path of a saved one.
        out: folder to create; it appears only once it is complete.

    Raises:
        ValueError: ``out`` exists, the checkpoint cannot be loaded, or the edit is unreadable or belongs to another
            model.

    Examples:
        >>> from monet_model import ExpertEdit, MonetForCausalLM, export_edited_model
        >>> model = MonetForCausalLM.from_pretrained("monet_model/demo")
        >>> edit = ExpertEdit.from_experts(model, {0: [12, 345]})
        >>> export_edited_model("monet_model/demo", edit, "demo-without-two-experts")
        >>> edited = MonetForCausalLM.from_pretrained("demo-without-two-experts")
        >>> edited.config.edited_layers
        [0]
        >>> int((edited.model.layers[0].edit.factors == 0).sum())
        2
    """
    out = Path(out)
    if out.exists():
        raise ValueError(f"{out} exists already; choose another folder, or remove it first.")
    edit = edit if isinstance(edit, ExpertEdit) else ExpertEdit.load(edit)
    try:
        model = MonetForCausalLM.from_pretrained(model_dir, dtype="auto")
    except (OSError, ValueError) as error:
        raise ValueError(f"no Monet checkpoint could be loaded from {model_dir}: {error}") from error
    edit.check(model)
    model.build_in(edit.matrices())
    source = _local_folder(model_dir, model)
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        model.save_pretrained(scratch)
        for file in (file for pattern in TOKENIZER_FILES for file in source.glob(pattern)):
            shutil.copy2(file, scratch)
        scratch.chmod(0o755)
        scratch.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _local_folder(model_dir: str | Path, model: MonetForCausalLM) -> Path:
    """Return the folder that holds a checkpoint's tokenizer files, in the hub's cache where it has a hub name."""
    folder = Path(model_dir)
    if folder.is_dir():
        return folder
    # The commit that the weights came from, so that model and tokenizer cannot be of different versions.
    commit = getattr(model.config, "_commit_hash", None)
    return Path(snapshot_download(str(model_dir), revision=commit, allow_patterns=list(TOKENIZER_FILES)))
