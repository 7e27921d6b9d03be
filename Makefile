# For users: make demo, make test. `make help` lists all targets.
SHELL := /bin/sh
SWIFT ?= swift
PROGRAM := .build/release/mmprobe
MODEL := checkpoints/avdigits
DATA := $(MODEL)/data/test.qa.jsonl
RUN ?= runs/demo
# Tests are compiled with access to internals, which changes the flags of every file: a place of their own
# keeps the two builds from undoing each other.
TEST := ./.ci/test $(SWIFT) test -c release --scratch-path .build/test --disable-swift-testing

# `mmprobe --version` names it.
export MMPROBE_COMMIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null)

# A Python environment with the programs that read what mmprobe writes.
INTEROP := .build/interop

.PHONY: help demo study study-moka study-avdigits checkpoint test test-long interop build lint format clean packages

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

packages:
	@./.ci/install-packages

build: packages ## build mmprobe (.build/release/mmprobe)
	$(SWIFT) build -c release --product mmprobe

demo: build ## evaluate and probe the model that comes with mmprobe, make a report
	$(PROGRAM) inspect $(MODEL)
	@echo
	$(PROGRAM) eval $(MODEL) --data $(DATA)
	@echo
	$(PROGRAM) attention $(MODEL) --data $(DATA) --cluster-key image --exclude-sinks auto -o $(RUN) --overwrite
	@echo
	@echo "The report: $(RUN)/report.html"

study: build ## make Documentation/Studies anew with the model that comes with mmprobe
	mkdir -p runs
	Documentation/Studies/attention-vs-contribution.sh $(PROGRAM) $(MODEL) runs/study > runs/study.md
	mv runs/study.md Documentation/Studies/attention-vs-contribution.md

study-moka: build ## make the study of MokA and LoRA anew (trains for hours; JOBS=2 side by side)
	mkdir -p runs
	Documentation/Studies/moka-vs-lora.sh $(PROGRAM) $(MODEL) runs/study-moka > runs/study-moka.md
	mv runs/study-moka.md Documentation/Studies/moka-vs-lora.md

study-avdigits: build ## make the study of methods against imbalance anew (trains for hours; JOBS=2 side by side, SEEDS=1...3 MORE_SEEDS=1...2 for less)
	mkdir -p runs
	Documentation/Studies/avdigits.sh $(PROGRAM) runs/study-avdigits > runs/study-avdigits.md
	mv runs/study-avdigits.md Documentation/Studies/avdigits.md
	cp runs/study-avdigits/*.svg Documentation/Studies/

checkpoint: build ## train the model that comes with mmprobe again (about half an hour on 2 cores)
	$(PROGRAM) train $(MODEL)/train.json --seed 1 -o runs/avdigits --resume
	cp runs/avdigits/best/model.safetensors $(MODEL)/model.safetensors

test: packages ## build and run all tests
	$(TEST)

test-long: packages ## the long fuzz and kill runs too
	MMPROBE_FUZZ_CASES=200000 MMPROBE_LONG_TESTS=1 $(TEST)

$(INTEROP)/done: Benchmarks/interop-requirements.txt
	python3 -m venv $(INTEROP)
	$(INTEROP)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

interop: build $(INTEROP)/done ## check files with PEFT, TensorBoard, numpy and safetensors (several GB of Python)
	$(INTEROP)/bin/python Benchmarks/interop.py $(PROGRAM) $(MODEL)

# Where tests were built with warnings as errors (CI), there is nothing left to compile.
lint: packages ## check format, house rules and warnings
	./.ci/lint
ifneq ($(MMPROBE_STRICT),1)
	MMPROBE_STRICT=1 $(SWIFT) build -c release --scratch-path .build/strict
endif

format: ## format all Swift files
	$(SWIFT) format -i -r Package.swift Sources Tests

clean: ## delete everything that was built
	rm -rf .build
