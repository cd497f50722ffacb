#!/usr/bin/env bash
# Builds the gateway as it is to be run, into target/optimized/lipservice: laid out and inlined by a profile of real requests.
#
# 1. a build that counts what runs; 2. `examples/measure` sends it requests of all kinds over loopback; 3. a build by those
# counts. Takes two release builds. The tool that reads the counts is a part of rustup's toolchain (llvm-tools); where it cannot
# be had, this says so and builds without a profile.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh rust
rust() { scripts/rust.sh "$@"; }

built=target/optimized
mkdir -p "$built"
host=$(rust rustc -vV | sed -n 's/^host: //p')
tools=$(rust rustc --print sysroot)/lib/rustlib/$host/bin
[ -x "$tools/llvm-profdata" ] || rust rustup component add llvm-tools >/dev/null 2>&1 || true
if [ ! -x "$tools/llvm-profdata" ]; then
    echo "WITHOUT A PROFILE: rustup has no llvm-tools for this toolchain (is there a network?); the gateway is slower than it could be" >&2
    rust cargo build --release --locked --bin lipservice
    cp target/release/lipservice "$built/lipservice"
    exit
fi

counts=$PWD/target/profile
rm -rf "$counts"
# For one target by name: what runs during the build itself is then not counted. Counting comes before linking, so this build
# saves itself the long optimisation there.
CARGO_PROFILE_RELEASE_LTO=off CARGO_TARGET_DIR=target/counted RUSTFLAGS="${RUSTFLAGS:-} -Cprofile-generate=$counts" \
    rust cargo build --release --locked --target "$host" --bin lipservice --example measure
echo "Training: requests over loopback, about a minute" >&2
"target/counted/$host/release/examples/measure" --records "${TRAINING_RECORDS:-400000}" --steady-seconds 3 >"$built/training.txt"
"$tools/llvm-profdata" merge -o "$built/gateway.profdata" "$counts"
# Warnings about functions that no request has reached are of no use.
CARGO_TARGET_DIR=target/profiled RUSTFLAGS="${RUSTFLAGS:-} -Cprofile-use=$PWD/$built/gateway.profdata -Cllvm-args=-pgo-warn-missing-function=0" \
    rust cargo build --release --locked --target "$host" --bin lipservice
cp "target/profiled/$host/release/lipservice" "$built/lipservice"
echo "$built/lipservice: $("$built/lipservice" --version), by a profile of $(grep -c '^| [gH]' "$built/training.txt") kinds of traffic"
