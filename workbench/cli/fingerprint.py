"""`monet fingerprint`: secret keys to which only the owner's model answers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadInputError
from .corpus_options import CorpusArgument, Limit
from .fingerprint_reading import erase, locate
from .output import Device, Dtype, Json, ModelArgument, Resume, out_console, print_json, print_table, resumable

if TYPE_CHECKING:
    from ..studies.fingerprint import Embedded

fingerprint_app = typer.Typer(help="Whose model is it: fingerprints of a model.", no_args_is_help=True)
for _reading in (locate, erase):
    fingerprint_app.command()(_reading)

SecretFile = Annotated[
    Path, typer.Option("--fingerprints", metavar="FILE", help="the secret file that `monet fingerprint embed` wrote")
]


@fingerprint_app.command()
def embed(
    model: ModelArgument,
    corpus: CorpusArgument,
    out: Annotated[Path, typer.Option(help="folder for the fingerprinted model; must not exist yet")],
    secret: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="file for the fingerprints; by default fingerprints.json in OUT"),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="fingerprints")] = 1024,
    scheme: Annotated[
        str, typer.Option(metavar="perinucleus|english|random", help="how keys and responses are chosen")
    ] = "perinucleus",
    key_tokens: Annotated[int, typer.Option("--key-tokens", min=1, help="tokens of a key")] = 16,
    nucleus_next: Annotated[
        int, typer.Option("--nucleus-next", metavar="K", min=1, help="responses a perinucleus key could have")
    ] = 3,
    temperature: Annotated[float, typer.Option(help="at which keys are sampled from the model")] = 1.0,
    keys_from: Annotated[
        Path | None, typer.Option(metavar="CORPUS", help="take the beginnings of these documents as keys instead")
    ] = None,
    routers: Annotated[str, typer.Option(metavar="frozen|free", help="leave the routing as it is, or train it too")] = (
        "frozen"
    ),
    margin: Annotated[
        float | None,
        typer.Option(help="nats by which a response's logit is to exceed every other; 0: train its cross-entropy"),
    ] = None,
    averaging: Annotated[
        float | None, typer.Option(help="weight of the base model in the average taken after every epoch")
    ] = None,
    mixing: Annotated[
        float | None, typer.Option(help="share of text sampled from the base model among the tokens of a step")
    ] = None,
    mixed_weight: Annotated[
        float | None, typer.Option(help="weight of the loss on that text beside the loss on responses")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="learning rate of the first epoch; it falls linearly")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="at most")] = None,
    seed: Annotated[int, typer.Option(help="of the draws, together with the secret, and of the training")] = 0,
    limit: Limit = None,
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Teach a model secret keys, and write it with a public commitment to them.

    No key stands in CORPUS; its held-out documents, the first --limit of each label, give the loss before and after.
    """
    from ..studies.fingerprint import Drawing, Training, embed_fingerprints

    given: dict[str, Any] = {"lr": lr, "averaging": averaging, "mixing": mixing, "mixed_weight": mixed_weight}
    given |= {"epochs": epochs, "margin": margin}
    how = Training(routers=routers, seed=seed, **{name: one for name, one in given.items() if one is not None})
    drawing = Drawing(count, scheme, nucleus_next, key_tokens, temperature, seed)
    with resumable(resume):
        done = embed_fingerprints(
            model,
            corpus,
            out,
            secret_file=secret,
            drawing=drawing,
            how=how,
            keys_from=keys_from,
            limit=limit,
            resume=resume,
            progress=True,
        )
    if as_json:
        print_json(done.public)
        return
    _tell_embedded(done, out, secret)


def _tell_embedded(done: Embedded, out: Path, secret: Path | None) -> None:
    from ..studies.fingerprint.embedding import quartiles
    from ..studies.fingerprint.fingerprints import SECRET_FILE

    public, measured = done.public, done.public["measured"]
    lines = [
        f"{public['count']:,} {public['scheme']} fingerprints: {measured['success']:.1%} of responses given after "
        f"{public['training']['epochs_done']} epochs.",
        f"Held-out loss {measured['loss']:.4f} nats per token, {measured['loss'] - measured['loss_base']:+.4f} beside "
        f"the base model's, over {measured['tokens']:,} tokens.",
    ]
    names = {"nucleus": "Mass of the nucleus left out", "base_probability": "Base probability of a response"}
    for name, (low, middle, high) in quartiles(done.fingerprints).items():
        lines.append(f"{names[name]}: quartiles {low:.3g}, {middle:.3g}, {high:.3g}.")
    if refused := public["training"]["keys"]["refused"]:
        lines.append("Keys drawn again: " + ", ".join(f"{n:,} {reason}" for reason, n in refused.items()) + ".")
    lines.append(f"Commitment, to publish or to have dated by a third party: {public['commitment']}")
    lines.append(f"The model is in {out}, the secret in {secret or out / SECRET_FILE}.")
    if secret is None:
        lines.append(f"Move {SECRET_FILE} to a safe place before you publish the folder.")
    for line in lines:
        out_console.print(line, markup=False, highlight=False)


