from .comparison import comparison_report
from .edit import edit_report
from .expert import expert_report
from .kinds import KINDS
from .label import label_report
from .text import text_report

__all__ = ["KINDS", "comparison_report", "edit_report", "expert_report", "label_report", "text_report"]
