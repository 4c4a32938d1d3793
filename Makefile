# apogaia: `make all` simulates a survey and makes every figure, number and the catalogue; `make test` proves it.
# Both set up their own environment. `make help` lists the rest.

SURVEY  ?= mock
# Not from an exported VENV, which may be somebody's own environment: the command line or APOGAIA_VENV chooses another.
VENV    := $(or $(APOGAIA_VENV),.venv)
PYTHON  ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
NVIDIA  := $(wildcard /proc/driver/nvidia/version)
LOCK    ?= $(if $(NVIDIA),requirements-cuda.lock,requirements.lock)
# uv, or pip where uv is not available; INSTALLER=pip leaves uv out
INSTALLER ?= uv

# One word: the name of a survey, or the path of a .toml file. Folders are named after it, and `make clean` removes them.
ifneq ($(words $(SURVEY)),1)
$(error SURVEY="$(SURVEY)" is not one survey: give one name, or the path of one .toml file without blanks)
endif
# Any letters, but none of the characters that make or the shell would take for something else
SPECIAL := ' " ` $$ % * ? [ ] { } < > | & ; : \ ( ) = \#
ifneq ($(or $(findstring $$,$(value SURVEY)),$(strip $(foreach special,$(SPECIAL),$(findstring $(special),$(SURVEY))))),)
$(error SURVEY=$(value SURVEY): make takes some of these characters for something else: give a path without $(SPECIAL))
endif
NAME    := $(basename $(notdir $(SURVEY)))
ifeq ($(wildcard src/apogaia/surveys/$(NAME).toml)$(filter %.toml,$(SURVEY)),)
$(error SURVEY=$(SURVEY): there is no such survey; make help lists them, or give the path of a .toml file)
endif
ifneq ($(if $(NAME),,empty)$(filter .%,$(NAME))$(if $(filter %.toml,$(SURVEY)),,$(findstring /,$(SURVEY))),)
$(error SURVEY=$(SURVEY) names no survey, but a place: give a name, or the path of a .toml file)
endif
BIN     := $(VENV)/bin
READY   := $(VENV)/.complete
BUILD   := build/$(NAME)
DATA    := data/$(NAME)
RESULTS := results/$(NAME)
RAW     := $(DATA)/raw/manifest.json

export APOGAIA_ROOT := $(CURDIR)
export TF_CPP_MIN_LOG_LEVEL ?= 2
unexport PYTHONDONTWRITEBYTECODE  # where it is set, every notebook compiles TensorFlow's modules anew: 15 s each

# On an NVIDIA GPU training and MC dropout are compiled by JAX. Several GPUs at once: KERAS_BACKEND=tensorflow
# (MirroredStrategy). JAX takes memory as it needs it, not three quarters of the GPU at its start: a notebook open in
# `make lab`, or a second one under `make -j`, finds room beside the first.
ifneq ($(and $(NVIDIA),$(filter %-cuda.lock,$(LOCK))),)
export KERAS_BACKEND ?= jax
export XLA_PYTHON_CLIENT_PREALLOCATE ?= false
endif

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

.PHONY: FORCE help all catalogues notebooks smoke test data lab report site readme closure stress labels simulated-survey bench lint environment lock clean
.DEFAULT_GOAL := help

help:  ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo "  SURVEY=$(SURVEY) is chosen; others: $(patsubst src/apogaia/surveys/%.toml,%,$(wildcard src/apogaia/surveys/*.toml)), or a path to your own .toml"

# ---------------------------------------------------------------- environment

environment: $(READY)  ## Create the Python environment (.venv) from the lock file

