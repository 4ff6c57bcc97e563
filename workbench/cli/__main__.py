"""`python -m workbench.cli` is the `monet` command."""

from __future__ import annotations

from . import main

if __name__ == "__main__":
    main()
