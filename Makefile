# make setup   .venv and the generated messages (also done by the other targets where needed)
# make demo    a simulated drive through the real node, scored: out/demo/report.json and report.png
# make test    all tests; ARGS="test/geometry -k pose" chooses
# make fuzz    10,000 malformed messages on every topic of the live node (make test sends 200)
# make faults drives with wrong set-ups through the bridge (15 minutes): out/faults/table.json;
#             ARGS="DRIVE --other DRIVE" takes drives in place of simulated ones
# make lint    ruff, and strict mypy
SHELL := /bin/bash
.DEFAULT_GOAL := demo
.PHONY: setup demo test fuzz faults lint

# DDS stays on this machine, with a domain of its own in every run.
export ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST
export ROS_DOMAIN_ID := $(shell echo $$(( $$$$ % 101 + 1 )))
export FASTRTPS_DEFAULT_PROFILES_FILE := $(CURDIR)/config/fastdds.xml
# Real recordings; the tests that need them are skipped where the folder is absent.
export G2S_TEST_DATA ?= $(CURDIR)/../shared/data

# The generated messages are on the path, and the source tree is before the installed copy of it.
IN_ENVIRONMENT := source install/setup.bash && export PATH="$(CURDIR)/.venv/bin:$$PATH" \
  PYTHONPATH="$(CURDIR):$$PYTHONPATH" &&

setup:
	@bash .ci/setup.sh

demo: setup
	@$(IN_ENVIRONMENT) python -m training.demo

test: setup
	@$(IN_ENVIRONMENT) python -m pytest $(ARGS)

fuzz: setup
	@$(IN_ENVIRONMENT) G2S_FUZZ_MESSAGES=10000 python -m pytest -s test/ros/test_fuzz.py

faults: setup
	@$(IN_ENVIRONMENT) python -m benchmarks.fault_campaign $(ARGS)

lint: setup
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
