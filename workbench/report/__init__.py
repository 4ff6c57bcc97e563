"""Reports: what the workbench knows about one expert, label or text, as one file to hand to a colleague."""

from __future__ import annotations

from .expert import expert_report
from .files import KINDS
from .label import label_report
from .text import text_report

__all__ = ["KINDS", "expert_report", "label_report", "text_report"]
