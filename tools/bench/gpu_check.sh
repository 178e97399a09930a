#!/usr/bin/env bash
# What a GPU machine can do, told in at most eight minutes and one JSON file:
#
#   bash tools/bench/gpu_check.sh --output gpu.json [--golden FOLDER] [--minutes 8] [--tiny]
#
# --golden: a folder of folders with published vectors. --tiny: the same checks at toy size on the CPU.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=/dev/null
source "$here/tools/shell.sh"
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
python=$(find_python "$here")
if ! "$python" -c 'from importlib.util import find_spec; raise SystemExit(find_spec("torch") is None)'; then
    echo "error: $python cannot import torch: run tools/setup.sh, or name another interpreter with PYTHON=." >&2
    exit 2
fi
exec "$python" "$here/tools/bench/gpu_check.py" "$@"
