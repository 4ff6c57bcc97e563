from .circuit import circuit_report
from .comparison import comparison_report
from .csv_text import read_csv
from .diff import diff_report
from .edit import edit_report
from .expert import expert_report
from .kinds import KINDS
from .label import label_report
from .text import text_report

__all__ = [
    "KINDS",
    "circuit_report",
    "comparison_report",
    "diff_report",
    "edit_report",
    "expert_report",
    "label_report",
    "read_csv",
    "text_report",
]
