"""The `monet` command: thin commands over the packages that do the work."""

from __future__ import annotations

import errno

import typer

from ..errors import WorkbenchError
from . import (
    analysis,
    attribution,
    circuits,
    compare,
    control,
    diff,
    evaluate,
    explain,
    fingerprint,
    lists,
    models,
    runs,
    scores,
    search,
    structure,
    transcode,
)
from . import report as reading
from .output import err_console

app = typer.Typer(
    name="monet",
    help="Read the experts of a Monet model: export, analyse, mask, attribute, report, browse.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
corpus_app = typer.Typer(help="Labelled corpora.", no_args_is_help=True)
app.add_typer(corpus_app, name="corpus")
app.add_typer(control.control_app, name="control")
app.add_typer(fingerprint.fingerprint_app, name="fingerprint")
corpus_app.command("build")(models.corpus_build)
corpus_app.command("score")(scores.corpus_score)

app.command()(models.train)
app.command()(transcode.transcode)
app.command()(runs.export)
app.command()(runs.verify)
app.command()(runs.migrate)
app.command()(runs.bench)
app.command()(runs.convert)
app.command()(analysis.analyze)
app.command()(analysis.mask)
app.command()(analysis.curve)
app.command()(analysis.overlap)
app.command("compare")(compare.compare_command)
app.command("diff")(diff.diff_command)
app.command()(evaluate.evaluate)
app.command("evaluate-code")(evaluate.evaluate_code)
app.command()(attribution.attribute)
app.command("attribute-corpus")(attribution.attribute_corpus)
app.command()(circuits.trace)
app.command()(explain.explain)
app.command()(explain.search)
app.command()(search.find)
app.command("scores")(scores.scores)
app.command()(scores.purge)
app.command()(structure.structure)
app.command("map")(structure.map_command)
app.command("coactive")(structure.coactive_command)
app.command("list")(lists.list_command)
app.command()(reading.report)
app.command()(models.edit)
app.command("export-model")(models.export_model)
app.command()(reading.serve)


_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the `monet` command: bad input, or a full disk, ends with its message alone, and exit code 2."""
    try:
        app(arguments)
    except (WorkbenchError, OSError) as error:
        problem = str(error)
        if isinstance(error, OSError):
            if error.errno not in _OF_THE_DISK:
                raise
            problem = f"{error.filename or 'a file'} cannot be written or read: {error.strerror}."
        err_console.print(f"error: {problem}", style="red", markup=False, highlight=False)
        raise SystemExit(2) from error
