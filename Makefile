# Every target makes its own environment in .venv first: `make serve` and `make test` need nothing but Python 3.11+.
PYTHON ?= python3
BIN := $(if $(filter Windows_NT,$(OS)),.venv/Scripts,.venv/bin)
READY := .venv/ready
TESTABLE := .venv/testable
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
MODEL := $(BIN)/python -m llmbook.pretrained
export NO_MKDOCS_2_WARNING := 1

.PHONY: serve site epub test light check bench mutants links reproduce clean
serve: | address $(READY)  ## read the book at the printed address; chapters run again when they change
	$(MODEL) && $(BIN)/mkdocs serve
site: | $(READY)  ## build the book into site/; any warning is an error
	$(MODEL) && $(BIN)/mkdocs build --strict
epub: site  ## the whole book as site/llmbook.epub
	$(INSTALL) -e ".[docs,epub]"
	$(BIN)/python -m llmbook.weave.epub site site/llmbook.epub
test light: export OMP_NUM_THREADS := 1
test: | $(TESTABLE)  ## all tests, first with the shapes of every array checked, then those of error messages
	$(MODEL)
	$(BIN)/pytest -n 2 --dist loadfile -m "not plain" --jaxtyping-packages=llmbook,beartype.beartype
	$(BIN)/pytest -m plain
light: | $(TESTABLE)  ## the tests that need no real model
	$(BIN)/pytest -n 2 --dist loadfile -m "not plain and not model" --jaxtyping-packages=llmbook,beartype.beartype
	$(BIN)/pytest -m "plain and not model"
check: | $(TESTABLE)  ## format, lint and types
	$(BIN)/ruff format --check && $(BIN)/ruff check && $(BIN)/mypy
bench: | $(TESTABLE)  ## speed, as ratios measured side by side
	$(INSTALL) -e ".[bench]"
	$(BIN)/pytest tests/benchmarks --benchmark-enable --benchmark-only
mutants: | $(TESTABLE)  ## put classical mistakes into the code, and show which test catches each
	$(BIN)/python -m tests.mutants
links: site | $(TESTABLE)  ## record what the site links to elsewhere; `python -m tests.links visit` visits it, as does a weekly job
	$(BIN)/python -m tests.links record site
reproduce: | $(READY)  ## execute the book afresh, and say which numbers moved from the published ones (or from PUBLISHED=site)
	$(MODEL) && $(BIN)/python -m llmbook.weave.reproduce $(PUBLISHED)
clean:  ## forget results and the built site; the environment stays
	rm -rf .cache site .pytest_cache .mypy_cache .ruff_cache

.PHONY: address
address:
	@echo "The book will be at http://127.0.0.1:8000/ as soon as it is built."
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) -e ".[docs]"
	@echo ready > $(READY)
$(TESTABLE): $(READY)
	$(INSTALL) -e ".[docs,test]"
	@echo ready > $(TESTABLE)