$(READY): $(LOCK) requirements-uv.lock tools/environment.py pyproject.toml
	@test -n "$(PYTHON)" || { echo "apogaia needs Python 3.11 or 3.12: install it, or give make PYTHON=/path/to/python3.11"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || \
	  { echo "$(PYTHON) is $$("$(PYTHON)" -V 2>&1); apogaia needs 3.11 or 3.12: give make PYTHON=/path/to/python3.11"; exit 1; }
	@"$(PYTHON)" tools/environment.py $(VENV) $(LOCK) --installer $(INSTALLER)

lock:  ## Resolve the lock files again
	tools/lock.sh

# ---------------------------------------------------------------- the analysis

# Which package files and surveys each notebook rests on, read from their imports; make writes it anew when one changes.
SOURCES := $(wildcard $(addprefix src/apogaia/,*.py */*.py */*/*.py))
ifneq ($(filter-out help,$(or $(MAKECMDGOALS),help)),)
-include build/dependencies.mk
endif
build/dependencies.mk: tools/dependencies.py $(SOURCES) $(wildcard notebooks/*.ipynb src/apogaia/surveys/*.toml)
	@"$(PYTHON)" -c 'import tomllib' 2> /dev/null || exit 0; mkdir -p $(@D); \
	  "$(PYTHON)" tools/dependencies.py > $@.new && mv $@.new $@

SURVEY_FILES = $(or $(SURVEY_FILES_$(SURVEY)),$(wildcard $(SURVEY)))

# Options of `apogaia data`, for instance FETCH="--limit 100" or FETCH="--mirror /sas"
FETCH ?=

data: $(RAW)  ## The raw files of the survey: simulated, fetched, or links to your own folder

# Simulated raw files depend on the simulator. Of others `apogaia data` itself knows whether anything is left to do, at
# every make: it writes the manifest anew, and only then is the rest made again.
OWN_FILE = $(if $(wildcard $(SURVEY)),$(shell "$(PYTHON)" tools/dependencies.py $(SURVEY)))
KIND = $(or $(KIND_$(SURVEY)),$(firstword $(OWN_FILE)))
LABELS = $(or $(LABELS_$(SURVEY)),$(word 2,$(OWN_FILE)))
MODEL = $(or $(MODEL_$(SURVEY)),$(lastword $(OWN_FILE)))
$(RAW): $(SURVEY_FILES) $(if $(filter simulated,$(KIND)),$(SOURCES_simulate),FORCE) | $(READY)
	$(BIN)/apogaia data $(SURVEY) $(FETCH)
	@$(if $(filter simulated,$(KIND)),touch $@)

# Trainings run two at once, with half of the cores each: one that has two cores leaves half of them idle. One after the
# other where two would share the memory of a GPU, or of the machine, with a real survey's stars.
TRAININGS := $(if $(or $(NVIDIA),$(filter-out simulated,$(KIND))),1,2)
SHARING   := $(if $(filter 2,$(TRAININGS)),tools/half_of_the_cores.sh)

# notebook NAME, PRODUCTS, INPUTS, SHARING: execute, then check and touch the products, which are this rule's targets
# beside the notebook.
define notebook
$(BUILD)/$(1).ipynb $(2) &: notebooks/$(1).ipynb $(3) $$(SURVEY_FILES) $$(SOURCES_$(1)) tools/run_notebook.py | $$(READY)
	$(4) $$(BIN)/python tools/run_notebook.py $(1) --survey $(SURVEY) --products $(2)
endef

# network NAME, INPUTS, SOURCES: train a network of the survey, a file that the notebooks then find made
define network
$(DATA)/models/$(1).keras: $(2) $$(SURVEY_FILES) $$(SOURCES_$(3)) | $$(READY)
	$(SHARING) $$(BIN)/apogaia train $(SURVEY) --model $(1)
	@touch $$@
endef

STARS       := $(DATA)/stars.h5
MODELS      := $(foreach offset,none constant calibrated,$(DATA)/models/$(offset).keras)
# multivariate.keras, unless the stars have no BP-RP: not a product, so that make does not ask for it, but for this note
MULTIVARIATE := $(DATA)/models/.multivariate.trained
LABELLER    := $(DATA)/models/parameters.keras
REDUCTION   := $(RESULTS)/01_data_reduction.json
TRAINING    := $(RESULTS)/02_joint_training.json
OFFSET      := $(RESULTS)/03_offset_analysis.json
# Luminosities of all stars by the network of the catalogue
PREDICTION  := $(DATA)/predictions/$(MODEL).npz
INFERENCE   := $(RESULTS)/04_inference_catalogue.json
CATALOGUE   := $(DATA)/apogee_nn_dist.fits
JACOBIAN    := $(RESULTS)/05_jacobian.json
PARAMETERS  := $(RESULTS)/06_stellar_parameters.json
ABUNDANCES  := $(DATA)/apogee_nn_parameters.fits
MAPS        := $(RESULTS)/07_milky_way_maps.json
COMPARISONS := $(RESULTS)/09_comparisons.json

$(eval $(call notebook,01_data_reduction,$(STARS) $(REDUCTION),$(RAW)))
$(eval $(call network,parameters,$(STARS),labels))
$(eval $(call notebook,06_stellar_parameters,$(ABUNDANCES) $(PARAMETERS),$(STARS) $(LABELLER),$(SHARING)))
# Two networks use no labels. They are trained beside that of the labels and the calibrated one, which waits for the
# labels: `constant` after `none`, or it would take the place of `calibrated`.
LABELLED := $(STARS) $(if $(filter own,$(LABELS)),$(LABELLER))
$(eval $(call network,none,$(STARS),train))
$(eval $(call network,constant,$(STARS),train))
$(DATA)/models/constant.keras: | $(DATA)/models/none.keras
$(eval $(call network,calibrated,$(LABELLED),train))
# with "none", which is there: left out alone, the multivariate one would be a failure
$(MULTIVARIATE): $(LABELLED) $(DATA)/models/none.keras $(SURVEY_FILES) $(SOURCES_train) | $(READY)
	$(SHARING) $(BIN)/apogaia train $(SURVEY) --model none --model multivariate
	@touch $@
$(eval $(call notebook,02_joint_training,$(TRAINING),$(MODELS) $(MULTIVARIATE)))
$(eval $(call notebook,03_offset_analysis,$(OFFSET),$(STARS) $(MODELS) $(MULTIVARIATE)))
# Beside the training of a network that the catalogue does not use, and beside 03
$(PREDICTION): $(STARS) $(DATA)/models/$(MODEL).keras $(SURVEY_FILES) $(SOURCES_predict) | $(READY)
	$(BIN)/apogaia predict $(SURVEY)
	@touch $@
$(eval $(call notebook,04_inference_catalogue,$(CATALOGUE) $(INFERENCE),$(STARS) $(MODELS) $(OFFSET) $(PREDICTION)))
$(eval $(call notebook,05_jacobian,$(JACOBIAN),$(CATALOGUE)))
$(eval $(call notebook,07_milky_way_maps,$(MAPS),$(CATALOGUE)))
$(eval $(call notebook,09_comparisons,$(COMPARISONS),$(CATALOGUE)))

# Products are written atomically and vouched for by fingerprints: make must not delete them when a run is interrupted.
.PRECIOUS: $(RAW) $(STARS) $(LABELLER) $(MODELS) $(PREDICTION) $(CATALOGUE) $(REDUCTION) $(TRAINING) $(OFFSET) \
  $(INFERENCE) $(JACOBIAN) $(PARAMETERS) $(ABUNDANCES) $(MAPS) $(COMPARISONS)

# 08 draws trials that take hours and belong to no survey: it has a target of its own, `closure`.
NOTEBOOKS := $(filter-out 08_closure,$(patsubst notebooks/%.ipynb,%,$(sort $(wildcard notebooks/[0-9]*.ipynb))))

# As many things at once as -j says, else as trainings may be, and two of the notebooks that rest on the catalogues alone
all:  ## Every figure, number and the catalogue of SURVEY (default: mock)
	@$(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,--jobs $(TRAININGS)) catalogues
	@$(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,--jobs 2) notebooks

# Of what can start, make starts the first here: the catalogue may wait for the labels, and nothing waits for 02 and 06.
catalogues: $(if $(filter own,$(LABELS)),$(LABELLER)) $(CATALOGUE) $(ABUNDANCES) $(TRAINING)

notebooks: $(NOTEBOOKS:%=$(BUILD)/%.ipynb)
	@echo "Figures: figures/$(NAME)   numbers: $(RESULTS)   catalogue: $(CATALOGUE)   notebooks: $(BUILD)"
	@$(if $(filter smoke%,$(NAME)),echo "$(NAME) shows that everything runs; with so few stars its numbers mean nothing. Run make all for numbers that do.")

smoke:  ## The same for the smallest survey, in some five minutes
	@$(MAKE) --no-print-directory --jobs 2 all SURVEY=smoke

# Options of JupyterLab, for instance LAB="--no-browser --port 9999"
LAB ?=

lab: $(READY)  ## Open copies of the notebooks (build/lab) in JupyterLab: saving them changes no file of the repository
	$(BIN)/python tools/lab_copies.py build/lab
	$(BIN)/jupyter lab --notebook-dir build/lab $(LAB)

report: all  ## The executed notebooks as web pages, and the ledger of SURVEY, in build/
	$(BIN)/jupyter nbconvert --log-level WARN --to html --template report_template \
	  --TemplateExporter.extra_template_basedirs=tools --output-dir $(BUILD)/report $(NOTEBOOKS:%=$(BUILD)/%.ipynb)
	$(BIN)/python tools/ledger.py $(SURVEY)

site: $(READY)  ## The site, with the notebooks, figures and numbers of SURVEY, in build/site; runs no analysis
	@echo "Building the site, a minute or two"
	@$(BIN)/python tools/build_site.py $(SURVEY)

readme: all  ## For maintainers: README's tables, docs/ledger.md and docs/truth.png from the results of SURVEY
	$(BIN)/python tools/ledger.py $(SURVEY) --docs

stress: $(READY)  ## How well does the refit do where its assumptions fail? Two hours; resumes; writes docs/closure/stress.json
	$(BIN)/python -m apogaia.closure.stress || [ $$? -eq 3 ]  # 3: runs beyond their limits, which the report tells
	$(BIN)/python -m apogaia.closure.stress --report
	$(BIN)/python tools/write_closure_page.py

labels: $(READY)  ## How well are stellar parameters recovered at the paper's size? An hour; resumes; writes docs/labels.md
	$(BIN)/python -m apogaia.closure.labels
	$(BIN)/python -m apogaia.closure.labels --report
	$(BIN)/python tools/write_labels_page.py

closure: $(READY)  ## Is an injected zero point recovered? Hours; an interrupted run resumes; writes docs/closure/
	$(BIN)/python -m apogaia.closure
	$(BIN)/python tools/run_notebook.py 08_closure --survey mock-dr14 --products results/mock-dr14/08_closure.json
	$(BIN)/python -m apogaia.closure --report

simulated-survey: $(READY)  ## What the simulated survey contains: docs/simulated_survey.md, its pictures and numbers
	$(BIN)/python tools/describe_simulation.py

bench: $(READY)  ## Measure speed (benchmarks/), write docs/performance.md
	$(BIN)/python -m benchmarks

# ---------------------------------------------------------------- checks

# Processes of pytest: each test file, and each notebook, runs in one of them, so that its fixtures are made once. Each
# imports Keras (1 GB), so more than the cores can use cost memory and save nothing.
WORKERS ?= 2

test: $(READY) lint smoke  ## Style, unit tests, the smoke survey end to end, and nbval over all notebooks
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder --nbval-lax --nbval-cell-timeout=600 tests notebooks

lint: $(READY)  ## Style, types, and which part of the package may import which
	$(BIN)/ruff check src tests tools benchmarks notebooks docs
	$(BIN)/ruff format --check src tests tools benchmarks notebooks docs
	$(BIN)/mypy
	$(BIN)/lint-imports

PRODUCTS = $(BUILD) $(RESULTS) figures/$(NAME) $(DATA)/models $(DATA)/predictions $(DATA)/stars.* $(DATA)/labelled_stars.h5 \
  $(CATALOGUE) $(ABUNDANCES)
SIMULATED = $(DATA)/raw $(DATA)/truth.fits
SURE ?=

clean:  ## List and remove all products of SURVEY, but no fetched raw files; of a real survey with SURE=yes
	@test -n "$(NAME)" || { echo "make clean needs SURVEY=name"; exit 1; }
	@echo "Products of $(NAME):"; du -sch $(wildcard $(PRODUCTS) $(if $(filter simulated,$(KIND)),$(SIMULATED))) 2>/dev/null || true
	@test "$(KIND)" = simulated -o "$(SURE)" = yes || \
	  { echo "Remaking them takes days: make clean SURVEY=$(SURVEY) SURE=yes removes them"; exit 1; }
	rm -rf $(PRODUCTS) $(DATA)/.*.fingerprint
	@grep -q '"seed"' $(RAW) 2>/dev/null && rm -rf $(SIMULATED) || true
