"""Threads that need transformers at once, in a process that has not imported it yet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from pathlib import Path
from threading import Barrier, Thread

from workbench.checkpoint import load_model
from workbench.store.token_text import load_tokenizer

assert "transformers" not in sys.modules
folder, together, failed = Path(sys.argv[1]), Barrier(6), []


def work(load):
    together.wait()
    try:
        load(folder)
    except BaseException as error:
        failed.append(error)


threads = [Thread(target=work, args=(load,)) for load in (load_tokenizer, load_model) * 3]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failed, failed
"""


def test_threads_take_turns_to_import_transformers(bare_run_path: Path) -> None:
    model = bare_run_path.parent / "model"
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(model)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
