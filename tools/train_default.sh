#!/usr/bin/env bash
# The default model from a folder of clips: both stages of configs/small.yaml, unattended. Every part is bounded in
# time, goes on from what was saved, and is passed over once it is done; the same command continues after an
# interruption. What is run, with which settings, is in configs/recipes/default.yaml.
#
#   bash tools/train_default.sh --videos DIR [--speakers FILE] [--characters N] [--work DIR] [--output DIR]
#                               [--teacher FILE [--recordings DIR]] [--parts NAME,NAME,...] [--processes N]
#                               [--scale F] [--batch N] [--dry-run] [PART:key=value ...]
#
# --help says what each option means. With a GPU --scale 0.25 --batch 16 is a good beginning. --dry-run prints the
# commands. A part's own setting is written as in generator:train.learning_rate=1.0e-3, and --parts chooses among:
# characters prepare autoencoder teaching phonetics speech encode generator pairs structure lip texture student ship
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=/dev/null
source "$here/tools/shell.sh"
run_recipe "$here" default "$@"
