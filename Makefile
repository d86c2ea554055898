# A fresh machine needs Python 3.11 with pip, and make. Everything else is installed
# from PyPI into this folder: uv into .uv/, the project and its tools into .venv/, pinned by
# requirements.lock.

PYTHON ?= python3
UV := .uv/bin/uv
RUN := .venv/bin

.PHONY: help demo bed bed-down test check format lock bench clean

help:
	@echo "make demo    build, deploy, redeploy under load and roll back a sample project here"
	@echo "make bed     boot three Debian hosts on this machine to try things on (root); make bed-down"
	@echo "make test    run all tests"
	@echo "make check   formatting, lint and types"
	@echo "make bench   measure, see bench/"

.venv/ready: pyproject.toml requirements.lock
	@test -x $(UV) || $(PYTHON) -m pip install --quiet --disable-pip-version-check --target .uv 'uv>=0.13.8,<0.14'
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	@$(UV) pip sync --quiet --python .venv/bin/python --require-hashes requirements.lock
	@$(UV) pip install --quiet --python .venv/bin/python --no-deps --editable .
	@touch $@

lock:
	@$(UV) pip compile --quiet --universal --generate-hashes --python-version 3.11 --group dev \
	    --no-header --output-file requirements.lock pyproject.toml

# What it builds is kept in this folder as well, so that a second demo starts faster.
demo: .venv/ready
	@XDG_CACHE_HOME=$(CURDIR)/.uv/cache $(RUN)/nonevent demo $(ARGS)

bed: .venv/ready
	@cd tests && ../$(RUN)/python -m bed $(or $(ARGS),up)

bed-down: .venv/ready
	@cd tests && ../$(RUN)/python -m bed down

test: .venv/ready
	@# All tests of a file go to one worker: they share hosts and projects.
	@$(RUN)/python -m pytest -n 2 --dist loadfile $(ARGS)

check: .venv/ready
	@$(RUN)/ruff format --check src tests bench
	@$(RUN)/ruff check src tests bench
	@$(RUN)/mypy

format: .venv/ready
	@$(RUN)/ruff format src tests bench
	@$(RUN)/ruff check --fix src tests bench

bench: .venv/ready
	@$(RUN)/python bench/run.py $(ARGS)

clean:
	rm -rf .venv .uv .mypy_cache .ruff_cache .pytest_cache .hypothesis
