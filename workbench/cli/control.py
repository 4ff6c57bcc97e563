"""`monet control`: a harvest policy read through its experts."""

from __future__ import annotations

import typer

from .control_reading import rule

control_app = typer.Typer(help="A harvest policy whose rule is read off its experts.", no_args_is_help=True)
control_app.command()(rule)
