"""Reports: what the workbench knows about an expert, a label, a text, an edit or two runs, as one file to hand on."""

from __future__ import annotations

from .comparison import comparison_report
from .edit import edit_report
from .expert import expert_report
from .files import KINDS
from .label import label_report
from .text import text_report

__all__ = ["KINDS", "comparison_report", "edit_report", "expert_report", "label_report", "text_report"]
