"""What MLPs read, on disk: bounded, checked, continued."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset

from workbench.errors import BadInputError, DamagedError, UnsupportedError
from workbench.transcode import Teacher
from workbench.transcode import cache as module
from workbench.transcode.cache import InputCache, half
from workbench.transcode.sequences import Sequences, read_sequences

LAYERS = (1, 2)
ROW = 2 * 16 * 32 * 2  # bytes of a sequence: layers, tokens, hidden, half precision


@pytest.fixture
def sequences(teacher: Teacher, corpus: Dataset) -> Sequences:
    return read_sequences(corpus, teacher, 16, 40, 2)


@pytest.fixture
def make(
    teacher: Teacher, sequences: Sequences, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., InputCache]:
    """A cache whose files hold four sequences each."""
    monkeypatch.setattr(module, "SHARD_TOKENS", 64)

    def make(layers: tuple[int, ...] = LAYERS, gigabytes: float = 1.0) -> InputCache:
        return InputCache(teacher, layers, sequences, tmp_path, gigabytes)

    return make


def test_files_take_no_more_than_they_may(make: Callable[..., InputCache], tmp_path: Path) -> None:
    bound = 13.5 * ROW
    cache = make(gigabytes=bound / 1e9)
    cache.fill()
    files = sorted(tmp_path.glob("*.npy"))
    assert len(files) == 3
    assert sum(np.load(file).nbytes for file in files) == 12 * ROW <= bound


@pytest.mark.parametrize("gigabytes", [0.0, 13.5 * ROW / 1e9, 1.0])
def test_what_is_read_is_the_teachers_in_half_precision(
    make: Callable[..., InputCache], teacher: Teacher, sequences: Sequences, gigabytes: float
) -> None:
    cache = make(gigabytes=gigabytes)
    cache.fill()
    rows = np.array([39, 0, 13, 5])
    x = cache.read(rows)
    wanted = teacher.inputs(sequences.ids(rows), LAYERS).transpose(0, 1).flatten(1, 2)
    assert x.shape == (2, 64, 32)
    assert x.dtype == torch.float32
    torch.testing.assert_close(x, wanted, rtol=2**-10, atol=1e-5)


def test_an_interrupted_cache_is_continued(
    make: Callable[..., InputCache], teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make().fill()
    kept = {file.name: file.read_bytes() for file in tmp_path.glob("*.npy")}
    assert len(kept) == 10
    (tmp_path / "inputs-00004.npy").unlink()
    runs: list[int] = []
    before = Teacher.inputs
    monkeypatch.setattr(Teacher, "inputs", lambda self, ids, layers: runs.append(len(ids)) or before(self, ids, layers))
    make().fill()
    assert sum(runs) == 4
    assert {file.name: file.read_bytes() for file in tmp_path.glob("*.npy")} == kept


def test_a_cache_of_something_else_is_refused(
    make: Callable[..., InputCache],
    teacher: Teacher,
    sequences: Sequences,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make()
    with pytest.raises(BadInputError, match="is of another layers; remove it"):
        make(layers=(0, 1))
    other = Sequences(sequences.train[1:], sequences.heldout, 0)
    with pytest.raises(BadInputError, match="is of another corpus"):
        InputCache(teacher, LAYERS, other, tmp_path, 1.0)
    stranger = Teacher(teacher.model, None, "another", "stranger")
    with pytest.raises(BadInputError, match="is of another teacher"):
        InputCache(stranger, LAYERS, sequences, tmp_path, 1.0)
    monkeypatch.setattr(module, "has_bfloat16", lambda device: True)
    with pytest.raises(BadInputError, match="is of another precision"):
        InputCache(teacher, LAYERS, sequences, tmp_path, 1.0, autocast=True)


def test_damaged_files_are_named(make: Callable[..., InputCache], tmp_path: Path) -> None:
    make().fill()
    file = tmp_path / "inputs-00001.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    with pytest.raises(DamagedError, match=r"inputs-00001\.npy is damaged"):
        make().read(np.array([4]))
    np.save(file, np.zeros((1, 2, 16, 32), np.float16))
    with pytest.raises(DamagedError, match=r"inputs-00001\.npy holds \(1, 2, 16, 32\)"):
        make().read(np.array([4]))


def test_a_full_disk_is_said_before_anything_is_computed(
    make: Callable[..., InputCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    with pytest.raises(UnsupportedError, match=r"needs 0\.0 GB more in .* lower --cache-gb"):
        make()


def test_values_beyond_half_precision_are_refused() -> None:
    x = torch.zeros(1, 2, 3, 4)
    x[0, 1, 2, 3] = 7e4
    with pytest.raises(UnsupportedError, match="MLP of layer 9 exceeds 65,504"):
        half(x, (5, 9))
