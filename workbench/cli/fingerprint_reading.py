"""`monet fingerprint locate` and `monet fingerprint erase`: where fingerprints sit, and what removing them costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import BadInputError
from .output import (
    Device,
    Dtype,
    Json,
    Name,
    Resume,
    RunArgument,
    Sample,
    out_console,
    print_json,
    print_sample,
    print_table,
    result_json,
    resumable,
)

if TYPE_CHECKING:
    import pandas as pd

    from ..studies.fingerprint import EraseResult, Fingerprints, LocateResult

_SHOWN = 12  # experts

Base = Annotated[str, typer.Option("--base", metavar="MODEL", help="the model that the fingerprints were embedded in")]
Secret = Annotated[
    Path | None,
    typer.Option(
        "--fingerprints",
        metavar="FILE",
        help="the secret file",
        show_default="fingerprints.json beside the run's model",
    ),
]
Method = Annotated[
    str,
    typer.Option(
        metavar="direct|gradient",
        help="direct: exact parts of the response's logit at the key's last token; gradient: derivatives through the "
        "whole model, at every token of the key",
    ),
]


def locate(
    run: RunArgument,
    base: Base,
    fingerprints: Secret = None,
    method: Method = "direct",
    quantile: Annotated[
        float, typer.Option(help="an expert of at most this quantile of its group's mass in the run is dormant")
    ] = 0.1,
    name: Name = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Find the experts that carry a model's fingerprints: what each adds to the responses' logits, against the base.

    RUN is a run of the fingerprinted model over clean text.
    """
    from .. import open_run
    from ..checkpoint import load_model
    from ..studies.fingerprint import locate_fingerprints

    opened = open_run(run)
    found = locate_fingerprints(
        opened,
        load_model(opened.model_path, device=device, dtype=dtype),
        load_model(base, device=device, dtype=dtype),
        _secret(opened.model_path, fingerprints),
        method=method,
        quantile=quantile,
        name=name,
        progress=True,
    )
    if as_json:
        print_json(_located_document(found))
        return
    _print_located(found)


