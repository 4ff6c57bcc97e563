"""The benchmark compares like with like; times are not tested."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest
import torch

from cuda_ext import library
from monet_model import MonetConfig, bench
from monet_model.bench import (
    EveryExpert,
    FormulaExperts,
    FormulaRouter,
    definitions,
    peak_bytes,
    pytorch_products,
    settled,
)
from monet_model.projection import project

from ..stand_in.gpu import Gpu, moved


@pytest.fixture
def case(make_model: Any) -> tuple[Any, ...]:
    """A layer of a vertical model, its input and factors."""
    return (make_model(moe_experts=16).model.layers[0], torch.randn(2, 20, 24), torch.rand(16, 16))


@torch.no_grad()
def test_bench_formulas_equal_the_model(case: tuple[Any, ...], error: Any) -> None:
    layer, x, _ = case
    formulas, routing = FormulaRouter(layer.router)(x), layer.router(x)
    for g, expected in zip(formulas, routing.dense(), strict=True):
        assert error(g.flatten(0, 1), expected) < 1e-6
    assert error(FormulaExperts(layer.moe)(x, formulas), layer.moe(x, routing)) < 1e-6


@torch.no_grad()
def test_bench_expansion_equals_the_edited_layer(case: tuple[Any, ...], error: Any) -> None:
    layer, x, factors = case
    routing = layer.router(x)
    assert error(EveryExpert(layer.moe)(x, routing, factors), layer.moe(x, routing, factors)) < 1e-6


@torch.no_grad()
def test_bench_contexts_switch_off_kernels_and_onednn(case: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside the contexts only, and without changing results."""
    layer, x, _ = case
    plain = layer.moe(x, layer.router(x))
    loaded = library.CPU
    with definitions():
        assert not library.CPU.loaded
        assert torch.allclose(layer.moe(x, layer.router(x)), plain, atol=1e-5)
    assert library.CPU is loaded
    calls: list[Any] = []
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", lambda *args: calls.append(args))
    with pytorch_products():
        assert torch.allclose(project(layer.moe.u1, x), layer.moe.u1(x))
    assert not calls


def test_bench_peak_bytes_counts_what_is_alive_at_once() -> None:
    def chain() -> None:
        a = torch.zeros(1000)
        b = a + 1
        del a
        b.add(1)

    assert peak_bytes(lambda: torch.zeros(1000)) == pytest.approx(4000, rel=0.1)
    assert peak_bytes(chain) == pytest.approx(8000, rel=0.1)


SMALL: dict[str, Any] = {"vocab_size": 64, "hidden_size": 16, "moe_experts": 16, "moe_topk": 3}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both shapes of the bench, made small; nothing is compiled, which takes a minute."""
    monkeypatch.setattr(bench, "DEMO", bench.DEMO | SMALL)
    monkeypatch.setattr(bench, "LARGE", bench.LARGE | SMALL | {"num_attention_heads": 4, "moe_heads": 2})
    monkeypatch.setattr(bench, "compiled", lambda module: module)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("dtype", "products"), [("float32", True), ("bfloat16", False)])
def test_bench_command_takes_device_and_dtype(dtype: str, products: bool, capsys: pytest.CaptureFixture[str]) -> None:
    bench.main(["--json", "--repeats", "1", "--tokens", "8", "--device", "cpu", "--dtype", dtype])
    result = json.loads(capsys.readouterr().out)
    assert (result["device"], result["dtype"]) == ("cpu", dtype)
    for shape in ("demo model", "layer of 1.4B"):
        rows, ratios = result[shape]["a token"], result[shape]["ratios"]
        assert (bench.PRODUCTS in rows) == products
        assert rows[bench.COMPILED]["microseconds"] > 0
        assert ratios["time: formulas, torch.compile / plain"] > 0
        assert ("time: formulas, oneDNN's products / plain" in ratios) == products


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--device", "gpu"], "--device takes auto, cpu, cuda, cuda:N or mps; got 'gpu'"),
        (["--dtype", "int8"], "--dtype takes auto, float32, bfloat16 or float16; got 'int8'"),
        (["--device", "cuda:99"], "torch sees"),
    ],
)
def test_bench_command_refuses_what_other_commands_refuse(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        bench.main(options)
    assert said in capsys.readouterr().err


def test_bench_waits_for_a_gpu_before_and_after_what_it_times(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: done.append(f"{device} is idle"))
    bench.timed(lambda: done.append("run"), torch.device("cuda:1"))
    assert done == ["cuda:1 is idle", "run", "cuda:1 is idle"]
    bench.timed(lambda: done.append("run here"), torch.device("cpu"))
    assert done[3:] == ["run here"]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("whole", [True, False])
@torch.no_grad()
def test_bench_cases_run_on_a_gpu(whole: bool, gpu: Gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one that is not there: no tensor is left on the host, and what is timed side by side gives the same."""
    there = moved(settled(MonetConfig(**bench.DEMO if whole else bench.LARGE)))
    monkeypatch.setattr(bench, "settled", lambda *_place: there)
    monkeypatch.setattr(bench, "bridge", lambda _model: _NoLens())  # TransformerLens reads a folder
    make = bench.demo_cases if whole else partial(bench.large_cases, 8)
    with gpu.on():
        cases = make(device=torch.device("cuda"), dtype=torch.float32)
        assert bench.PRODUCTS not in cases
        found = {name: case.run() for name, case in cases.items() if name != bench.HOOKED}
        values = {name: getattr(out, "logits", out).cpu() for name, out in found.items()}
    for name, same in (
        (bench.DEFINITIONS, bench.PLAIN),
        (bench.FORMULAS, bench.PLAIN),
        (bench.COMPILED, bench.PLAIN),
        (bench.EXPANDED, bench.FEW_EDITED),
    ):
        torch.testing.assert_close(values[name], values[same], atol=1e-5, rtol=1e-4)


class _NoLens:
    """In place of the model in TransformerLens."""

    blocks = (None,)
    hook_dict: dict[str, Any] = {}  # noqa: RUF012
