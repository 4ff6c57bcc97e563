"""What the teacher's MLPs read, kept on disk in half precision; what does not fit is computed again.

Outputs are not kept: they are the MLP's own, computed from the input as it is kept, so that a target belongs exactly to
the input that the student sees, and the disk holds twice as many tokens.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monet_model.precision import bfloat16_products, has_bfloat16

from ..errors import BadInputError, DamagedError, UnsupportedError
from ..progress import job
from ..store.files import replacing, write_json
from .sequences import Sequences
from .teacher import Teacher

ABOUT = "cache.json"
SHARD_TOKENS = 16_384  # of one file
AT_ONCE = 8  # sequences of a forward pass


class InputCache:
    """Inputs of the teacher's MLPs at some layers, for numbered training sequences.

    Values are float16: their relative error is at most 2**-11, and none may exceed 65,504. Files hold the first
    sequences, as many as fit; for the others the teacher runs whenever they are read, and gives the same precision.

    Args:
        teacher: the model.
        layers: whose MLPs.
        sequences: of the corpus.
        folder: of the cache; one of the same teacher, corpus and layers is continued.
        gigabytes: 1e9 bytes that the files may take.
        autocast: run the teacher's matrix products in bfloat16, on devices that have them.

    Raises:
        BadInputError: the folder holds the cache of another teacher, corpus or layers.
        UnsupportedError: the disk has less room than is asked for.
    """

    def __init__(
        self,
        teacher: Teacher,
        layers: tuple[int, ...],
        sequences: Sequences,
        folder: Path,
        gigabytes: float,
        autocast: bool = False,
    ) -> None:
        self.teacher, self.layers, self.sequences, self.folder = teacher, layers, sequences, folder
        self.autocast = autocast
        self.length = sequences.train.shape[1]
        self.size = max(1, SHARD_TOKENS // self.length)  # sequences of one file
        row = len(layers) * self.length * teacher.hidden * 2  # bytes
        fits = max(0, int(gigabytes * 1e9)) // row
        total = len(sequences.train)
        self.kept = total if fits >= total else fits // self.size * self.size  # sequences that the files hold
        self._open: dict[int, NDArray[np.float16]] = {}
        about = {
            "teacher": teacher.identity,
            "corpus": sequences.identity,
            "layers": list(layers),
            "dtype": "float16",
            "precision": "bfloat16" if autocast and has_bfloat16(teacher.device) else "float32",
            "sequences": self.size,
        }
        self._enter(about)
        missing = [n for n in range(self._files) if not self._path(n).exists()]
        needed, free = len(missing) * self.size * row, shutil.disk_usage(folder).free
        if needed > free:
            raise UnsupportedError(
                f"the cache needs {needed / 1e9:.1f} GB more in {folder}, which has {free / 1e9:.1f} GB free; lower "
                "--cache-gb."
            )

    @property
    def _files(self) -> int:
        return -(-self.kept // self.size)

    def _path(self, number: int) -> Path:
        return self.folder / f"inputs-{number:05d}.npy"

    def _rows(self, number: int) -> NDArray[np.int64]:
        return np.arange(number * self.size, min((number + 1) * self.size, self.kept))

    def _enter(self, about: dict[str, Any]) -> None:
        path = self.folder / ABOUT
        if path.exists():
            try:
                known = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise DamagedError(f"{path} is damaged ({error}); remove {self.folder}.") from error
            if other := [name for name in about if known.get(name) != about[name]]:
                raise BadInputError(
                    f"the cache in {self.folder} is of another {' and '.join(other)}; remove it, or choose another "
                    "folder."
                )
        else:
            write_json(path, about)

    def fill(self) -> None:
        """Write the files that are missing."""
        with job("caching", self.kept * self.length, "tokens") as advance:
            for number in range(self._files):
                rows = self._rows(number)
                if not self._path(number).exists():
                    values = np.concatenate(
                        [self._run(some) for some in np.array_split(rows, -(-len(rows) // AT_ONCE))]
                    )
                    with replacing(self._path(number)) as temporary, temporary.open("wb") as file:
                        np.save(file, values)
                advance(len(rows) * self.length)

    def read(self, rows: NDArray[np.int64]) -> Tensor:
        """What the MLPs read in training sequences: (layers, rows * tokens, hidden) float32, on the teacher's device.

        Raises:
            DamagedError: a file of the cache is not what was written.
        """
        parts: list[NDArray[np.float16]] = [np.empty(0, np.float16)] * len(rows)
        live = np.flatnonzero(rows >= self.kept)
        for n in np.flatnonzero(rows < self.kept):
            parts[n] = self._shard(int(rows[n]) // self.size)[int(rows[n]) % self.size]
        if len(live):
            for n, values in zip(live, self._run(rows[live]), strict=True):
                parts[n] = values
        values = torch.from_numpy(np.stack(parts, 1)).to(self.teacher.device)  # (layers, rows, tokens, hidden)
        return values.float().flatten(1, 2)

    def _run(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        with bfloat16_products(self.teacher.device, self.autocast):
            return half(self.teacher.inputs(self.sequences.ids(rows), self.layers), self.layers)

    def _shard(self, number: int) -> NDArray[np.float16]:
        if number not in self._open:
            path = self._path(number)
            shape = (len(self._rows(number)), len(self.layers), self.length, self.teacher.hidden)
            try:
                found = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise DamagedError(f"{path} is damaged ({error}); remove it and resume.") from error
            if found.shape != shape or found.dtype != np.float16:
                raise DamagedError(
                    f"{path} holds {found.shape} {found.dtype}, not {shape} float16; remove it and resume."
                )
            self._open[number] = found
        return self._open[number]


def half(x: Tensor, layers: tuple[int, ...]) -> NDArray[np.float16]:
    """Inputs (sequences, layers, tokens, hidden) in half precision.

    Raises:
        UnsupportedError: a value exceeds what half precision holds.
    """
    values = x.half()
    for at, layer in enumerate(layers):
        if not bool(values[:, at].isfinite().all()):
            raise UnsupportedError(
                f"an input of the MLP of layer {layer} exceeds 65,504, the largest number of float16."
            )
    found: NDArray[np.float16] = values.cpu().numpy()
    return found
