# labkit's commands. `make help` lists them; scripts/setup.py and scripts/test.py do the work.

PYTHON3 ?= python3
PORT    ?= 8888
STAGES  ?=
python  := .venv/bin/python

# Tests have an instance of their own: a running `make lab` keeps its base image and its processes.
test test-vm: export LABKIT_ROOT := $(or $(LABKIT_ROOT),/var/lib/labkit-test)
test test-vm: export LABKIT_RUN  := $(or $(LABKIT_RUN),/run/labkit-test)

.PHONY: help lab setup test test-vm batch clean
.DEFAULT_GOAL := help

help:     ## show this list
	@echo "usage: sudo make TARGET"
	@sed -n 's/^\([a-z-]*\): *##/  \1\t/p' $(MAKEFILE_LIST)

lab:      ## install what is missing, start JupyterLab on 127.0.0.1 (PORT=8888), print its URL
	@$(PYTHON3) scripts/setup.py --goal lab
	@$(python) -m labkit.lab.jupyter --port $(PORT)

test:     ## install what is missing, run every test (STAGES="unit kernel" runs some)
	@$(PYTHON3) scripts/setup.py --goal test --tests
	@$(python) scripts/test.py $(STAGES)

test-vm:  ## run the cgroup v2 tests in a virtual machine
	@$(PYTHON3) scripts/setup.py --goal test-vm --tests
	@$(python) -m tests.vm

batch:    ## run all solved notebooks with papermill, write a report to build/batch
	@$(PYTHON3) scripts/setup.py --goal batch
	@$(python) -m labkit.main batch

setup:    ## only install what is missing
	@$(PYTHON3) scripts/setup.py --goal setup

clean:    ## remove what setup and the tests made inside this folder
	rm -rf build .venv .tools .mypy_cache .ruff_cache .pytest_cache
