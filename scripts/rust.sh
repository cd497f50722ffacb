#!/usr/bin/env bash
# Runs a command with the pinned Rust. Where rustup cannot fetch that toolchain (no network) but another installed one is
# of the same version, uses that.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
pinned=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
if command -v rustup >/dev/null && [ -z "${RUSTUP_TOOLCHAIN:-}" ] && ! rustup run "$pinned" rustc --version >/dev/null 2>&1; then
    for toolchain in $(rustup toolchain list | cut -d' ' -f1); do
        if rustup run "$toolchain" rustc --version 2>/dev/null | grep -qF "rustc $pinned "; then
            export RUSTUP_TOOLCHAIN=$toolchain
            break
        fi
    done
fi
exec "$@"
