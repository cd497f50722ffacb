#!/usr/bin/env bash
# Everything that must hold, in the order in which it fails fastest. The last line counts the tests.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s (%d s so far)\n' "$1" "$SECONDS"; }

step "what the tests need"
scripts/setup.sh
# From here on a client or server that is not installed is a failure, not a skip.
export LIPSERVICE_REQUIRE_CLIENTS=1 LIPSERVICE_REQUIRE_SERVERS=1 LIPSERVICE_REQUIRE_FUZZ=1

step "format"
scripts/rust.sh cargo fmt --check

step "lint"
scripts/rust.sh cargo clippy --quiet --locked --all-targets -- -D warnings

step "tests"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
broken=
scripts/rust.sh cargo test --locked --no-fail-fast 2>&1 | tee "$log" || broken+=" tests"

step "deployment"
tests/deploy/run.sh || broken+=" deployment"

step "miri"
scripts/miri.sh 2>&1 | tee -a "$log" || broken+=" miri"

step "fuzz"
scripts/rust.sh fuzz/run.sh "${FUZZ_SECONDS:-10}" || broken+=" fuzz"

step "done"
grep '^SKIPPED' "$log" || true
[ -z "$broken" ] || echo "FAILED:$broken"
awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 }
    END { printf "%d passed, %d failed, %d skipped\n", passed, failed, ignored; exit passed == 0 }' "$log"
[ -z "$broken" ]
