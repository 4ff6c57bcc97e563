"""The examples in docstrings run as a reader would run them: from a folder with `monet_model/demo` and `runs/demo`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the hub's library is imported
LONG = ("demo_run", "browser", "examples_folder", "umap")  # fixtures that take long, or whose tests do, longest first
DOCUMENTS = 8  # of each label: enough to split, few enough to analyse in seconds


def _turn(item: pytest.Item) -> int:
    """When a test begins: the sooner, the longer what it needs takes to make."""
    names = ("examples_folder",) if isinstance(item, pytest.DoctestItem) else getattr(item, "fixturenames", ())
    return next((turn for turn, name in enumerate(LONG) if name in names), len(LONG))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes run the files of tests, the longest begin: none is left at the end."""
    items.sort(key=_turn)


@pytest.fixture(scope="session")
def examples_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder where the demo's paths exist: its model, and its run over the first documents of every label.

    Made once, and copied for every process that runs tests.
    """
    from filelock import FileLock

    base = tmp_path_factory.getbasetemp()
    made = (base if worker_id == "master" else base.parent) / "examples-made"
    with FileLock(made.with_suffix(".lock")):
        if not made.exists():
            made.with_suffix(".part").mkdir()
            _make_examples(made.with_suffix(".part"))
            made.with_suffix(".part").rename(made)
    return Path(shutil.copytree(made, base / "examples", symlinks=True))


def _make_examples(folder: Path) -> None:
    from datasets import load_dataset

    from workbench import open_run
    from workbench.analysis import analyze_run, mask_labels
    from workbench.baselines.results import MODELS
    from workbench.checkpoint import load_model
    from workbench.demo import DEMO, SAMPLE
    from workbench.export import export_run

    (folder / "monet_model").mkdir()
    (folder / "monet_model" / "demo").symlink_to(DEMO)
    (folder / "workbench" / "baselines").mkdir(parents=True)
    (folder / "workbench" / "baselines" / "models").symlink_to(MODELS)
    sample = load_dataset("parquet", data_files=str(DEMO / SAMPLE), split="train").to_pandas()
    corpus = folder / "heldout.parquet"
    sample.groupby("label").head(DOCUMENTS).to_parquet(corpus)
    export_run(folder / "monet_model" / "demo", corpus, folder / "runs" / "demo")
    run = open_run(folder / "runs" / "demo")
    analyze_run(run, permutations=20)
    mask_labels(run, load_model(DEMO))


@pytest.fixture(autouse=True)
def _as_a_reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run a doctest in that folder, on one thread: as fast on texts this short, and not slowed by other work."""
    if not isinstance(request.node, pytest.DoctestItem):
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.chdir(request.getfixturevalue("examples_folder"))
    yield
    torch.set_num_threads(threads)