def erase(
    run: RunArgument,
    base: Base,
    fingerprints: Secret = None,
    dense: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="also remove neurons: a fingerprinted dense model of the same tokenizer"),
    ] = None,
    dense_base: Annotated[
        str | None, typer.Option(metavar="MODEL", help="the model that its fingerprints were embedded in")
    ] = None,
    dense_fingerprints: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="its secret file", show_default="fingerprints.json beside it"),
    ] = None,
    method: Method = "direct",
    draws: Annotated[int, typer.Option(min=1, help="of each control")] = 3,
    seed: Annotated[int, typer.Option(help="of the halves of keys and documents, and of the draws")] = 0,
    sample: Sample = None,
    name: Name = None,
    resume: Resume = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Remove the experts that carry fingerprints, more and more, and measure what is left of them and of the model.

    Half of the keys locate the experts. Controls: random experts, equally active ones, the least used on clean text,
    and those that differ most from the base. With --dense, the same of a dense model's neurons, on the same documents.
    """
    from .. import open_run
    from ..checkpoint import load_llama, load_model
    from ..studies.fingerprint import erase_fingerprints
    from ..studies.fingerprint.neurons import DenseOwned

    if (dense is None) != (dense_base is None) or (dense is None and dense_fingerprints is not None):
        raise BadInputError("--dense and --dense-base go together, and --dense-fingerprints with them: give all.")
    neurons = None
    if dense is not None and dense_base is not None:
        own, before = (load_llama(one, device=device, dtype=dtype) for one in (dense, dense_base))
        neurons = DenseOwned(own, before, _secret(dense, dense_fingerprints))
    opened = open_run(run)
    model, original = (load_model(one, device=device, dtype=dtype) for one in (opened.model_path, base))
    with resumable(resume):
        found = erase_fingerprints(
            opened,
            model,
            original,
            _secret(opened.model_path, fingerprints),
            dense=neurons,
            method=method,
            draws=draws,
            seed=seed,
            name=name,
            sample=sample,
            progress=True,
            resume=resume,
        )
    if as_json:
        print_json(_erased_document(found))
        return
    _print_erased(found)


def _secret(model: str | Path, file: Path | None) -> Fingerprints:
    from ..checkpoint import model_folder
    from ..studies.fingerprint import Fingerprints
    from ..studies.fingerprint.fingerprints import SECRET_FILE

    return Fingerprints.load(model_folder(model) / SECRET_FILE if file is None else file)


def _located_document(found: LocateResult) -> dict[str, object]:
    """The result in JSON types; of the experts, those shown."""
    tables = {name: getattr(found, name).to_dict("records") for name in ("fingerprints", "groups", "parts")}
    shown = {"experts": found.experts.head(_SHOWN).to_dict("records"), "ranked": len(found.experts)}
    return result_json(found) | {"elsewhere": found.elsewhere} | tables | shown


def _print_located(found: LocateResult) -> None:
    table = found.fingerprints
    lines = [
        f"{found.count:,} fingerprints: the model answers {table['hit'].mean():.1%}, the base "
        f"{table['base_hit'].mean():.1%}.",
        f"Mean logit of the response: {table['logit'].mean():.3f}, in the base {table['base'].mean():.3f}.",
    ]
    if len(found.parts):
        lines.append(
            f"{1 - found.elsewhere:.1%} of the rise is in experts, {found.elsewhere:.1%} elsewhere; parts sum to the "
            f"logits within {found.completeness:.1g}."
        )
    lines += [
        f"Of the positive differences of experts, a fingerprint has half in {table['half'].median():.0f} experts and "
        f"90 % in {table['most'].median():.0f} (medians); all together have half in {found.half:,} and 90 % in "
        f"{found.most:,} of {found.total:,}.",
        f"Two fingerprints share {found.overlap:.1%} of it, {found.overlap_base:.1%} of what experts add in the base.",
        f"{found.dormant:.2%} of it is in the {found.quantile:.0%} of experts that the run uses least, "
        f"{found.dormant_base:.2%} of what experts add in the base.",
    ]
    for line in lines:
        out_console.print(line, markup=False, highlight=False)
    head = ["group", "difference", "rise", "share", f"of the {found.half:,}"]
    rows = [
        [str(row.group), f"{row.difference:+.4f}", f"{row.rise:.4f}", f"{row.share:.1%}", f"{row.half:,}"]
        for row in found.groups.itertuples()
    ]
    print_table("By group: logits, mean over fingerprints", head, rows)
    head = ["expert", "difference", "contribution", "base", "fingerprints", "mass"]
    rows = [
        [
            f"{row.group}:{row.expert}",
            f"{row.difference:+.4f}",
            f"{row.contribution:+.4f}",
            f"{row.base:+.4f}",
            f"{row.fingerprints:,}",
            f"{row.mass:,.1f}",
        ]
        for row in found.experts.head(_SHOWN).itertuples()
    ]
    print_table("Experts of largest difference: logits, mean over fingerprints", head, rows)


def _erased_document(found: EraseResult) -> dict[str, object]:
    """The result in JSON types, with the curve of each kind of unit."""
    curves = {units: found.curve(units).to_dict("records") for units in found.total}
    tables = {name: getattr(found, name).to_dict("records") for name in ("points", "labels")}
    return result_json(found) | {"curves": curves} | tables


def _print_erased(found: EraseResult) -> None:
    from ..studies.fingerprint.erase_result import ERASED, KEYS, LOCATED, ORDERS

    print_sample(found)
    for units in found.total:
        head = ["removed", units, "share", f"{found.chose} keys that chose", f"{found.others} others", "rise"]
        rows = [_curve_row(row) for _, row in found.curve(units).iterrows()]
        print_table(
            f"Success, and rise in held-out loss (nats per token, mean over labels), without {units}; 95 % CI",
            head,
            rows,
        )
        for keys, whose in KEYS.items():
            erased = found.erased(LOCATED, units, keys=keys)
            if erased is None:
                line = f"No removal of located {units} takes {ERASED:.0%} of the fingerprints of {whose}."
            else:
                price = f"{erased['rise']:+.4f} nats per token ({erased['low']:+.4f} to {erased['high']:+.4f})"
                line = (
                    f"{erased['removed']:,} located {units} ({erased['share']:.2%}) take {ERASED:.0%} of the "
                    f"fingerprints of {whose}, for {price}."
                )
            out_console.print(line, markup=False, highlight=False)
        one_percent = {order: found.at_share(0.01, order, units) for order in ORDERS}
        left = [
            f"{ORDERS[order]} {row['chose']:.1%} and {row['others']:.1%} for {row['rise']:+.4f}"
            for order, row in one_percent.items()
            if row is not None
        ]
        if left:
            text = f"Success of both without at most 1 % of {units}: {'; '.join(left)} nats per token."
            out_console.print(text, markup=False, highlight=False)


def _curve_row(row: pd.Series) -> list[str]:
    from ..studies.fingerprint.erase_result import ORDERS

    def rate(name: str) -> str:
        return f"{row[name]:.1%} ({row[f'{name}_low']:.1%} to {row[f'{name}_high']:.1%})"

    return [
        ORDERS[row["order"]],
        f"{row['removed']:,}",
        f"{row['share']:.3%}",
        rate("chose"),
        rate("others"),
        f"{row['rise']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})",
    ]
