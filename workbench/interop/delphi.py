"""Activations as EleutherAI's Delphi caches them, in files that its `LatentDataset` opens.

The layout is that of Delphi's `delphi/latents/cache.py` and `loader.py` (EleutherAI/delphi, commit cd43058): one folder
per module with `config.json` and a file `FIRST_LAST.safetensors` for each span of latents, which holds

    locations     (n, 3) uint16, or uint32 where 16 bits are too few: line, position in it, latent - FIRST
    activations   (n,) float16, those above 1e-5
    tokens        (lines, width) int64, the same in every file

Latents are experts here. Lines are the documents back to back, cut at the width of the run's context windows, as in
Delphi's own caches: it draws its non-activating examples from all lines, and padding among them would be rejected
unread. Delphi shows the tokens and does not run the model, so lines need not be what the model read at once.
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

from ..errors import BadInputError
from ..store.files import write_json
from ..store.pairs import expand
from .folder import new_folder
from .texts import storable

if TYPE_CHECKING:
    from ..store.run import Run

MIN_ACTIVATION = 1e-5  # activations up to it are left out, as in Delphi's own cache
DEFAULT_SPLITS = 5  # Delphi's default; spans of 262,144 experts then fit 16 bits
CHUNK_TOKENS = 256  # tokens whose (token, expert) pairs are held at once

Entries = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]  # token rows, experts, scores; by row


def module_name(run: Run, group: int) -> str:
    """Name in the model of the module that computes a group's routing."""
    return f"model.layers.{run.group_layers[group]}.router"


def write_delphi(
    run: Run, path: str | Path, group: int, experts: Sequence[int] | None = None, splits: int = DEFAULT_SPLITS
) -> Path:
    """Write a group's activations as a latent cache of EleutherAI's Delphi and return the folder of its module.

    Lines hold the tokens of the documents whose routing the run keeps, each document opened by its start-of-text token
    if it has one, back to back; what later windows repeat and other control tokens are left out. Only the last line is
    filled up, with the padding token. Scores come from the stored half precision; those of 1e-5 and less are left out,
    as in Delphi's own cache. Start-of-text tokens and padding have no activations.

    Args:
        run: the run.
        path: folder of the cache; the group becomes a module in it, whose folder must not exist yet.
        group: number of the group.
        experts: flat ids; all by default, which takes eight bytes per token and active expert.
        splits: number of files the experts are divided over.

    Raises:
        NotFoundError: there is no such group or expert.
        BadInputError: ``experts`` is empty, ``splits`` is out of range, or the folder exists.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.interop import write_delphi
        >>> run = open_run("runs/demo")
        >>> folder = write_delphi(run, "delphi-cache", 0, run.top_experts(0, limit=3).index.tolist())
        >>> folder.name
        'model.layers.0.router'
        >>> len(list(folder.glob("*.safetensors")))
        5
    """
    path, group = Path(path), run.check_group(group)
    if experts is not None and not len(experts):
        raise BadInputError("no experts were named; name at least one, or pass None for all.")
    if not 1 <= splits <= run.num_keys**2:
        raise BadInputError(f"splits must lie in 1 .. {run.num_keys**2}, got {splits}.")
    lines = _Lines(run)
    bounds = np.linspace(0, run.num_keys**2, splits + 1).astype(np.int64)
    wide = max(np.diff(bounds).max(), *lines.tokens.shape) > 2**16
    kind = np.dtype(np.uint32 if wide else np.uint16)
    with new_folder(path / module_name(run, group)) as folder, ExitStack() as files:
        spools = [[files.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in range(2)] for _ in range(splits)]
        for rows, expert, score in _entries(run, group, experts):
            active = score > MIN_ACTIVATION
            rows, expert, score = rows[active], expert[active], score[active]
            line, position = lines.of(rows)
            split = np.searchsorted(bounds, expert, side="right") - 1
            for number in np.unique(split):
                inside = split == number
                places = (line[inside], position[inside], expert[inside] - bounds[number])
                spools[number][0].write(np.stack(places, 1).astype(kind).tobytes())
                spools[number][1].write(score[inside].astype(np.float16).tobytes())
        for number, (locations, activations) in enumerate(spools):
            count = activations.tell() // 2
            tensors: dict[str, Any] = {
                "tokens": ("I64", list(lines.tokens.shape), lines.tokens.tobytes()),
                "locations": ("U32" if wide else "U16", [count, 3], locations),
                "activations": ("F16", [count], activations),
            }
            _write_safetensors(folder / f"{bounds[number]}_{bounds[number + 1] - 1}.safetensors", tensors)
        write_json(folder / "config.json", storable(_config(run, lines, splits)))
    return path / module_name(run, group)


