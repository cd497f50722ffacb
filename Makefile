# `make demo` to see it work, `make test` for everything that must hold. Both install what they need.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo test check miri fuzz bench release

FUZZ_SECONDS ?= 10

help: ## Say what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## Install what the tests need: Rust 1.95, a C++ compiler, the OpenTelemetry SDKs for Python and Node
	@scripts/setup.sh

demo: ## Start the gateway with a stand-in for PostHog, send it traffic, show what is saved (DEMO_SECONDS=30 ends by itself)
	@scripts/setup.sh rust
	@scripts/rust.sh cargo build --locked --bin lipservice --example demo
	@scripts/rust.sh cargo run --quiet --locked --example demo

test: ## Install, then run every check and test there is
	@scripts/test.sh

check: ## Format and lint
	@scripts/rust.sh cargo fmt --check
	@scripts/rust.sh cargo clippy --locked --all-targets -- -D warnings

miri: ## Run the signature's code, with its unsafe calls, under Miri (skipped without a nightly toolchain that has it)
	@scripts/miri.sh

fuzz: ## Fuzz each target for FUZZ_SECONDS (10)
	@scripts/rust.sh fuzz/run.sh $(FUZZ_SECONDS)

bench: ## Run the benchmarks (docs/benchmarks.md has results)
	@scripts/rust.sh cargo bench

release: ## Build the gateway as it is to be run, by a profile of real requests: target/optimized/lipservice
	@scripts/release.sh
