"""What results about fingerprints have in common: their document, and the command that makes them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from ...analysis.results import Result, fields_of

if TYPE_CHECKING:
    from ...store import Run


class FingerprintResult(Result):
    """Base of what locating and erasing keep in a run: no key and no response."""

    def to_json(self) -> dict[str, Any]:
        """Everything but the tables."""
        return {name: value for name, value in fields_of(self).items() if name not in self.tables}

    @classmethod
    def command_line(cls, run: Run, name: str | None) -> str:
        """The command that computes it; it needs the base model and the secret as well."""
        return f"{cls.command} {shlex.quote(str(run.path))} --base MODEL --fingerprints FILE" + (
            f" --name {name}" if name else ""
        )
