"""The registry of layouts. It imports none of them, so that the command line lists their names at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadInputError

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ..store.run import Run


@dataclass(frozen=True)
class Layout:
    """The layout of another tool.

    Attributes:
        name: what `monet convert --to` calls it.
        tool: the tool that reads it.
        writer: module in this package and function in it that writes the layout, as ``module:function``. It is called
            with the run, a folder, a group and flat expert ids, and returns the folder it wrote.
        all_experts: whether it writes all experts of a group where no ids are named (``None``).
        of_model: what it writes only with the run's model, which ``writer`` then takes as ``model``; "" for nothing.
    """

    name: str
    tool: str
    writer: str
    all_experts: bool
    of_model: str = ""

    def write(
        self,
        run: Run,
        path: str | Path,
        group: int,
        experts: Sequence[int] | None = None,
        model: MonetForCausalLM | None = None,
    ) -> Path:
        """Write experts of a group to a new folder inside ``path`` and return that folder.

        Args:
            run: the run.
            path: folder to write in.
            group: number of the group.
            experts: flat ids; None for all experts, in layouts that can hold them.
            model: the model that the run was exported from, in evaluation mode; layouts without ``of_model`` ignore it.

        Raises:
            NotFoundError: there is no such group or expert.
            BadInputError: the folder exists already, or the layout needs experts to be named.
            UnsupportedError: another model than the run's.
        """
        if experts is None and not self.all_experts:
            raise BadInputError(f"name experts for {self.tool} with --expert or --top; it does not hold a whole group.")
        module, function = self.writer.split(":")
        write: Callable[..., Path] = getattr(import_module(f".{module}", __package__), function)
        return write(run, path, group, experts, **({"model": model} if self.of_model else {}))


_ALL = [
    Layout("delphi", "EleutherAI's Delphi", "delphi:write_delphi", all_experts=True),
    Layout(
        "neuronpedia",
        "Neuronpedia",
        "neuronpedia:write_neuronpedia",
        all_experts=False,
        of_model="the next tokens that each expert promotes and suppresses",
    ),
]
LAYOUTS = {layout.name: layout for layout in _ALL}


def find_layout(name: str) -> Layout:
    """The layout of a name.

    Raises:
        BadInputError: there is none.
    """
    if name not in LAYOUTS:
        raise BadInputError(f"no layout is called {name!r}; choose one of {', '.join(LAYOUTS)}.")
    return LAYOUTS[name]
