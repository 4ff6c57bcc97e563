"""A small exported run that reports, dashboard and browser look at: real text, three labels, hostile markup in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from .stand_in import gpu as stand_in
from .stand_in import kernels

ROOT = Path(__file__).parents[1]
TEXTS = {
    "lua": "local x = 1\nfor i = 1, 10 do\n  print(i .. '<script>window.hacked = 1</script>')\nend\n",
    "python": "def add(a, b):\n    return a + b\n\nprint(add(1, 2))\n",
    "html": "<p>Hello, <b>world</b></p>\n<img src=x onerror='window.hacked = 1'>\n",
}


def _write_tokenizer(folder: Path) -> None:
    """A token for every printable ASCII character, space, line break and tab: it fits the golden model's 128 ids."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    letters = [chr(code) for code in range(33, 127)] + ["Ġ", "Ċ", "ĉ"]
    vocabulary = {token: number for number, token in enumerate(["<s>", "</s>", "<pad>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.add_special_tokens(["<s>", "</s>", "<pad>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _shuffled(text: str, seed: int) -> str:
    """The characters of a text in another order: documents that share their beginning and are no copies."""
    return "".join(Random(seed).sample(text, len(text)))


@pytest.fixture(scope="session")
def bare_run_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the golden vertical model over a few lines of three labels, exported and no more."""
    folder = tmp_path_factory.mktemp("bare")
    model = folder / "model"
    shutil.copytree(ROOT / "tests" / "golden" / "tiny-vd", model)
    return _export(model, folder)


def _export(model: Path, folder: Path) -> Path:
    """A run of a model of 128 tokens, which gets a tokenizer, over the texts."""
    from datasets import Dataset

    from workbench.export import export_run

    corpus, run = folder / "corpus.parquet", folder / "run"
    _write_tokenizer(model)
    rows = [
        {"text": text + _shuffled(text * (1 + copy % 2), copy), "label": label, "source": f"{label}/{copy}"}
        for label, text in TEXTS.items()
        for copy in range(4)
    ]
    Dataset.from_list(rows).to_parquet(str(corpus))
    export_run(model, corpus, run)
    return run


@pytest.fixture(scope="session")
def mixed_run_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a random mixed model, dense below, between and above its two groups; analysed and masked."""
    import torch

    from monet_model import MonetConfig, MonetForCausalLM
    from workbench import open_run
    from workbench.analysis import analyze_run, mask_labels

    folder = tmp_path_factory.mktemp("mixed")
    shape = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 10}
    experts = {"moe_dim": 4, "moe_heads": 2, "moe_experts": 16, "moe_topk": 4, "moe_groups": 2}
    dense = {"dense_layers": [0, 3, 6], "intermediate_size": 24, "hidden_act": "silu"}
    sizes = {"vocab_size": 128, "num_hidden_layers": 7, "max_position_embeddings": 256}
    tokens = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    torch.manual_seed(0)
    model = MonetForCausalLM(MonetConfig(**sizes, **shape, **experts, **dense, **tokens)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(float("norm" in name), 0.5 / parameter.shape[-1] ** 0.5 if parameter.ndim > 1 else 0.3)
            if "router" in name or "embed" in name:
                parameter.mul_(4.0)
    model.save_pretrained(folder / "model")
    path = _export(folder / "model", folder)
    run = open_run(path)
    analyze_run(run)
    mask_labels(run, MonetForCausalLM.from_pretrained(run.model_path))
    return path


@pytest.fixture(scope="session")
def run_path(bare_run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, analysed and masked."""
    from monet_model import MonetForCausalLM
    from workbench import open_run
    from workbench.analysis import analyze_run, mask_labels

    path = tmp_path_factory.mktemp("analysed") / "run"
    shutil.copytree(bare_run_path, path)
    run = open_run(path)
    analyze_run(run)
    mask_labels(run, MonetForCausalLM.from_pretrained(run.model_path))
    return path


@pytest.fixture
def count_passes(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Counts the forward passes of every model from now on; the value tells how many there have been."""
    from monet_model import MonetForCausalLM

    passes, forward = [], MonetForCausalLM.forward

    def counted(model: MonetForCausalLM, *args: Any, **kwargs: Any) -> Any:
        passes.append(model)
        return forward(model, *args, **kwargs)

    monkeypatch.setattr(MonetForCausalLM, "forward", counted)
    return lambda: len(passes)


class Largest(TorchDispatchMode):
    """Inside this context, ``size`` is the number of values in the largest tensor made."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor):
            self.size = max(self.size, out.numel())
        return out


@pytest.fixture
def largest() -> Largest:
    """A fresh ``Largest``."""
    return Largest()


@pytest.fixture
def no_gpu() -> None:
    """What stands in for a GPU is possible; a test is skipped where there is a GPU."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU: the tests of make gpu-check run on it")
    if shutil.which("g++") is None and not torch.backends.cuda.is_built():
        pytest.skip("what stands in for a GPU needs g++ where torch was built without CUDA")
    stand_in.ensure_guard()


@pytest.fixture
def gpu(no_gpu: None, monkeypatch: pytest.MonkeyPatch) -> stand_in.Gpu:
    """A GPU that is not there, with kernels: ``with gpu.on():``."""
    kernels.install(monkeypatch)
    return stand_in.Gpu()


@pytest.fixture
def fake_gpu(no_gpu: None) -> Iterator[FakeTensorMode]:
    """Torch's fake tensors, also on a GPU that is not there; none that is not fake may enter."""
    with FakeTensorMode(allow_non_fake_inputs=False) as mode:
        yield mode


@pytest.fixture(scope="session")
def policy_folder() -> Path:
    """The policy of the control study that comes with the package."""
    return ROOT / "workbench" / "studies" / "control" / "policies" / "model-3"


@pytest.fixture(scope="session")
def policy_run(policy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run of twelve episodes of that policy; analysed."""
    from workbench.studies.control.run import read_policy

    return read_policy(policy_folder, tmp_path_factory.mktemp("control") / "run", episodes=12)


@pytest.fixture(scope="session")
def reading(policy_run: Any) -> Any:
    """What was read off that run's experts, measured on few episodes; it is kept in the run."""
    from workbench.studies.control.reading import read_control_rule

    return read_control_rule(policy_run, episodes=40, draws=1, strengths=(0.1,))


@pytest.fixture(scope="session")
def read_run(policy_run: Any, reading: Any) -> Any:
    """The run, with its reading in it."""
    from workbench import open_run

    return open_run(policy_run.path)