class _Lines:
    """The documents whose routing the run keeps, back to back in lines of one width.

    Attributes:
        tokens: (lines, width) int64 ids, each document's start-of-text token included; the last line is filled up with
            the tokenizer's padding token, or its end-of-text token, or 0.
    """

    def __init__(self, run: Run) -> None:
        documents = run.documents[run.documents["kept"] & (run.documents["tokens"] > 0)]
        self._row, counts = (documents[name].to_numpy(np.int64) for name in ("row", "tokens"))
        opens = documents["bos"].notna().to_numpy()
        self._place = np.cumsum(counts + opens) - counts  # of each document's first token row
        self._width = int(run.manifest["settings"]["context"])
        total = int((counts + opens).sum())
        tokens = np.full(-(-total // self._width) * self._width, _padding(run), np.int64)
        rows = np.repeat(self._row - (np.cumsum(counts) - counts), counts)
        rows += np.arange(len(rows))
        tokens[self._places(rows)] = run.tokens(rows)["token"]
        tokens[self._place[opens] - 1] = documents["bos"][opens].to_numpy(np.int64)
        self.tokens = tokens.reshape(-1, self._width)

    def of(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Line and position of token rows."""
        return np.divmod(self._places(rows), self._width)

    def _places(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        doc = np.searchsorted(self._row, rows, side="right") - 1
        places: NDArray[np.int64] = rows + (self._place - self._row)[doc]
        return places


def _padding(run: Run) -> int:
    tokenizer = run.tokenizer()
    known = () if tokenizer is None else (tokenizer.pad_token_id, tokenizer.eos_token_id)
    return next((token for token in known if token is not None), 0)


def _entries(run: Run, group: int, experts: Sequence[int] | None) -> Iterator[Entries]:
    """Activations of all experts, or of the named ones, in pieces, sorted by token row."""
    if experts is None:
        for begin in range(0, run.tokens_total, CHUNK_TOKENS):
            pairs = expand(*run.sides(slice(begin, begin + CHUNK_TOKENS), group), run.heads, run.num_keys)
            yield pairs.token + begin, pairs.expert, pairs.score
    else:
        wanted = sorted(set(experts))
        tables = [run.activations(group, expert) for expert in wanted]
        row = np.concatenate([table["row"].to_numpy() for table in tables])
        expert = np.repeat(np.array(wanted, np.int64), [len(table) for table in tables])
        score = np.concatenate([table["score"].to_numpy() for table in tables])
        order = np.argsort(row, kind="stable")
        yield row[order], expert[order], score[order]


def _write_safetensors(path: Path, tensors: dict[str, tuple[str, list[int], bytes | IO[bytes]]]) -> None:
    """Write a safetensors file from bytes and open files, so that no tensor has to fit into memory.

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


def _config(run: Run, lines: _Lines, splits: int) -> dict[str, Any]:
    """The fields of Delphi's `CacheConfig`, and the model."""
    return {
        "dataset_repo": run.manifest["corpus"]["path"],
        "dataset_split": "",
        "dataset_name": "",
        "dataset_column": "text",
        "batch_size": run.manifest["settings"]["batch_size"],
        "cache_ctx_len": lines.tokens.shape[1],
        "n_tokens": lines.tokens.size,
        "n_splits": splits,
        "model_name": run.model_path,
    }
