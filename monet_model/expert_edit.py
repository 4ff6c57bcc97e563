"""`ExpertEdit`: factors of single experts as a small file that can be published, tied to the model it was made for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .edits import MAX_FACTOR
from .identity import model_identity

if TYPE_CHECKING:
    import pandas as pd

    from .config import MonetConfig

FORMAT = "monet-expert-edit-1"


@dataclass(frozen=True)
class ExpertEdit:
    """Factors of single experts: 0 removes one, 2 doubles it; experts that are not named keep factor 1.

    Attributes:
        experts: layer that owns a router -> (n,) int64 flat expert ids, each once.
        factors: the same layers -> (n,) float32 factors.
        keys: E, the number of keys in each set.
        identity: digest of the model that the experts belong to.

    Examples:
        >>> from monet_model import ExpertEdit, MonetForCausalLM
        >>> model = MonetForCausalLM.from_pretrained("monet_model/demo").eval()
        >>> edit = ExpertEdit.from_experts(model, {0: [17, 513], 2: [99]})  # removes three experts
        >>> edit.save("three.safetensors")
        >>> with model.edit_experts(ExpertEdit.load("three.safetensors")):
        ...     len(edit)
        3
    """

    experts: Mapping[int, Tensor]
    factors: Mapping[int, Tensor]
    keys: int
    identity: str

    def __post_init__(self) -> None:
        for layer, ids in self.experts.items():
            if ids.numel() and not (int(ids.min()) >= 0 and int(ids.max()) < self.keys**2):
                raise ValueError(f"layer {layer}: expert ids must lie in 0 .. {self.keys**2 - 1}.")
            if len(ids.unique()) < len(ids):
                raise ValueError(f"layer {layer}: an expert is named more than once.")
            if not (self.factors[layer].abs() <= MAX_FACTOR).all():  # NaN neither
                raise ValueError(f"layer {layer}: factors must be numbers in -{MAX_FACTOR:g} .. {MAX_FACTOR:g}.")

    @classmethod
    def from_experts(
        cls, model: nn.Module, experts: Mapping[int, Tensor | list[int]], factor: float = 0.0
    ) -> ExpertEdit:
        """The same factor for all of the given experts, by default 0, which removes them.

        Args:
            model: the model whose experts they are.
            experts: layer that owns a router -> flat expert ids, ``i * E + j``.
            factor: what their outputs are multiplied with.

        Raises:
            ValueError: a layer owns no router, an id is out of range or named twice, or the factor is beyond 1000 or
                not a number.

        Examples:
            >>> from monet_model import ExpertEdit, MonetForCausalLM
            >>> model = MonetForCausalLM.from_pretrained("monet_model/demo")
            >>> ExpertEdit.from_experts(model, {0: [17]}, factor=2.0).factors[0]
            tensor([2.])
        """
        if not abs(factor) <= MAX_FACTOR:
            raise ValueError(f"the factor must be a number in -{MAX_FACTOR:g} .. {MAX_FACTOR:g}, got {factor}.")
        ids = {layer: torch.as_tensor(chosen, dtype=torch.int64).flatten() for layer, chosen in experts.items()}
        return cls._of(model, ids, {layer: torch.full(chosen.shape, float(factor)) for layer, chosen in ids.items()})

    @classmethod
    def from_frame(cls, model: nn.Module, frame: pd.DataFrame) -> ExpertEdit:
        """An edit from a table with one row per expert.

        Args:
            model: the model whose experts they are.
            frame: a DataFrame with the columns

                - expert: flat id,
                - factor: what its output is multiplied with,
                - group: number of its routing group, or instead layer: the layer that owns the group's router.

        Raises:
            ValueError: a column is missing, or as ``from_experts``.

        Examples:
            >>> import pandas as pd
            >>> from monet_model import ExpertEdit, MonetForCausalLM
            >>> model = MonetForCausalLM.from_pretrained("monet_model/demo")
            >>> frame = pd.DataFrame({"group": [0, 1], "expert": [17, 99], "factor": [0.0, 2.0]})
            >>> list(ExpertEdit.from_frame(model, frame).experts)  # layers 0 and 2 own the routers
            [0, 2]
        """
        places = [name for name in ("group", "layer") if name in frame]
        missing = [name for name in ("expert", "factor") if name not in frame]
        if missing or len(places) != 1:
            raise ValueError(
                "an edit's table needs the columns expert, factor and one of group and layer; "
                f"got {', '.join(map(str, frame.columns)) or 'none'}."
            )
        owners = [group[0] for group in _config(model).routing_groups]
        experts, factors = {}, {}
        for place, rows in frame.groupby(places[0]):
            if places[0] == "group" and place not in range(len(owners)):
                raise ValueError(f"there is no routing group {place}; the model has groups 0 .. {len(owners) - 1}.")
            layer = owners[place] if places[0] == "group" else int(place)
            experts[layer] = torch.tensor(rows["expert"].to_numpy(dtype="int64"))
            factors[layer] = torch.tensor(rows["factor"].to_numpy(dtype="float32"))
        return cls._of(model, experts, factors)

    @classmethod
    def _of(cls, model: nn.Module, experts: dict[int, Tensor], factors: dict[int, Tensor]) -> ExpertEdit:
        owners = [group[0] for group in _config(model).routing_groups]
        for layer in experts:
            if layer not in owners:
                raise ValueError(f"layer {layer} owns no router; edits go to one of the layers {owners}.")
        return cls(experts, factors, _config(model).moe_experts, model_identity(model))

    def __len__(self) -> int:
        """Number of edited experts."""
        return sum(map(len, self.experts.values()))

    def matrices(self) -> dict[int, Tensor]:
        """The edit as ``edit_experts`` takes it: layer -> (E, E) float32 factors.

        Examples:
            >>> from monet_model import ExpertEdit, MonetForCausalLM
            >>> model = MonetForCausalLM.from_pretrained("monet_model/demo")
            >>> ExpertEdit.from_experts(model, {0: [1]}).matrices()[0][0, :3]
            tensor([1., 0., 1.])
        """
        made = {}
        for layer, ids in self.experts.items():
            matrix = torch.ones(self.keys**2)
            matrix[ids] = self.factors[layer]
            made[layer] = matrix.view(self.keys, self.keys)
        return made

    def check(self, model: nn.Module) -> None:
        """Raise ValueError unless this edit was made for ``model``."""
        identity = model_identity(model)
        if identity != self.identity:
            raise ValueError(
                f"this edit belongs to the model {self.identity[:12]}, not to {identity[:12]}; expert ids mean "
                "something else there. Make the edit again for this model."
            )

    def save(self, path: str | Path) -> None:
        """Write a safetensors file: 12 bytes per expert, and the model's identity.

        A file that exists is replaced as a whole; a crash leaves the old one.
        """
        path = Path(path)
        tensors = {}
        for layer, ids in self.experts.items():
            tensors[f"{layer}.experts"] = ids
            tensors[f"{layer}.factors"] = self.factors[layer]
        temporary = path.with_name(path.name + ".tmp")
        try:
            about = {"format": FORMAT, "keys": self.keys, "identity": self.identity}
            save_file(tensors, temporary, {"edit": json.dumps(about)})
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> ExpertEdit:
        """Read a file that ``save`` wrote.

        Raises:
            ValueError: there is no such file, or it does not hold an edit.
        """
        try:
            with safe_open(path, "pt") as file:
                about = json.loads((file.metadata() or {})["edit"])
                if about["format"] != FORMAT:
                    raise ValueError(f"{path} has the format {about['format']!r}; this version reads {FORMAT!r}.")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except OSError as error:
            raise ValueError(f"there is no expert edit at {path}: {error}") from error
        except (SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is not an expert edit saved by ExpertEdit.save: {error}") from error
        layers = sorted({int(name.partition(".")[0]) for name in tensors})
        return cls(
            {layer: tensors[f"{layer}.experts"] for layer in layers},
            {layer: tensors[f"{layer}.factors"] for layer in layers},
            about["keys"],
            about["identity"],
        )


def _config(model: nn.Module) -> MonetConfig:
    return cast("MonetConfig", model.config)
