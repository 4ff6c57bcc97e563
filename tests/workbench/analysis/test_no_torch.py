"""Reading stored results loads no torch, so that pages and reports open quickly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

READ_ALL = """
import json, sys
import workbench.analysis as analysis
from workbench import open_run
from workbench.errors import NotAnalysedError

run = open_run(sys.argv[1])
arguments = {"read_analysis": [0], "read_scores": [0], "read_map": [0], "read_divergence": [run], "read_writers": [0]}
loaded = {}
for name in analysis.__all__:
    if name.startswith("read_") and name != "read_prompt":  # which runs the model
        try:
            getattr(analysis, name)(run, *arguments.get(name, []))
        except NotAnalysedError:
            pass
        loaded[name] = [module for module in ("torch", "transformers", "monet_model") if module in sys.modules]
analysis.SCORES["monosemanticity"].definition
print(json.dumps(loaded))
"""


def test_every_read_function_of_the_analyses_loads_no_torch(run_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", READ_ALL, str(run_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    assert {"read_analysis", "read_analysis_summary", "read_mask", "read_curve", "read_structure"} <= set(loaded)
    assert {name: modules for name, modules in loaded.items() if modules} == {}
