"""Names of devices and precisions: what `--device`, `--dtype` and MONET_DEVICE may say, and who takes them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from typer.main import get_command

from workbench.cli import app
from workbench.device import VARIABLE, read_device, read_dtype
from workbench.errors import BadInputError, UnsupportedError

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def _gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_auto_takes_a_gpu_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    _gpus(monkeypatch, 0)
    assert read_device() == CPU
    _gpus(monkeypatch, 1)
    assert read_device("auto") == GPU


def test_environment_says_what_auto_is_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    _gpus(monkeypatch, 2)
    monkeypatch.setenv(VARIABLE, "cuda:1")
    assert read_device() == torch.device("cuda:1")
    assert read_device("cpu") == CPU
    monkeypatch.setenv(VARIABLE, "")
    assert read_device() == GPU


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "CPU", "cpu:0", "meta"])
def test_a_device_of_no_name_is_refused(name: str) -> None:
    with pytest.raises(BadInputError, match=re.escape(f"--device takes auto, cpu, cuda, cuda:N or mps; got '{name}'")):
        read_device(name)


@pytest.mark.parametrize(("count", "name", "why"), [(0, "cuda", "no GPU"), (2, "cuda:2", "2 GPUs, numbered from 0")])
def test_a_device_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, count: int, name: str, why: str) -> None:
    _gpus(monkeypatch, count)
    with pytest.raises(UnsupportedError, match=why):
        read_device(name)


def test_a_fault_in_the_environment_is_told_as_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "gpu")
    with pytest.raises(BadInputError, match="MONET_DEVICE takes"):
        read_device()


def test_auto_precision_is_float32_on_a_processor_and_the_checkpoints_on_a_gpu() -> None:
    assert read_dtype("auto", CPU, torch.bfloat16) == torch.float32
    assert read_dtype("auto", GPU, torch.bfloat16) == torch.bfloat16
    assert read_dtype("float16", CPU, torch.bfloat16) == torch.float16
    assert read_dtype(torch.float32, GPU, torch.bfloat16) == torch.float32
    with pytest.raises(BadInputError, match="--dtype takes auto, float32, bfloat16 or float16; got 'int8'"):
        read_dtype("int8", CPU, torch.float32)


def _commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield before + name, command


def test_every_command_that_runs_a_model_takes_both() -> None:
    commands = dict(_commands(get_command(app)))
    takes = {name for name, one in commands.items() if {"device", "dtype"} <= {option.name for option in one.params}}
    sources = {name: inspect.getsource(inspect.unwrap(one.callback)) for name, one in commands.items()}
    runs = re.compile(r"load_(run_)?model\(|(attribute|trace)_text\(|export_run\(|serve_run\(")
    assert {name for name, source in sources.items() if runs.search(source)} - takes == set()
    assert {"export", "mask", "curve", "attribute", "trace", "explain", "purge", "serve", "report", "find"} <= takes
