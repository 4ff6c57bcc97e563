"""The tests that transformers writes for its own models, from its source distribution: fetched, never copied here."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from importlib import import_module
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from unittest.mock import patch

import pytest
import transformers

CACHE = Path(__file__).parents[2] / "build" / "peers"
PACKAGE = "transformers_own_tests"  # what its folder `tests` is called here
# Modules that its tests import and its source distribution lacks, with what is wanted of each.
ABSENT = {
    "exporters.test_export": {"ExportTesterMixin": type("ExportTesterMixin", (), {})},
    "generation.test_utils": {"GenerationTesterMixin": type("GenerationTesterMixin", (), {})},
    "utils.test_configuration_utils": {"config_common_kwargs": {}},
}


def fetch() -> Path:
    """The folder `tests` of the installed version, downloaded once.

    Raises:
        OSError: it cannot be had; the message says why.
    """
    name = f"transformers-{transformers.__version__}"
    folder = CACHE / name / "tests"
    if folder.is_dir():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=CACHE) as scratch:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-build-isolation", "-d", scratch]
        command += ["--disable-pip-version-check", "--no-binary", "transformers", name.replace("-", "==")]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        except subprocess.TimeoutExpired as error:
            raise OSError(f"pip took more than {error.timeout} s") from error
        archives = list(Path(scratch).glob("*.tar.gz"))
        if done.returncode or not archives:
            raise OSError((done.stderr.strip().splitlines() or ["pip wrote nothing"])[-1])
        with tarfile.open(archives[0]) as archive:
            archive.extractall(scratch, filter="data")
        unpacked = Path(scratch, name)
        if not folder.parent.exists():  # another process may have been faster
            unpacked.rename(folder.parent)
    return folder


def _module(name: str, **members: object) -> ModuleType:
    spec = spec_from_loader(name, loader=None)
    assert spec is not None
    module = module_from_spec(spec)
    module.__dict__.update(members)
    sys.modules[name] = module
    return module


def load(*names: str) -> list[ModuleType]:
    """Modules of transformers' tests, by their names in its folder `tests`; skips the module that asks without them."""
    try:
        pytest.importorskip("parameterized", reason="transformers' tests use parameterized, of the test extra")
        folder = fetch()
    except OSError as error:
        reason = f"the source distribution of transformers {transformers.__version__} cannot be fetched: {error}"
        pytest.skip(reason, allow_module_level=True)
    if PACKAGE not in sys.modules:
        _module(PACKAGE, __path__=[str(folder)])
        for name, members in ABSENT.items():
            if not folder.joinpath(*name.split(".")).with_suffix(".py").exists():
                _module(f"{PACKAGE}.{name.split('.')[0]}", __path__=[])
                _module(f"{PACKAGE}.{name}", **members)
    # One of them would read transformers anew from where it thinks that its sources are.
    with patch("transformers.utils.direct_transformers_import", lambda *_: transformers):
        return [import_module(f"{PACKAGE}.{name}") for name in names]
