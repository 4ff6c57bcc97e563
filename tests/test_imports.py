"""What the import contracts in pyproject.toml cannot say by themselves."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "workbench" / "analysis").rglob("*_result.py")
)


def test_contract_of_result_modules_names_every_one() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = [c for c in settings["contracts"] if c["name"] == "Results are read without torch"]
    assert set(RESULTS) <= set(contract["source_modules"])


def test_result_modules_load_no_torch_and_no_model() -> None:
    script = f"""
import importlib, sys
for name in {RESULTS!r}:
    importlib.import_module(name)
print(*sorted({{"torch", "transformers", "monet_model"}} & set(sys.modules)))
"""
    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert RESULTS
    assert loaded.split() == []
