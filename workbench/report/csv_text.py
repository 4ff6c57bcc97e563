"""Tables as CSV that pandas, polars, the csv module and spreadsheets read back row for row, and as they were written.

Every text is quoted, which not all writers do with a bare carriage return; numbers are not, and what is missing is an
empty cell. A text that a reader would take for something else carries an apostrophe in front: formulas (``=1+1``),
words that pandas takes for missing (``NA``, ``null``), texts that look like numbers (``01``), as readers judge a column
by a part of its rows, and texts that begin with an apostrophe themselves. ``read_csv`` removes it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd

NUL_SHOWN = "␀"  # U+2400 in place of U+0000, which databases and C programs refuse
_FORMULA = re.compile(r"[=+\-@\t\r].", re.S)  # one sign alone is none
# What `pandas.read_csv` takes for missing by default, beside an empty cell.
MISSING = frozenset(
    ("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA", "NULL")
    + ("NaN", "None", "n/a", "nan", "null")
)


def to_csv(table: pd.DataFrame) -> str:
    """Return a table as CSV, its column names in the first line.

    Examples:
        >>> import pandas as pd
        >>> print(to_csv(pd.DataFrame({"label": ["NA", "=1+1"], "loss": [0.5, None]})), end="")
        label,loss
        "'NA",0.5
        "'=1+1",
    """
    columns = [[_cell(value) for value in table[name]] for name in table]
    rows = zip(*columns, strict=True) if columns else []
    lines = [[_name(str(name)) for name in table], *rows]
    return "".join(",".join(line) + "\n" for line in lines)


def read_csv(path: str | Path) -> pd.DataFrame:
    """Read a CSV report exactly as it was written: apostrophes put in front of texts are removed.

    Args:
        path: of the file.

    Returns:
        Its table; missing cells are NaN, and texts such as NA are texts.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.report import label_report, read_csv
        >>> label_report(open_run("runs/demo"), "lua", "csv", "lua.csv")
        >>> bool(read_csv("lua.csv")["expert"].notna().all())
        True
    """
    table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    for name in table.select_dtypes(include=["str", "object"]):
        table[name] = table[name].str.removeprefix("'")
    return table


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(guarded(value))
    return "" if pd.api.types.is_scalar(value) and pd.isna(value) else str(value)


def guarded(text: str) -> str:
    """A text that no reader takes for something else: with an apostrophe in front where one would.

    Examples:
        >>> guarded("lua"), guarded("=1+1")
        ('lua', "'=1+1")
    """
    text = text.replace("\0", NUL_SHOWN)
    return f"'{text}" if _is_misread(text) else text


def _is_misread(text: str) -> bool:
    """Whether a reader would take a text for a formula, a number, nothing, or one with an apostrophe put in front."""
    return text in MISSING or text.startswith("'") or _FORMULA.match(text) is not None or _is_number(text)


def _is_number(text: str) -> bool:
    """Whether a column of such texts would be read as numbers or truth values."""
    if text.strip().lower() in ("true", "false"):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def _name(text: str) -> str:
    """The name of a column, quoted where it must be."""
    return text if re.fullmatch(r"[\w:. -]+", text) else _quoted(text)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
