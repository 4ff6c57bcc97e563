"""What every layout in the registry keeps to, and the methods of a run that came before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.errors import BadInputError, NotFoundError
from workbench.interop import LAYOUTS, Layout, write_delphi, write_neuronpedia
from workbench.store import open_run


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(params=sorted(LAYOUTS))
def layout(request: pytest.FixtureRequest) -> Layout:
    """Each layout in turn."""
    return LAYOUTS[request.param]


def test_layouts_write_the_same_experts_as_the_same_bytes(sound_run, tmp_path, layout) -> None:
    run = open_run(sound_run)
    first, second = (files(layout.write(run, tmp_path / name, 0, [5, 9])) for name in "ab")
    assert first
    assert first == second


def test_layouts_leave_nothing_behind_when_they_refuse(sound_run, tmp_path, layout) -> None:
    run = open_run(sound_run)
    for kind, message, group, experts in (
        (NotFoundError, "no group 7", 7, [1]),
        (NotFoundError, "no expert 256", 0, [1, 256]),
        (BadInputError, "no experts", 0, []),
    ):
        with pytest.raises(kind, match=message):
            layout.write(run, tmp_path, group, experts)
    assert not files(tmp_path)


def test_layouts_do_not_overwrite_a_folder(sound_run, tmp_path, layout) -> None:
    run = open_run(sound_run)
    folder = layout.write(run, tmp_path, 0, [1])
    before = files(folder)
    with pytest.raises(BadInputError, match="exists; remove it or name another"):
        layout.write(run, tmp_path, 0, [2])
    assert files(folder) == before


def test_only_layouts_of_all_experts_take_none(sound_run, tmp_path, layout) -> None:
    run = open_run(sound_run)
    if layout.all_experts:
        assert files(layout.write(run, tmp_path, 0))
    else:
        with pytest.raises(BadInputError, match="name experts for"):
            layout.write(run, tmp_path, 0)
        assert not files(tmp_path)


@pytest.mark.parametrize(
    ("method", "function"), [("to_safetensors_coo", write_delphi), ("to_neuronpedia", write_neuronpedia)]
)
def test_methods_of_a_run_still_write_layouts_with_a_warning(sound_run, tmp_path, method, function) -> None:
    run = open_run(sound_run)
    with pytest.warns(DeprecationWarning, match=function.__name__):
        old = getattr(run, method)(tmp_path / "old", 0, [5, 9])
    assert files(old) == files(function(run, tmp_path / "new", 0, [5, 9]))
