"""What a transcoded model is worth: which layers stand for a dense model's, and how closely, wherever it is shown."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import DamagedError
from .files import write_json
from .group_layers import layers_text

FIGURES = "transcode.json"  # beside a transcoded model: what it was made from, and its held-out figures
TRANSCODED = "transcoded"  # entry of a model in a manifest
EDITED = "edited"  # field of it and of the figures; missing where the experts are as they were trained


@dataclass(frozen=True)
class Transcoded:
    """The figures of a transcoded model that stand on every page of its run.

    Attributes:
        teacher: name of the dense model: on a hub, or that of its folder.
        layers: those whose MLPs were transcoded into experts, ascending.
        rise: held-out loss above the teacher's, in nats per predicted token.
        recovered: share of held-out cross-entropy recovered: 1 for the teacher, 0 for the mean output in its layers.
        edited: whether experts were edited afterwards, so that the figures are those of the model before.
    """

    teacher: str
    layers: tuple[int, ...]
    rise: float
    recovered: float
    edited: bool = False

    @classmethod
    def of_entry(cls, model: Mapping[str, Any]) -> Transcoded | None:
        """Read the entry ``transcoded`` of a model in a manifest or a report; None for one that was not transcoded.

        Examples:
            >>> from workbench.store.transcoded import Transcoded
            >>> figures = {"teacher": "tiny", "layers": [1, 2], "rise": 0.031, "recovered": 0.961}
            >>> print(Transcoded.of_entry({"transcoded": figures}))
            Layers 1 to 2 are transcoded from tiny: loss +0.031 nats per token, 96.1 % of cross-entropy recovered
            (held-out text).
            >>> Transcoded.of_entry({}) is None
            True
        """
        entry = model.get(TRANSCODED)
        if entry is None:
            return None
        figures = float(entry["rise"]), float(entry["recovered"])
        return cls(str(entry["teacher"]), tuple(entry["layers"]), *figures, bool(entry.get(EDITED)))

    @classmethod
    def of_folder(cls, folder: Path) -> Transcoded | None:
        """Read the figures beside a model; None for one that was not transcoded.

        Raises:
            DamagedError: they cannot be read.
        """
        file = folder / FIGURES
        if not file.is_file():
            return None
        try:
            known = json.loads(file.read_text(encoding="utf-8"))
            layers = tuple(int(layer) for layer in known["settings"]["layers"])
            figures = float(known["rise"]), float(known["recovered"])
            found = cls(_name(known["teacher"]), layers, *figures, bool(known.get(EDITED)))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedError(
                f"{file}, the figures of the model beside it, is damaged ({error!r}); copy the folder again."
            ) from error
        if not (found.layers and math.isfinite(found.rise) and math.isfinite(found.recovered)):
            raise DamagedError(f"{file} is damaged: it names no layers, or a figure is not finite.")
        return found

    def to_entry(self) -> dict[str, Any]:
        """The entry of a model, as JSON types."""
        entry = asdict(self) | {"layers": list(self.layers)}
        return entry if self.edited else {name: value for name, value in entry.items() if name != EDITED}

    def phrases(self) -> list[tuple[str, str]]:
        """The sentence in pieces, each with the term of the glossary that it is, or ""."""
        layers = layers_text(self.layers)
        return [
            (f"{layers[:1].upper()}{layers[1:]} {'are' if len(self.layers) > 1 else 'is'} ", ""),
            ("transcoded", "transcoded layer"),
            (f" from {self.teacher}: loss {self.rise:+.3f} nats per token, {100 * self.recovered:.1f} % of ", ""),
            ("cross-entropy recovered", "cross-entropy recovered"),
            (" (held-out text, before experts were edited)." if self.edited else " (held-out text).", ""),
        ]

    def __str__(self) -> str:
        return "".join(text for text, _ in self.phrases())


def note_edited(source: Path, copy: Path) -> None:
    """Give a copy of a transcoded model that has an edit of its experts built in the figures of its original."""
    known = json.loads((source / FIGURES).read_text(encoding="utf-8"))
    write_json(copy / FIGURES, known | {EDITED: True})


def _name(teacher: str) -> str:
    """A hub's name as it is; of a path, the last part: where it lies says nothing to who reads a run elsewhere."""
    return teacher if len(Path(teacher).parts) == 2 and not teacher.startswith(("/", ".")) else Path(teacher).name
