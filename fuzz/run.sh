#!/usr/bin/env bash
# Runs every fuzz target for a number of seconds (first argument, default 10), each from its seeds and what earlier runs
# found. FUZZ_PROFILE=release for a long hunt.
#
# Needs no nightly toolchain: the coverage counters are an LLVM pass that stable rustc can switch on (rustc.sh), and the
# gateway has no unsafe code of its own that an address sanitizer could accuse (one call, without pointers; scripts/miri.sh runs
# it under Miri). Where one is wanted, cargo-fuzz reads the same directory: cargo +nightly fuzz run json.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-10}
profile=${FUZZ_PROFILE:-dev}
targets=$(sed -n 's/^name = "\([a-z]*\)"$/\1/p' Cargo.toml)

if ! command -v c++ >/dev/null; then
    echo "fuzz: SKIPPED: no C++ compiler for libFuzzer (Debian: apt-get install g++)" >&2
    if [ -n "${LIPSERVICE_REQUIRE_FUZZ:-}" ]; then exit 1; fi
    exit 0
fi

# The versions of the gateway, and its target directory: only what is instrumented is compiled again.
cp ../Cargo.lock Cargo.lock
RUSTC_WRAPPER=$PWD/rustc.sh cargo build --quiet --profile "$profile" --bins --target-dir ../target
directory=../target/$([ "$profile" = dev ] && echo debug || echo "$profile")

for target in $targets; do
    mkdir -p "corpus/$target" "artifacts/$target" "seeds/$target"
    log=$(mktemp)
    if ! "$directory/$target" "corpus/$target" "seeds/$target" -artifact_prefix="artifacts/$target/" -print_final_stats=1 \
        -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=1024 >"$log" 2>&1; then
        tail -40 "$log"
        echo "fuzz: $target FAILED; the input is in fuzz/artifacts/$target" >&2
        exit 1
    fi
    echo "fuzz: $target: no fault in $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs, $seconds s"
    rm -f "$log"
done
