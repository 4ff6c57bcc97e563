"""What a fingerprinted model publishes of itself, checked: the file may come from anybody."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import DamagedError
from ...studies.fingerprint import read_public
from ...studies.fingerprint.fingerprints import PUBLIC_FILE

if TYPE_CHECKING:
    from ...store import Run


@dataclass(frozen=True)
class Published:
    """The public record of a model's fingerprints, as its ``fingerprint.json`` has it. Nothing in it is secret.

    Attributes:
        scheme: how responses were chosen.
        count, key_tokens: fingerprints, and tokens of each key.
        nucleus_next: responses that a key could have had.
        commitment: SHA-256 of the secret file, in hexadecimal.
        base: path or name of the model that they were embedded in.
        training: settings that are a number or a text, by name.
        success: share of the keys whose response the model gives.
        loss_base, loss: held-out loss before and after, nats per token.
        labels: label -> the same two losses.
    """

    scheme: str
    count: int
    key_tokens: int
    nucleus_next: int
    commitment: str
    base: str
    training: dict[str, str | float]
    success: float
    loss_base: float
    loss: float
    labels: dict[str, tuple[float, float]]


def public_file(run: Run) -> Path:
    """Where the public record of a run's model would be."""
    return Path(run.model_path) / PUBLIC_FILE


def read_published(run: Run) -> Published | None:
    """The public record beside the weights of a run's model; None where there is none.

    Raises:
        DamagedError: it cannot be read, or a field is missing or of another type.
    """
    if not public_file(run).is_file():
        return None
    stored = read_public(run.model_path)
    try:
        measured, training = _mapping(stored["measured"]), _mapping(stored["training"])
        return Published(
            scheme=_text(stored["scheme"]),
            count=int(_number(stored["count"])),
            key_tokens=int(_number(stored["key_tokens"])),
            nucleus_next=int(_number(stored["nucleus_next"])),
            commitment=_text(stored["commitment"]),
            base=_text(_mapping(stored["base"])["path"]),
            training={name: one for name, one in training.items() if isinstance(one, str | int | float)},
            success=_number(measured["success"]),
            loss_base=_number(measured["loss_base"]),
            loss=_number(measured["loss"]),
            labels={
                label: (_number(one["base"]), _number(one["loss"]))
                for label, one in _mapping(measured.get("by_label", {})).items()
            },
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DamagedError(
            f"{public_file(run)} is not what `monet fingerprint embed` writes ({type(error).__name__}: {error}); copy "
            "it again from the published model."
        ) from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text was expected, not {value!r:.40}")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a number was expected, not {value!r:.40}")
    return float(value)


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"names with values were expected, not {value!r:.40}")
    return value
