"""Activations as EleutherAI's Delphi caches them, in files that its `LatentDataset` opens.

The layout is that of Delphi's `delphi/latents/cache.py` and `loader.py` (EleutherAI/delphi, commit cd43058): a folder a
module with `config.json` and a file `FIRST_LAST.safetensors` for each span of latents, which holds

    locations     (n, 3) uint16, or uint32 where 16 bits are too few: window, position in it, latent - FIRST
    activations   (n,) float16, those above 1e-5
    tokens        (windows, width) int64, the same in every file

Our latents are experts, our windows those the model read.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import WorkbenchError
from ..store.files import write_json
from ..store.pairs import expand
from .folder import new_folder

if TYPE_CHECKING:
    from ..store.run import Run

LEAST = 1e-5  # activations that are not above it are left out, as Delphi's cache does
SPLITS = 5  # Delphi's own default: spans of 262,144 experts that 16 bits count
CHUNK = 256  # tokens whose pairs are held at once

Entries = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]  # token rows, experts, scores; by row


def module_name(run: Run, group: int) -> str:
    """The module that gives a group's routing, by its name in the model."""
    return f"model.layers.{run.group_layers[group]}.router"


def write_delphi(run: Run, path: Path, group: int, experts: Sequence[int] | None = None, splits: int = SPLITS) -> Path:
    """Write a group's activations to ``path``/module, see ``Run.to_safetensors_coo``; returns that folder."""
    if experts is not None and not len(experts):
        raise WorkbenchError("no experts were named; name some, or None for all.")
    if not 1 <= splits <= run.num_keys**2:
        raise WorkbenchError(f"splits must lie in 1 .. {run.num_keys**2}, got {splits}.")
    windows = _Windows(run)
    bounds = np.linspace(0, run.num_keys**2, splits + 1).astype(np.int64)
    wide = max(np.diff(bounds).max(), *windows.tokens.shape) > 2**16
    kind = np.dtype(np.uint32 if wide else np.uint16)
    with new_folder(path / module_name(run, group)) as folder, ExitStack() as files:
        spools = [[files.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in range(2)] for _ in range(splits)]
        for rows, expert, score in _entries(run, group, experts):
            active = score > LEAST
            rows, expert, score = rows[active], expert[active], score[active]
            window, position = windows.of(rows)
            split = np.searchsorted(bounds, expert, side="right") - 1
            for number in np.unique(split):
                here = split == number
                places = (window[here], position[here], expert[here] - bounds[number])
                spools[number][0].write(np.stack(places, 1).astype(kind).tobytes())
                spools[number][1].write(score[here].astype(np.float16).tobytes())
        for number, (locations, activations) in enumerate(spools):
            count = activations.tell() // 2
            tensors: dict[str, Any] = {
                "tokens": ("I64", list(windows.tokens.shape), windows.tokens.tobytes()),
                "locations": ("U32" if wide else "U16", [count, 3], locations),
                "activations": ("F16", [count], activations),
            }
            _write_safetensors(folder / f"{bounds[number]}_{bounds[number + 1] - 1}.safetensors", tensors)
        write_json(folder / "config.json", _config(run, windows, splits))
    return path / module_name(run, group)


class _Windows:
    """The context windows of the documents whose routing the run holds.

    Attributes:
        tokens: (windows, width) int64 ids as the model read them, the start-of-text token included; a window that a
            document ends in is filled up with ``padding``.
        padding: the tokenizer's padding token, or its end-of-text token, or 0.
    """

    def __init__(self, run: Run) -> None:
        documents = run.documents[run.documents["kept"]]
        tokenizer = run.tokenizer()
        known = () if tokenizer is None else (tokenizer.pad_token_id, tokenizer.eos_token_id)
        self.padding = next((token for token in known if token is not None), 0)
        self._geometry = geometry = run.geometry_of(documents)  # numbers the windows of these documents alone
        tokens = np.full((int(geometry.window_counts.sum()), geometry.width), self.padding, np.int64)
        rows = np.repeat(geometry.row - (np.cumsum(geometry.tokens) - geometry.tokens), geometry.tokens)
        rows += np.arange(len(rows))
        tokens[self.of(rows)] = run.tokens(rows)["token"]
        opens = geometry.bos > 0
        tokens[geometry.window[opens], 0] = documents["bos"][opens].to_numpy(np.int64)
        self.tokens = tokens

    def of(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Window and position of token rows."""
        return self._geometry.windows(*self._geometry.places(rows))


def _entries(run: Run, group: int, experts: Sequence[int] | None) -> Iterator[Entries]:
    """Activations in order of their token rows, in pieces: of all experts, or of some."""
    if experts is None:
        for begin in range(0, run.tokens_total, CHUNK):
            pairs = expand(*run.sides(slice(begin, begin + CHUNK), group), run.heads, run.num_keys)
            yield pairs.token + begin, pairs.expert, pairs.score
    else:
        wanted = sorted(set(experts))
        found = [run.activations(group, expert) for expert in wanted]
        row = np.concatenate([table["row"].to_numpy() for table in found])
        expert = np.repeat(np.array(wanted, np.int64), [len(table) for table in found])
        score = np.concatenate([table["score"].to_numpy() for table in found])
        order = np.argsort(row, kind="stable")
        yield row[order], expert[order], score[order]


def _write_safetensors(path: Path, tensors: dict[str, tuple[str, list[int], bytes | IO[bytes]]]) -> None:
    """A safetensors file from bytes and files of bytes, so that no tensor need fit into memory.

    The format: the header's length (8 bytes, little-endian), a JSON header, then the tensors' bytes.
    """
    header: dict[str, Any] = {}
    end = 0
    for name, (kind, shape, content) in tensors.items():
        begin, end = end, end + (len(content) if isinstance(content, bytes) else content.tell())
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    with path.open("xb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for _, _, content in tensors.values():
            if isinstance(content, bytes):
                out.write(content)
            else:
                content.seek(os.SEEK_SET)
                while piece := content.read(2**22):
                    out.write(piece)


def _config(run: Run, windows: _Windows, splits: int) -> dict[str, Any]:
    """What Delphi's `CacheConfig` says of a cache, and the model."""
    return {
        "dataset_repo": run.manifest["corpus"]["path"],
        "dataset_split": "",
        "dataset_name": "",
        "dataset_column": "text",
        "batch_size": run.manifest["settings"]["batch_size"],
        "cache_ctx_len": windows.tokens.shape[1],
        "n_tokens": windows.tokens.size,
        "n_splits": splits,
        "model_name": run.model_path,
    }
