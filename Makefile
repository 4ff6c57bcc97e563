PY = .venv/bin/python
PIP = .venv/bin/pip install -q --disable-pip-version-check -c constraints.txt
MONET = .venv/bin/monet
DEMO = monet_model/demo
PORT = 8050

.PHONY: app test check format docs bench notebooks clean gpu-check

app: runs/demo/analysis/mask.json
	@$(PY) app.py runs/demo --port $(PORT)

# Tests, and the examples in docstrings, with the lines of our own code that they run.
test: .venv/test-ready
	HF_HUB_OFFLINE=1 $(PY) -m pytest -q --cov --cov-report=term

# What CI runs before the tests: linter, formatter, types, and which package may import which.
check: .venv/test-ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format: .venv/test-ready
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

# The pages of docs/ and the reference of the public interface, in build/docs.
docs: .venv/ready
	$(PIP) --no-build-isolation -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

# Timings of docs/performance.md; each takes minutes.
bench: .venv/test-ready
	$(PY) -m cuda_ext.bench
	$(PY) -m monet_model.bench
	$(PY) -m workbench.bench.attribution
	$(PY) -m workbench.bench.export

notebooks: .venv/test-ready runs/demo/analysis/mask.json
	.venv/bin/jupyter execute --inplace notebooks/*.ipynb

# Everything that can be made again, except .venv.
clean:
	rm -rf build runs/demo .pytest_cache .ruff_cache .mypy_cache .hypothesis .grimp_cache .import_linter_cache

# On a machine with an NVIDIA GPU and the CUDA toolkit.
gpu-check: .venv/test-ready
	$(PY) setup.py build_ext --inplace
	$(PY) -m pytest -q tests/cuda_ext
	compute-sanitizer --error-exitcode 1 $(PY) -m pytest -q tests/cuda_ext/test_gpu.py
	$(PY) -m cuda_ext.bench --device cuda

# A run that was interrupted goes on; one that is finished but older than the demo model is made anew.
runs/demo/analysis/mask.json: $(DEMO)/model.safetensors $(DEMO)/heldout.parquet | .venv/ready
	@if [ -e $@ ]; then rm -r runs/demo; fi
	$(MONET) export $(DEMO) $(DEMO)/heldout.parquet runs/demo --resume
	$(MONET) analyze runs/demo
	$(MONET) mask runs/demo

SOURCES = pyproject.toml setup.cfg setup.py constraints.txt $(wildcard cuda_ext/csrc/*.h cuda_ext/csrc/*/*)

define install
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	python3 -m venv .venv
	$(PIP) setuptools wheel ninja torch
	$(PIP) --no-build-isolation -e '$(1)'
endef

.venv/ready: $(SOURCES)
	$(call install,.)
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
