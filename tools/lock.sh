#!/usr/bin/env bash
# Resolve requirements.lock (CPU) and requirements-cuda.lock (NVIDIA) from pyproject.toml, hashed, without index addresses.
# requirements-uv.lock is uv itself, for hosts without it.
# The CUDA lock takes every version that both need from the CPU lock, so that the two environments differ in TensorFlow alone.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PATH:$PWD/.venv/bin"  # make installs uv there if there is no other
compile() { uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate "$@"; }
compile - --output-file requirements-uv.lock <<< uv
compile pyproject.toml --extra cpu --extra notebooks --extra docs --extra test --output-file requirements.lock
sed -E 's/ \\$//' requirements.lock | grep -E '^[a-z0-9.-]+==' | grep -v '^tensorflow-cpu' > constraints.tmp
trap 'rm -f constraints.tmp' EXIT
compile pyproject.toml --extra cuda --extra notebooks --extra docs --extra test --constraints constraints.tmp --output-file requirements-cuda.lock
