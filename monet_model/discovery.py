"""Makes the libraries that keep tables of model types know Monet, even in a process that never imports ``monet_model``.

Neither transformers nor peft reads entry points, and TransformerLens 4.3 reads them too late: after it has asked
transformers for the config class and looked the architecture up in a table of its own. So ``install`` puts up an import
hook that adds Monet to each table once its module is imported. It is called when ``monet_model`` is imported and, as a
plugin, by vLLM; in every other process of an environment where this package is installed, `startup.py` calls
``find_table``. So this module must cost next to nothing: it imports neither torch nor transformers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

ARCHITECTURE = "MonetForCausalLM"
MODEL_TYPE = "monet"


def _adapter(cfg: Any) -> Any:
    """Create the adapter. A stand-in for its class, which cannot be imported before TransformerLens itself."""
    return import_module("monet_model.lens").MonetArchitectureAdapter(cfg)


def _enter_transformers(table: ModuleType) -> None:
    """Give the model type a name; what is behind it is imported when the name is first looked up.

    transformers takes the config class of a type from its module ``transformers.models.<type>``. Importing ours
    registers the model classes as well.
    """
    module = ModuleType(f"transformers.models.{MODEL_TYPE}", "Monet, which lives in monet_model.modeling.")

    def look_up(name: str) -> Any:
        if not name.startswith("Monet"):  # whoever looks through sys.modules for something else loads nothing
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        return getattr(import_module("monet_model.modeling"), name)

    module.__getattr__ = look_up  # type: ignore[method-assign]  # as a module may have, PEP 562
    sys.modules.setdefault(module.__name__, module)
    table.CONFIG_MAPPING_NAMES.setdefault(MODEL_TYPE, "MonetConfig")


def _enter_models(table: ModuleType) -> None:
    """Say what kind of model it is: Trainer, for one, asks these names whether labels are to be shifted."""
    table.MODEL_MAPPING_NAMES.setdefault(MODEL_TYPE, "MonetModel")
    table.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.setdefault(MODEL_TYPE, ARCHITECTURE)


def _enter_transformer_lens(table: ModuleType) -> None:
    from importlib.metadata import entry_points  # takes longer to import than the rest of this module

    import_module("monet_model.modeling")  # registers the config and model classes with transformers
    table.SUPPORTED_ARCHITECTURES.setdefault(ARCHITECTURE, _adapter)
    # In an installed package the entry point registers the adapter; doing it twice makes TransformerLens warn.
    if not entry_points(group="transformer_lens.architectures", name=ARCHITECTURE):
        table.ArchitectureAdapterFactory.register_adapter(ARCHITECTURE, _adapter)


def _enter_peft(table: ModuleType) -> None:
    """Adapt by default what is adapted in LLaMA by default, where that is a part of its attention, which Monet has."""
    for name, targets in list(vars(table).items()):
        if name.endswith("_TARGET_MODULES_MAPPING") and targets.get("llama") == ["q_proj", "v_proj"]:
            targets.setdefault(MODEL_TYPE, ["q_proj", "v_proj"])


# The modules that hold tables, and what adds Monet to each. `startup.py` repeats their names.
TABLES: dict[str, Callable[[ModuleType], None]] = {
    "transformers.models.auto.configuration_auto": _enter_transformers,
    "transformers.models.auto.modeling_auto": _enter_models,
    "transformer_lens.factories.architecture_adapter_factory": _enter_transformer_lens,
    "peft.utils.constants": _enter_peft,
}


def find_table(fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
    """Find a table's module as Python does, such that Monet is added once the module is executed.

    Returns:
        None if the module is not one of ``TABLES``, or does not exist.
    """
    enter = TABLES.get(fullname)
    spec = None if enter is None else PathFinder.find_spec(fullname, path, target)
    if enter is None or spec is None or spec.loader is None:
        return None
    execute = spec.loader.exec_module

    def execute_and_enter(module: ModuleType) -> None:
        execute(module)
        enter(module)

    spec.loader.exec_module = execute_and_enter  # type: ignore[method-assign]  # on this one loader instance
    return spec


class _TableWatcher:
    """Import hook of this process; see ``find_table``."""

    find_spec = staticmethod(find_table)


def install() -> None:
    """Add Monet to every table: now where it is imported, otherwise when it is. Cheap, and safe to repeat."""
    for name, enter in TABLES.items():
        if name in sys.modules:
            enter(sys.modules[name])
    if _TableWatcher not in sys.meta_path:
        sys.meta_path.insert(0, _TableWatcher)
