# make demo   sets up .venv and runs iterative magnitude pruning on images that come with a dependency
# make test   sets up .venv and runs the linter and the tests; make test-all runs those that take long, too, and
#             make test-slow these alone
# make docs   builds the site into site/
# Needs Python 3.11 or newer and make, nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready

.PHONY: demo docs test test-all test-slow clean

demo: $(READY)
	$(RUN) -m tfprune.imp inputs/main.ini

test: CHOSEN := -m "not slow"
test test-all: $(READY)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m pytest -n logical $(CHOSEN)

test-slow: $(READY)
	$(RUN) -m pytest -m slow

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

clean:
	rm -rf $(VENV) site runs lottery_runs EffectiveSparsity FilterPruning

$(READY): setup.cfg constraints.txt
	@echo 'installing TensorFlow and its companions into $(VENV), once: two to three minutes with a fast network'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --disable-pip-version-check -c constraints.txt -e '.[all,docs,test]'
	$(RUN) -m pip install --disable-pip-version-check -c constraints.txt -q -e '.[hub]' \
		|| echo 'KerasHub cannot be had here: tests of its networks are skipped'
	touch $@
