#!/usr/bin/env bash
# Installs what the notebooks need beside this script, at the versions of requirements.txt. Does nothing when it is there.
set -euo pipefail
cd "$(dirname "$0")"

stamp=.venv/installed
if ! cmp -s requirements.txt "$stamp"; then
    rm -rf .venv
    python3 -m venv .venv
    .venv/bin/pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: -r requirements.txt
    cp requirements.txt "$stamp"
fi
