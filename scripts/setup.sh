#!/usr/bin/env bash
# Installs what is missing on a fresh Debian machine. `setup.sh rust` stops after what a build needs.
set -euo pipefail
cd "$(dirname "$0")/.."

# apt_install COMMAND PACKAGE...: installs the packages unless the command is there.
apt_install() {
    local command=$1
    shift
    if command -v "$command" >/dev/null; then return; fi
    if ! command -v apt-get >/dev/null; then
        echo "setup: $command is missing; install it (Debian: $*)" >&2
        exit 1
    fi
    local as_root=
    [ "$(id -u)" = 0 ] || as_root=sudo
    echo "setup: installing $*"
    $as_root apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

apt_install cc gcc libc6-dev
if ! command -v cargo >/dev/null && [ ! -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
    apt_install curl curl ca-certificates
    curl --proto '=https' -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --default-toolchain none
fi
scripts/rust.sh cargo --version
[ "${1:-}" != rust ] || exit 0

apt_install c++ g++
apt_install python3 python3 python3-venv
python3 -c 'import ensurepip' 2>/dev/null || apt_install no-python-venv python3-venv
apt_install npm nodejs npm
# The servers that tests of the control plane start themselves. Debian keeps PostgreSQL's programs out of PATH.
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || apt_install postgres postgresql
# Only the server's program: the service that the package would start is not needed.
apt_install redis-server redis-server
tests/clients/install.sh
# pandas, matplotlib and a Jupyter kernel, for the notebooks.
examples/notebooks/install.sh || echo "SKIPPED: no packages for the notebooks" >&2
# A small language model for one test, which skips loudly without it.
tests/llm/model/install.sh || echo "SKIPPED: no small language model" >&2
