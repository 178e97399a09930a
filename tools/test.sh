#!/usr/bin/env bash
# Installs what the tests need and runs them. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash tools/setup.sh dev
# Workers of one thread each, one more than there are cores: a worker waits a quarter of its time for processes
# that its tests start. `-n 0` runs the tests one after another. At the end: what was skipped, and why.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
workers="$(.venv/bin/python -c 'import os; print((os.cpu_count() or 1) + 1)')"
exec .venv/bin/python -m pytest -n "$workers" --dist loadfile --no-loadscope-reorder -rs "$@"
