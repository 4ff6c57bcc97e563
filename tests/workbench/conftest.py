"""Small runs of the golden model, of every kind there is, for tests of several packages; a server that plays an
endpoint for explanations and their commands; multiple-choice tasks of our own in the evaluation harness' format; and a
hub's model of two revisions in an offline cache."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from workbench.export import export_run
from workbench.store import open_run

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="session")
def cut() -> Callable[[list[int], int, int], list[tuple[list[int], int]]]:
    """Cuts ids into the windows that an export reads, one id after the other.

    Called with the ids, how many start-of-text tokens open them (0 or 1), and the context, it returns each window and
    how many ids it repeats: those that open the text, and an eighth of the context from the window before.
    """

    def windows(ids: list[int], bos: int, context: int) -> list[tuple[list[int], int]]:
        found: list[tuple[list[int], int]] = []
        window: list[int] = []
        again = 0
        for at, token in enumerate(ids):
            if len(window) == context:
                found.append((window, again))
                window = ids[:bos] + ids[at - context // 8 : at]
                again = len(window)
            window = [*window, token]
        return [*found, (window, again)] if ids else []

    return windows


@pytest.fixture(scope="session")
def sound_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete run of two parts; not to be changed."""
    folder = tmp_path_factory.mktemp("store")
    rng = np.random.default_rng(3)
    rows = [{"input_ids": rng.integers(2, 128, 40).clip(3).tolist(), "label": "ab"[n % 2]} for n in range(6)]
    Dataset.from_list(rows).to_parquet(str(folder / "corpus.parquet"))
    export_run(GOLDEN / "tiny-hd", folder / "corpus.parquet", folder / "run", part_tokens=120)
    return folder / "run"


@pytest.fixture(scope="session")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three tokens, which most experts sleep through, with labels and a source that hide and break out."""
    folder = tmp_path_factory.mktemp("short")
    rows = [
        {"input_ids": [3, 90], "label": '<script>alert("x")</script>', "source": "=1+1,\u202e\n\x00'; DROP TABLE"},
        {"input_ids": [7], "label": "mass:a\nb 'c' \"d\" \u202e%", "source": None},
    ]
    Dataset.from_list(rows).to_parquet(str(folder / "corpus.parquet"))
    export_run(GOLDEN / "tiny-hd", folder / "corpus.parquet", folder / "run")
    return folder / "run"


@pytest.fixture(scope="session")
def sampled_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that keeps the routing of about half of its documents."""
    folder = tmp_path_factory.mktemp("sampled")
    rng = np.random.default_rng(5)
    rows = [{"input_ids": rng.integers(2, 128, 9).clip(3).tolist(), "label": "ab"[n % 2]} for n in range(12)]
    Dataset.from_list(rows).to_parquet(str(folder / "corpus.parquet"))
    export_run(GOLDEN / "tiny-hd", folder / "corpus.parquet", folder / "run", keep_routing=0.5)
    return folder / "run"


