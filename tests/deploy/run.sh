#!/usr/bin/env bash
# Checks the chart, the example manifests and the Dockerfile with the binary of the last build. Installs what it needs.
set -euo pipefail
cd "$(dirname "$0")"
stamp=.venv/installed
if ! cmp -s requirements.txt "$stamp"; then
    rm -rf .venv
    python3 -m venv .venv
    .venv/bin/pip install --quiet --disable-pip-version-check --no-deps -r requirements.txt
    cp requirements.txt "$stamp"
fi
exec .venv/bin/python check.py "${1:-../../target/debug/lipservice}"
