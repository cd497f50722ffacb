#!/usr/bin/env bash
# Installs what the client tests need beside this script: the official OpenTelemetry SDKs for Python and Node, at the
# versions of requirements.txt and package-lock.json. Does nothing when they are there already.
set -euo pipefail
cd "$(dirname "$0")"

stamp=python/.venv/installed
if ! cmp -s python/requirements.txt "$stamp"; then
    rm -rf python/.venv
    python3 -m venv python/.venv
    python/.venv/bin/pip install --quiet --disable-pip-version-check --no-deps -r python/requirements.txt
    cp python/requirements.txt "$stamp"
fi

stamp=node/node_modules/.installed
if ! cmp -s node/package-lock.json "$stamp"; then
    # No package's own install script is needed, so none is run.
    npm ci --prefix node --ignore-scripts --no-fund --no-audit --loglevel=error
    cp node/package-lock.json "$stamp"
fi