@pytest.fixture(scope="session")
def windowed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of short context windows, some cut by a document's end, of documents that open with a start-of-text token
    and ones that do not, an empty one among them; the routing of some is not kept."""
    folder = tmp_path_factory.mktemp("windowed")
    rng = np.random.default_rng(6)
    sizes = (8, 20, 0, 3, 16, 1, 31, 9)
    rows = [
        {"input_ids": [1] * (n % 2) + rng.integers(2, 128, size).tolist(), "label": "a"} for n, size in enumerate(sizes)
    ]
    Dataset.from_list(rows).to_parquet(str(folder / "corpus.parquet"))
    export_run(GOLDEN / "tiny-hd", folder / "corpus.parquet", folder / "run", context=8, keep_routing=0.6)
    return folder / "run"


@pytest.fixture
def hub_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The hub's model owner/tiny in the cache of a machine without a network: snapshots by the names that ask for them.

    Its revision ``early``, also named by its commit, has other weights than the main branch.
    """
    repository = tmp_path / "hub" / "models--owner--tiny"
    (repository / "refs").mkdir(parents=True)
    folders = {}
    for revision, commit in (("main", "0" * 40), ("early", "1" * 40)):
        folder = repository / "snapshots" / commit
        shutil.copytree(GOLDEN / "tiny-vd", folder)
        (folder / "tokenizer.json").write_text(revision)
        (repository / "refs" / revision).write_text(commit)
        folders[f"owner/tiny@{revision}"] = folders[f"owner/tiny@{commit}"] = folder
    weights = load_file(folder / "model.safetensors")
    save_file(
        weights | {"lm_head.weight": weights["lm_head.weight"] + 1}, folder / "model.safetensors", {"format": "pt"}
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folders | {"owner/tiny": folders["owner/tiny@main"]}


WORDS = {
    "python": ["def", "return", "self", "import", "lambda:", "yield", "None", "pass"],
    "prose": ["evening", "river", "the", "quietly", "walked", "house", "of", "they"],
    "html": ["<p>", "</p>", "<b>", "<br>", "</div>", "class=", "href=", "<li>"],
}


@pytest.fixture(scope="session")
def text_run_path(bare_run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a golden model over 48 short texts of each of three labels."""
    folder = tmp_path_factory.mktemp("text")
    rng = np.random.default_rng(1)
    rows = [
        {"text": " ".join(rng.choice(words, 9)), "label": label} for label, words in WORDS.items() for _ in range(48)
    ]
    Dataset.from_list(rows).to_parquet(folder / "corpus.parquet")
    export_run(open_run(bare_run_path).model_path, folder / "corpus.parquet", folder / "run")
    return folder / "run"


@pytest.fixture(scope="session")
def umap() -> None:
    """UMAP's package, which compiles itself in each process that imports it: most of a minute."""
    pytest.importorskip("umap")


class Server:
    """Answers chat completions by a function of the request; keeps what it was sent."""

    def __init__(self) -> None:
        self.answer: Callable[[Any], str] = lambda body: "hello"
        self.status, self.raw, self.delay = 200, None, 0.0
        self.location: str | None = None
        self.seen: list[tuple[str, dict[str, str], Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.seen.append((self.path, dict(self.headers), body))
                time.sleep(outer.delay)
                answer = {"choices": [{"message": {"role": "assistant", "content": outer.answer(body)}}]}
                data = (json.dumps(answer) if outer.raw is None else outer.raw).encode()
                self.send_response(outer.status)
                if outer.location:
                    self.send_header("Location", outer.location)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


QUESTIONS = {
    "python": ["def add(a,", "return a +", "print(add(1,"],
    "lua": ["local x =", "for i = 1,", "print(i .."],
    "html": ["<p>Hello,", "<b>world</b>", "<img src="],
}
CHOICES = ["b):", "do", "</p>", "10"]

TASK = """task: toy_{label}
task_alias: {label}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {folder}/{label}.jsonl
test_split: test
fewshot_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: choices
doc_to_target: answer
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
  - metric: acc_norm
    aggregation: mean
    higher_is_better: true
metadata:
  version: 2.0
"""

GROUP = """group: toy_domains
task:
  - toy_python
  - toy_lua
  - group: markup
    group_alias: html
    task:
      - toy_html
    aggregate_metric_list:
      - metric: acc
        weight_by_size: true
aggregate_metric_list:
  - metric: acc
    weight_by_size: true
metadata:
  version: 1.0
"""

BROKEN = """task: toy_gone
dataset_path: json
dataset_kwargs:
  data_files:
    test: {folder}/gone.jsonl
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: choices
doc_to_target: answer
"""

UNSAFE = TASK.replace("task: toy_{label}", "task: toy_unsafe").replace(
    "metric_list:", "unsafe_code: true\nmetric_list:"
)


@pytest.fixture(scope="session")
def harness() -> None:
    """The harness, without which these tests have nothing to run."""
    pytest.importorskip("lm_eval", reason="the LM Evaluation Harness (extra eval) is not installed")


@pytest.fixture(scope="session")
def documents() -> dict[str, list[dict[str, Any]]]:
    """The documents of every task: eight questions of four choices each."""
    return {
        label: [
            {"question": f"{stems[n % 3]} {n}", "choices": CHOICES, "answer": (n + at) % len(CHOICES)} for n in range(8)
        ]
        for at, (label, stems) in enumerate(QUESTIONS.items())
    }


@pytest.fixture(scope="session")
def toy_tasks(tmp_path_factory: pytest.TempPathFactory, documents: dict[str, list[dict[str, Any]]]) -> Path:
    """A folder of three tasks, a group of them, one without its data, and one that would execute code."""
    folder = tmp_path_factory.mktemp("tasks")
    for label, rows in documents.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{label}.jsonl").write_text(lines, encoding="utf-8")
        (folder / f"toy_{label}.yaml").write_text(TASK.format(label=label, folder=folder), encoding="utf-8")
    (folder / "toy_domains.yaml").write_text(GROUP, encoding="utf-8")
    (folder / "toy_gone.yaml").write_text(BROKEN.format(folder=folder), encoding="utf-8")
    (folder / "toy_unsafe.yaml").write_text(UNSAFE.format(label="lua", folder=folder), encoding="utf-8")
    return folder
