"""The recipes in configs/: each can be read, and those of small models differ from the base in one thing."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from monet_model.training import read_config

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = sorted((CONFIGS / "small").glob("*.json"))


@pytest.mark.parametrize("path", [path for path in SMALL if path.stem != "base"], ids=lambda path: path.stem)
def test_a_small_model_differs_from_the_base_in_one_thing(path: Path) -> None:
    models, trainings = zip(*(read_config(one) for one in (CONFIGS / "small" / "base.json", path)), strict=True)
    settings = [model.to_dict() | asdict(training) for model, training in zip(models, trainings, strict=True)]
    changed = [name for name in settings[0] if settings[0][name] != settings[1][name]]
    assert len(changed) == 1, changed
