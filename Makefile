# Each target sets up the environment that it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SITE := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
# Test files run in JOBS processes with one thread each.
JOBS ?= 2
PYTEST := -m pytest -n $(JOBS) --dist loadfile
export OMP_NUM_THREADS ?= 1

.PHONY: browser demo docs hostile test test-long test-models test-trl test-verl test-vllm wheel-check clean

demo: $(VENV)/demo-installed
	$(BIN)/vantage demo

test: $(VENV)/dev-installed browser
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(SITE)
	$(BIN)/python $(PYTEST)

# Build the documentation in build/site. A broken link fails the build.
docs: $(VENV)/docs-installed
	$(SITE)

# Long-running variants of the checks in `test` and `test-verl`.
test-long: $(VENV)/dev-installed .venv-verl/installed
	$(BIN)/python $(PYTEST) -m slow tests/end_to_end tests/training tests/hostile
	.venv-verl/bin/python $(PYTEST) -m slow tests/verl

# Run every command on hostile inputs and print the results as one table.
hostile: $(VENV)/dev-installed
	$(BIN)/python tests/hostile/summary.py

# Build sdist and wheel in dist/, and try the wheel in an otherwise empty environment. Commands run
# in build/bare, because Python would otherwise import packages from the working directory.
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

# The tests open the report in Chromium: the system's own, or else that of Playwright.
browser: $(VENV)/dev-installed
	@command -v chromium || command -v chromium-browser || command -v google-chrome \
	|| (apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium) \
	|| $(BIN)/playwright install --with-deps chromium

# Test every model family with its stock processor, and write the table in docs/models.md. Some
# processors need torchvision, and all behave differently when it is installed, so this needs a
# separate environment. torchvision is installed without dependencies, which would be CUDA builds.
# The table needs all results in one process.
test-models: .venv-models/installed
	.venv-models/bin/python -m pytest tests/models

# Run TRL's own GRPO tests, from a checkout of TRL in TRL=PATH, with VantageTrainer in place of
# GRPOTrainer, and also with TRL's trainer. Logs and outcomes are in build/trl.
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

# veRL needs other versions than TRL, so it has a separate environment. torch is installed first,
# alone, to get the CPU build. torchvision is installed without dependencies, which would be CUDA
# builds.
test-verl: .venv-verl/installed
	.venv-verl/bin/python $(PYTEST) tests/verl

.venv-verl/installed: pyproject.toml constraints-verl.txt
	test -x .venv-verl/bin/python || $(PYTHON) -m venv .venv-verl
	.venv-verl/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	.venv-verl/bin/python -m pip install --quiet --disable-pip-version-check \
		-c constraints-verl.txt -e '.[verl-test]'
	.venv-verl/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		torchvision==0.28.0
	touch $@

# Test with real vLLM next to the trainer, on a CPU. vLLM needs other versions, so it has a separate
# environment. torch is installed first, alone, to get the CPU build. torchaudio and torchcodec are
# CUDA builds, which fail on a CPU.
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
