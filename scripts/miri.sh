#!/usr/bin/env bash
# Runs the signature's code, which holds the gateway's only unsafe calls, under Miri.
# Miri comes with nightly toolchains alone. Without one this is skipped, loudly:
#   rustup toolchain install nightly --profile minimal --component miri,rust-src
set -euo pipefail
cd "$(dirname "$0")/../tests/miri"
PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"

if ! rustup run nightly cargo miri --version >/dev/null 2>&1; then
    echo "SKIPPED miri: no nightly toolchain with it (rustup toolchain install nightly --profile minimal --component miri,rust-src)"
    if [ -n "${LIPSERVICE_REQUIRE_MIRI:-}" ]; then exit 1; fi
    exit 0
fi

# The tests there compare what is written with AVX2 to what is written without, so one run sees both.
if [ "$(uname -m)" = x86_64 ]; then
    export RUSTFLAGS="-C target-feature=+avx2,+bmi1,+bmi2,+lzcnt,+popcnt"
fi
rustup run nightly cargo miri test --quiet --target-dir ../../target/miri
echo "miri: no fault"
