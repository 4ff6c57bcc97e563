"""Other libraries find Monet in processes that never import it, and work as ever where it is gone."""

from __future__ import annotations

import runpy
import subprocess
import sys
import warnings
from configparser import ConfigParser
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from monet_model import discovery, startup
from monet_model.lens import MonetArchitectureAdapter

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "monet_model" / "demo"


def site_folder(folder: Path, package: Path) -> Path:
    """A folder like that of installed packages, with what an editable installation of ``package`` writes to it."""
    declared = ConfigParser()
    declared.read(ROOT / "setup.cfg")
    metadata = folder / "monet_workbench-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: monet-workbench\nVersion: 1\n")
    groups = dict(declared["options.entry_points"])
    (metadata / "entry_points.txt").write_text("".join(f"[{name}]{lines}\n" for name, lines in groups.items()))
    (folder / "a-path.pth").write_text(f"{package}\n")
    source = (ROOT / "monet_model" / "startup.py").read_text()
    (folder / "monet-workbench.pth").write_text(f"import sys; exec({source!r}, {{'__name__': 'monet_startup'}})\n")
    return folder


def run(folder: Path, script: str) -> str:
    """The last line that a script prints in a process of its own, where ``folder`` is among the installed packages."""
    # Not what this environment has installed for editing, nor its hook: those of the folder.
    start = f"""
import site, sys
ours = [finder for finder in sys.meta_path if "__editable___monet" in getattr(finder, "__module__", "")]
ours += [finder for finder in sys.meta_path if getattr(finder, "__name__", "") == "MonetDiscovery"]
sys.meta_path[:] = [finder for finder in sys.meta_path if finder not in ours]
site.addsitedir({str(folder)!r})
sys.path.insert(0, {str(folder)!r})
"""
    done = subprocess.run(
        [sys.executable, "-c", start + script], cwd=folder, capture_output=True, text=True, timeout=300,
        env={"PYTHONPATH": "", "PATH": "", "HF_HUB_OFFLINE": "1", "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment where the package is."""
    return site_folder(tmp_path_factory.mktemp("here") / "site", ROOT)


@pytest.fixture(scope="module")
def gone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment whose package has been moved away."""
    folder = tmp_path_factory.mktemp("gone")
    return site_folder(folder / "site", folder / "moved")


def test_discovery_lets_plain_transformers_load_a_checkpoint(here: Path) -> None:
    """And imports nothing of ours before one is loaded."""
    made = run(
        here,
        f"""
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer
early = [name for name in sys.modules if name.startswith("monet_model.mod")]
AutoTokenizer.from_pretrained({str(DEMO)!r})
model = AutoModelForCausalLM.from_pretrained({str(DEMO)!r})
base = AutoModel.from_config(AutoConfig.from_pretrained({str(DEMO)!r}))
from transformers import CONFIG_MAPPING
print(early, type(model).__name__, type(base).__name__, list(CONFIG_MAPPING).count("monet"))
""",
    )
    assert made == "[] MonetForCausalLM MonetModel 1"


def test_discovery_lets_transformer_lens_boot_a_checkpoint(here: Path) -> None:
    made = run(
        here,
        f"""
import warnings
warnings.simplefilter("error", UserWarning)
from transformer_lens.model_bridge import TransformerBridge
lens = TransformerBridge.boot_transformers({str(DEMO)!r})
print(type(lens.adapter).__module__, lens.cfg.moe_experts)
""",
    )
    assert made == "monet_model.lens 512"


def test_discovery_from_sources_takes_an_import(here: Path) -> None:
    """Before or after transformers."""
    for first, second in (("monet_model", "transformers"), ("transformers", "monet_model")):
        script = f"""
sys.meta_path[:] = [finder for finder in sys.meta_path if getattr(finder, "__name__", "") != "MonetDiscovery"]
import {first}, {second}
from transformers import AutoConfig, AutoModelForCausalLM
print(type(AutoModelForCausalLM.from_config(AutoConfig.from_pretrained({str(DEMO)!r}))).__name__)
"""
        assert run(here, script) == "MonetForCausalLM"


def test_discovery_survives_the_loss_of_its_package(gone: Path) -> None:
    """torch, transformers and TransformerLens are as they would be without it; only the type is unknown."""
    made = run(
        gone,
        f"""
import torch, transformers, peft
from transformers import AutoConfig, CONFIG_MAPPING
from transformer_lens.model_bridge import TransformerBridge
try:
    AutoConfig.from_pretrained({str(DEMO)!r})
except ValueError as error:
    print("monet" in CONFIG_MAPPING, "llama" in CONFIG_MAPPING, "model type `monet`" in str(error))
""",
    )
    assert made == "False True True"


def test_discovery_survives_a_package_that_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "broken" / "monet_model").mkdir(parents=True)
    (tmp_path / "broken" / "monet_model" / "__init__.py").write_text("raise RuntimeError('broken')\n")
    folder = site_folder(tmp_path / "site", tmp_path / "broken")
    assert run(folder, "from transformers import CONFIG_MAPPING\nprint('llama' in CONFIG_MAPPING)") == "True"


def test_discovery_imports_nothing_at_startup(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs at the start of every Python process costs next to nothing."""
    monkeypatch.setattr(sys, "meta_path", [])
    monkeypatch.setattr(sys, "modules", {"sys": sys})
    hook = runpy.run_path(startup.__file__)["MonetDiscovery"]
    assert sys.meta_path == [hook]
    assert hook.find_spec("json") is None
    assert set(sys.modules) <= {"sys", "builtins"}


def test_discovery_names_the_same_tables_at_startup() -> None:
    assert set(startup.MonetDiscovery.tables) == set(discovery.TABLES)


def test_discovery_is_a_plugin_of_vllm() -> None:
    """vLLM calls it in each of its processes, in which transformers is imported already."""
    declared = ConfigParser()
    declared.read(ROOT / "setup.cfg")
    assert declared["options.entry_points"]["vllm.general_plugins"].strip() == "monet = monet_model.discovery:install"
    assert "torch.backends" not in declared["options.entry_points"], "an error there breaks `import torch`"
    discovery.install()
    from transformers import CONFIG_MAPPING

    assert CONFIG_MAPPING["monet"].__name__ == "MonetConfig"


def test_discovery_gives_peft_the_default_targets(make_model: Any) -> None:
    peft = pytest.importorskip("peft", reason="LoRA is tested where peft is installed, as by the test extra")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        adapted = peft.get_peft_model(make_model(), peft.LoraConfig(task_type="CAUSAL_LM"))
    assert {name.rsplit(".", 1)[1] for name in adapted.targeted_module_names} == {"q_proj", "v_proj"}


def test_discovery_entry_point_is_declared() -> None:
    """Where the package is installed, its metadata names the adapter; from sources there is nothing to name it."""
    for entry_point in entry_points(group="transformer_lens.architectures", name="MonetForCausalLM"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert entry_point.load() is MonetArchitectureAdapter
