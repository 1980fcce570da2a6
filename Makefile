# Each target sets up what it needs in .venv by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SITE := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

.PHONY: browser demo docs hostile test test-long test-models test-trl test-verl test-vllm wheel-check clean

demo: $(VENV)/demo-installed
	$(BIN)/vantage demo

test: $(VENV)/dev-installed browser
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(SITE)
	$(BIN)/python -m pytest

# The documentation, in build/site. A broken link fails it.
docs: $(VENV)/docs-installed
	$(SITE)

# Sweeps that repeat in other ways what `test` tries.
test-long: $(VENV)/dev-installed
	$(BIN)/python -m pytest -m slow tests/end_to_end tests/training tests/hostile

# What becomes of every hostile input, in one table.
hostile: $(VENV)/dev-installed
	$(BIN)/python tests/hostile/summary.py

# sdist and wheel in dist/, and the wheel in an environment that has nothing else. Commands run in
# build/bare, or Python would import a package of the working directory.
wheel-check:
	rm -rf dist build/wheel build/bare
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt build
	build/wheel/bin/python -m build --outdir dist .
	$(PYTHON) -m venv build/bare
	build/bare/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl
	cd build/bare && bin/python -c 'import vantage; print("vantage", vantage.__version__)'
	cd build/bare && bin/vantage --help
	cd build/bare && bin/vantage recipes

# The tests look at the report in Chromium: the system's own, or else one of Playwright's.
browser: $(VENV)/dev-installed
	@command -v chromium || command -v chromium-browser || command -v google-chrome \
	|| (apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium) \
	|| $(BIN)/playwright install --with-deps chromium

# Every family of models with its stock processor, and the table in docs/models.md made of what
# was seen. Some processors need torchvision, and all behave otherwise where it is, so this is
# an environment of its own. torchvision comes without what it wants: a build for CUDA.
test-models: .venv-models/installed
	.venv-models/bin/python -m pytest tests/models

# TRL's own GRPO tests, of a checkout of TRL in TRL=PATH, with VantageTrainer in the place of
# GRPOTrainer. They run side by side with TRL's trainer; logs and outcomes are in build/trl.
test-trl: .venv-models/installed
	@test -n "$(TRL)" || { echo "make test-trl TRL=PATH: PATH is a checkout of TRL"; exit 2; }
	.venv-models/bin/python tests/trl_own/run.py $(TRL) build/trl

.venv-models/installed: pyproject.toml constraints.txt
	test -x .venv-models/bin/python || $(PYTHON) -m venv .venv-models
	.venv-models/bin/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -e '.[models-test]'
	.venv-models/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		torchvision==0.28.0
	touch $@

# veRL needs other versions than TRL, so it has an environment of its own. torch comes first:
# alone it is the build for a CPU. torchvision comes without what it wants: a build for CUDA.
test-verl: .venv-verl/installed
	.venv-verl/bin/python -m pytest tests/verl

.venv-verl/installed: pyproject.toml constraints-verl.txt
	test -x .venv-verl/bin/python || $(PYTHON) -m venv .venv-verl
	.venv-verl/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	.venv-verl/bin/python -m pip install --quiet --disable-pip-version-check \
		-c constraints-verl.txt -e '.[verl-test]'
	.venv-verl/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		torchvision==0.28.0
	touch $@

# Real vLLM beside the trainer, on a CPU. It needs other versions than the rest, so it has an
# environment of its own. torch comes first: alone it is the build for a CPU. torchaudio and
# torchcodec are builds for CUDA that fail here.
test-vllm: .venv-vllm/installed
	.venv-vllm/bin/python -m pytest tests/with_vllm

.venv-vllm/installed: pyproject.toml constraints-vllm.txt
	test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check \
		-c constraints-vllm.txt -e '.[vllm-test]'
	.venv-vllm/bin/python -m pip uninstall --quiet --yes torchaudio torchcodec
	touch $@

$(VENV)/%-installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	touch $@

clean:
	rm -rf $(VENV) .venv-models .venv-verl .venv-vllm build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
