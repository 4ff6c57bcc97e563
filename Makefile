PY = .venv/bin/python

.venv/ready: setup.cfg setup.py constraints.txt
	python3 -m venv .venv
	.venv/bin/pip install -q -c constraints.txt setuptools wheel ninja torch
	.venv/bin/pip install -q --no-build-isolation -c constraints.txt -e '.[test]'
	touch $@

.PHONY: test
test: .venv/ready
	HF_HUB_OFFLINE=1 $(PY) -m pytest -q
