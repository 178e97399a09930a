#!/usr/bin/env bash
# All of stage 2, in order: structure, lip, texture, each from the package of the one before. Every phase goes on
# from its last checkpoint, so the same command continues after an interruption. What is run is in
# configs/recipes/stage2.yaml.
#
#   bash tools/train_stage2.sh --pairs DIR [--work DIR] [--config SIZE.yaml MORE.yaml ...] [--processes N]
#                              [--expert DIR] [--parts PHASE,...] [--dry-run] [key=value ...] [PHASE:key=value ...]
#
# --help says what each option means. --dry-run prints batch arithmetic, memory and time of every phase, and stops.
# key=value is for all phases; with a phase's name before it, as in lip:train.max_steps=500, for that one. On several
# machines the same command runs on each, with --nodes N --rendezvous HOST:PORT --id NAME; see
# tools/slurm/train_stage2.sbatch.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=/dev/null
source "$here/tools/shell.sh"
run_recipe "$here" stage2 "$@"
