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
exec "$(find_python "$here")" "$here/tools/bench/gpu_check.py" "$@"
