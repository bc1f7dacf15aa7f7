# make up      fetches what is missing, builds, and runs everything on this machine
# make test    fetches what is missing, builds, and runs every test
# The rest: setup, build, demo, bench, lint, prepare, clean.

# Arguments for up, demo and bench: make up ARGS="--listen 127.0.0.1:0 --data-dir /tmp/t1"
ARGS ?=

# Queries are checked against .sqlx/, whatever DATABASE_URL says: it names where to run, not what to build
# against.
export SQLX_OFFLINE := true
export TURNLOG_TOOLS ?= $(CURDIR)/.tools

.PHONY: up demo test lint bench setup build prepare clean

up: build
	@exec cargo run --quiet --release --locked -- up $(ARGS)

demo: build
	@cargo run --quiet --release --locked -- demo $(ARGS)

setup:
	@scripts/setup.sh

build: setup
	cargo build --release --locked

test:
	@scripts/setup.sh tests
	cargo build --locked
	@scripts/test.sh

lint: setup
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	scripts/sqlx.sh check

# Writes .sqlx/ anew, after a query or a migration has changed.
prepare: setup
	scripts/sqlx.sh prepare

bench: build
	cargo run --quiet --release --locked --package turnlog-bench -- $(ARGS)

# What was built. The tools (.tools/) and the data (.turnlog/) stay.
clean:
	cargo clean
