#!/usr/bin/env bash
# Runs every test and ends with one line for all of them: cargo sums up each crate by itself.
set -uo pipefail
cd "$(dirname "$0")/.."

cargo test --locked --workspace --lib --bins --tests --no-fail-fast 2>&1 | awk '
    { print; fflush() }
    /^test result:/ { passed += $4; failed += $6 }
    END { printf "\n%d passed, %d failed\n", passed, failed }'
exit "${PIPESTATUS[0]}"
