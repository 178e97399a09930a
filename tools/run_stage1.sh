#!/usr/bin/env bash
# All of stage 1, in order: videos in, training pairs for stage 2 out. Every step passes over what is done, so the
# same command goes on after an interruption. The steps are in configs/recipes/stage1.yaml.
#
#   bash tools/run_stage1.sh [--videos DIR] [--work DIR] [--pairs DIR] [--config SIZE.yaml MORE.yaml ...]
#                            [--parts STEP,...] [--dry-run] [key=value ...] [STEP:key=value ...]
#
# --help says what each option means. --dry-run prints what would be done, as far as it can be told before earlier
# steps have run.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=/dev/null
source "$here/tools/shell.sh"
run_recipe "$here" stage1 "$@"