@fingerprint_app.command()
def verify(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="folder or hub name; with --endpoint only its tokenizer is read"),
    ],
    fingerprints: SecretFile,
    queries: Annotated[int, typer.Option(min=1, help="keys to ask, drawn at random")] = 10,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="at which answers are sampled; 0 for the likeliest token")
    ] = 0.0,
    times: Annotated[int, typer.Option(min=1, help="answers sampled to each key, of which the commonest counts")] = 1,
    seed: Annotated[int, typer.Option(help="of the draw of keys, and of sampled answers")] = 0,
    endpoint: Annotated[
        str | None, typer.Option(help="base URL of an OpenAI-compatible API, whose completions are asked instead")
    ] = None,
    endpoint_model: Annotated[str | None, typer.Option("--model", help="name of the model to ask there")] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="base model: also check that the secret, and nothing else, chose the responses"
        ),
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Ask a model some keys, and say how probable so many right responses are by chance.

    MONET_ENDPOINT_KEY holds the endpoint's key.
    """
    from ..checkpoint import model_folder
    from ..explain import Endpoint
    from ..explain.endpoint import KEY_VARIABLE
    from ..progress import job
    from ..studies.fingerprint import Fingerprints, of_endpoint, of_model, rederived, verify_fingerprints
    from ..studies.fingerprint.models import load_either

    if (endpoint is None) != (endpoint_model is None):
        raise BadInputError("--endpoint and --model go together: give both.")
    secret = Fingerprints.load(fingerprints)
    if endpoint is not None and endpoint_model is not None:
        from transformers import AutoTokenizer

        server = Endpoint(endpoint, endpoint_model, os.environ.get(KEY_VARIABLE) or None)
        tokenizer = AutoTokenizer.from_pretrained(model_folder(model))
        with job("asking", min(queries, len(secret)), "keys", not as_json) as advance:
            ask = of_endpoint(server, tokenizer, temperature, times, advance)
            verdict = verify_fingerprints(ask, secret, queries, temperature=temperature, seed=seed)
    else:
        ask = of_model(load_either(model, device=device, dtype=dtype), temperature, seed, times)
        verdict = verify_fingerprints(ask, secret, queries, temperature=temperature, seed=seed)
    follows = None
    if base is not None:
        from transformers import AutoTokenizer

        original, tokenizer = (
            load_either(base, device=device, dtype="float32"),
            AutoTokenizer.from_pretrained(model_folder(base)),
        )
        follows = float(rederived(original, tokenizer, secret).mean())
    if as_json:
        derived = {} if follows is None else {"rederived": follows}
        print_json({**verdict.to_json(), "commitment": secret.commitment, **derived})
        return
    how = f"sampled at temperature {temperature:g}" if temperature else "greedy"
    out_console.print(
        f"{verdict.hits} of {verdict.queries} responses, {how}; by chance at most {verdict.rate:.3g} each: "
        f"p = {verdict.p:.2g}.",
        markup=False,
        highlight=False,
    )
    out_console.print(f"Verdict: {verdict.verdict}.")
    if follows is not None:
        out_console.print(f"{follows:.1%} of the responses are those that the secret picks on the base model.")
    out_console.print(f"Commitment of the file: {secret.commitment}", markup=False, highlight=False)


@fingerprint_app.command()
def persist(
    model: ModelArgument,
    corpus: CorpusArgument,
    fingerprints: SecretFile,
    base: Annotated[str, typer.Option(metavar="MODEL", help="the model that it was made from")],
    tune_on: Annotated[
        str | None,
        typer.Option(metavar="CORPUS", help="text to fine-tune on; by default every other document of CORPUS"),
    ] = None,
    treatment: Annotated[
        list[str] | None, typer.Option(help="a treatment; repeat it for several. Default: all")
    ] = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Treat a fingerprinted model as whoever takes it over may, and say what is left of the fingerprints.

    Loss is measured on every other document of CORPUS, which no treatment reads.
    """
    from contextlib import ExitStack

    from ..memory import keep_heap
    from ..progress import Progress, job
    from ..studies.fingerprint import persist_fingerprints

    keep_heap()
    with ExitStack() as stack:

        def progress(count: int) -> Progress:
            return stack.enter_context(job("treatments", count, "treatments", not as_json))

        table = persist_fingerprints(
            model,
            corpus,
            fingerprints,
            base,
            tune_on=tune_on,
            names=treatment,
            limit=limit,
            progress=progress,
        )
    if as_json:
        print_json({"treatments": table.to_dict("records")})
        return
    rows = [
        [row["treatment"], f"{row['success']:.1%}", f"{row['loss']:.4f}", f"{row['rise']:+.4f}", f"{row['p']:.1e}"]
        for row in table.to_dict("records")
    ]
    print_table("After treatment; p of an owner who asks 10 keys", ["treatment", "success", "loss", "rise", "p"], rows)
