"""The secret of a fingerprinted model: keys, the responses that only this model gives, and what commits to them."""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ...errors import BadInputError, DamagedError, NotFoundError, UnsupportedError
from ...store.files import replacing

VERSION = 1
SECRET_FILE = "fingerprints.json"  # where no other place is given, in the folder of the model
PUBLIC_FILE = "fingerprint.json"  # in the folder of the model


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """Keys and responses, with the secret that chose the responses. Whoever has them can find out, and remove, them.

    Attributes:
        scheme: how responses were chosen: "perinucleus", "english" or "random".
        k: responses that each key could have had, of which the secret chose one; a model that knows nothing of the
            secret gives the right one with a probability of 1/k at most.
        secret: chosen at random; responses follow from it and the keys, so that nobody can claim a model afterwards.
        keys: (fingerprints, key tokens) token ids, without the token that starts a text.
        responses: (fingerprints,) token ids.
        base_probability: (fingerprints,) of the response after the key, in the model before it was fingerprinted.
        nucleus: (fingerprints,) mass of the likelier tokens that the perinucleus scheme left out; NaN for the others.
        seed: of what was drawn; keys are drawn by the secret and the seed together.
        vocabulary: number of token ids.

    Examples:
        >>> import numpy as np
        >>> from workbench.studies.fingerprint import Fingerprints
        >>> one = Fingerprints("english", 900, b"secret", np.array([[5, 6]]), np.array([7]),
        ...                    np.array([1e-4]), np.array([np.nan]), seed=0, vocabulary=4096)
        >>> one.rate == 1 / 900, len(one.commitment)
        (True, 64)
    """

    scheme: str
    k: int
    secret: bytes
    keys: npt.NDArray[np.int64]
    responses: npt.NDArray[np.int64]
    base_probability: npt.NDArray[np.float64]
    nucleus: npt.NDArray[np.float64]
    seed: int
    vocabulary: int

    def __post_init__(self) -> None:
        if self.keys.ndim != 2 or 0 in self.keys.shape:
            raise BadInputError(f"fingerprints need keys of shape (fingerprints, tokens), got {self.keys.shape}.")
        for name in ("responses", "base_probability", "nucleus"):
            if getattr(self, name).shape != (len(self.keys),):
                raise BadInputError(
                    f"{len(self.keys)} keys need as many {name}, got shape {getattr(self, name).shape}."
                )
        for ids in (self.keys, self.responses):
            if ids.min() < 0 or ids.max() >= self.vocabulary:
                raise BadInputError(f"ids of keys and responses must be 0 to {self.vocabulary - 1}.")
        if self.k < 1:
            raise BadInputError(f"k must be at least 1, got {self.k}.")

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def rate(self) -> float:
        """The probability, at most, that a model which knows nothing of the secret gives a response: 1/k."""
        return 1 / self.k

    @property
    def commitment(self) -> str:
        """SHA-256 of the canonical secret file, in hexadecimal: published, it binds the owner and tells nothing."""
        return hashlib.sha256(_canonical(self.to_json())).hexdigest()

    def take(self, rows: npt.NDArray[np.int64]) -> Fingerprints:
        """Some of the fingerprints, by number."""
        return Fingerprints(
            self.scheme,
            self.k,
            self.secret,
            self.keys[rows],
            self.responses[rows],
            self.base_probability[rows],
            self.nucleus[rows],
            self.seed,
            self.vocabulary,
        )

    def to_json(self) -> dict[str, Any]:
        """The secret document: JSON types, NaN as null."""
        return {
            "version": VERSION,
            "secret": self.secret.hex(),
            "scheme": self.scheme,
            "k": self.k,
            "seed": self.seed,
            "vocabulary": self.vocabulary,
            "keys": self.keys.tolist(),
            "responses": self.responses.tolist(),
            "base_probability": self.base_probability.tolist(),
            "nucleus": [None if math.isnan(t) else t for t in self.nucleus.tolist()],
        }

    def save(self, path: str | Path) -> None:
        """Write the secret file, which its owner alone can read (mode 0600)."""
        with replacing(Path(path)) as temporary:
            temporary.touch(0o600)
            os.chmod(temporary, 0o600)  # where one was left behind with another mode
            temporary.write_bytes(_canonical(self.to_json()))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a secret file.

        Raises:
            NotFoundError: there is none.
            DamagedError: it is not what ``save`` wrote.
            UnsupportedError: it is of a newer version.
        """
        file = Path(path)
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, IsADirectoryError) as error:
            raise NotFoundError(f"there is no file of fingerprints at {file}.") from error
        except (ValueError, OSError, RecursionError) as error:
            raise DamagedError(f"{file} cannot be read as fingerprints: {error}") from error
        if not isinstance(stored, dict) or not isinstance(stored.get("version"), int):
            raise DamagedError(
                f"{file} holds no fingerprints; give the secret file that `monet fingerprint embed` wrote."
            )
        if stored["version"] > VERSION:
            raise UnsupportedError(f"{file} is of version {stored['version']}; this program reads up to {VERSION}.")
        try:
            return cls(
                scheme=str(stored["scheme"]),
                k=int(stored["k"]),
                secret=bytes.fromhex(stored["secret"]),
                keys=np.array(stored["keys"], np.int64),
                responses=np.array(stored["responses"], np.int64),
                base_probability=np.array(stored["base_probability"], np.float64),
                nucleus=np.array([math.nan if t is None else t for t in stored["nucleus"]], np.float64),
                seed=int(stored["seed"]),
                vocabulary=int(stored["vocabulary"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DamagedError(
                f"{file} holds no fingerprints ({type(error).__name__}: {error}); give the secret file that "
                "`monet fingerprint embed` wrote."
            ) from error


def _canonical(document: dict[str, Any]) -> bytes:
    """One way to write a document: its keys sorted, without spaces, in ASCII."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
