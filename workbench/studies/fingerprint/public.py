"""What a fingerprinted model says of itself, beside its weights: read without torch, so that pages open quickly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...errors import DamagedError, NotFoundError
from .fingerprints import PUBLIC_FILE


def read_public(folder: str | Path) -> dict[str, Any]:
    """What a fingerprinted model says of itself: the content of its ``fingerprint.json``.

    Raises:
        NotFoundError: there is none.
        DamagedError: it cannot be read.
    """
    path = Path(folder) / PUBLIC_FILE
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError(f"{folder} is no fingerprinted model: it has no {PUBLIC_FILE}.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged: {error}") from error
    if not isinstance(stored, dict) or "commitment" not in stored:
        raise DamagedError(f"{path} is not what `monet fingerprint embed` writes.")
    return stored
