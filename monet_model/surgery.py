"""Permanent surgery: a checkpoint whose expert edit is part of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import mkdtemp

from .expert_edit import ExpertEdit
from .modeling import MonetForCausalLM

# What a checkpoint's folder holds beyond what the model itself saves.
COMPANIONS = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "chat_template*")


def export_edited_model(model_dir: str | Path, edit: ExpertEdit | str | Path, out: str | Path) -> None:
    """Write a copy of a checkpoint that behaves as the original does under an edit.

    The factors become weights (``model.layers.{l}.edit.factors``) and the configuration names their layers
    (``edited_layers``); every other weight, and its dtype, stays as it is. ``from_pretrained`` of this package loads
    the copy. Edits of ``edit_experts`` multiply with the built-in one, and so does a second surgery.

    Args:
        model_dir: folder or hub name of the checkpoint.
        edit: made for this model, or the file that holds it.
        out: folder to make; appears complete or not at all.

    Raises:
        ValueError: ``out`` exists, the checkpoint cannot be loaded, or the edit is unreadable or of another model.
    """
    out = Path(out)
    if out.exists():
        raise ValueError(f"{out} exists already; name a folder that does not, or remove it first.")
    edit = edit if isinstance(edit, ExpertEdit) else ExpertEdit.load(edit)
    try:
        model = MonetForCausalLM.from_pretrained(model_dir, dtype="auto")
    except (OSError, ValueError) as error:
        raise ValueError(f"no Monet checkpoint could be loaded from {model_dir}: {error}") from error
    edit.check(model)
    model.build_in(edit.matrices())
    out.parent.mkdir(parents=True, exist_ok=True)
    made = Path(mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        model.save_pretrained(made)
        source = Path(model_dir)
        for companion in (file for pattern in COMPANIONS for file in source.glob(pattern)):
            shutil.copy2(companion, made)
        made.chmod(0o755)
        made.rename(out)
    finally:
        shutil.rmtree(made, ignore_errors=True)
