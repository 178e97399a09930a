#!/usr/bin/env bash
# All of stage 1, in order: videos in, training pairs for stage 2 out. Every step passes over what is done,
# so the same command goes on after an interruption.
#
#   bash tools/run_stage1.sh [--videos DIR] [--work DIR] [--pairs DIR] [--config SIZE.yaml MORE.yaml ...]
#                            [--dry-run] [key=value ...]
#
#   --videos DIR   folder of videos (prepare.videos)
#   --work DIR     everything that is made goes here (work)
#   --pairs DIR    exact pairs from `common.rendered --pairs`, added as shards of their own
#   --config ...   a model size, then overlays; configs/stage1.yaml goes between them unless it is named.
#                  Without the option: configs/tiny.yaml and configs/stage1_tiny.yaml
#   --dry-run      print what would be done, as far as it can be told before earlier steps have run
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=/dev/null
source "$here/tools/shell.sh"
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
python=$(find_python "$here")

value() { # value OPTION COUNT VALUE: the option's value as a YAML string, or a clear error
    need "$1" "$2"
    quoted "$3"
}

configs=()
overrides=()
dry=()
while (($#)); do
    case "$1" in
        --videos) overrides+=("prepare.videos=$(value "$1" $# "${2-}")"); shift 2 ;;
        --work) overrides+=("work=$(value "$1" $# "${2-}")"); shift 2 ;;
        --pairs) overrides+=("pack.rendered_pairs=$(value "$1" $# "${2-}")"); shift 2 ;;
        --config)
            value "$1" $# "${2-}" >/dev/null
            shift
            while (($#)) && [[ "$1" != --* && "$1" != *=* ]]; do configs+=("$1"); shift; done
            ;;
        --dry-run) dry=(--dry-run); shift ;;
        --help | -h) usage; exit 0 ;;
        *=*) overrides+=("$1"); shift ;;
        *)
            echo "error: unknown argument '$1'; see --help." >&2
            exit 2
            ;;
    esac
done

stage1="$here/configs/stage1.yaml"
if ((${#configs[@]} == 0)); then
    configs=("$here/configs/tiny.yaml" "$stage1" "$here/configs/stage1_tiny.yaml")
else
    named=no
    for file in "${configs[@]}"; do
        if [[ "$(basename -- "$file")" == stage1.yaml ]]; then named=yes; fi
    done
    if [[ $named == no ]]; then
        configs=("${configs[0]}" "$stage1" "${configs[@]:1}")
    fi
fi

step() {
    echo "== $1" >&2
    "$python" -m "stage1_generator.$1" --config "${configs[@]}" "${overrides[@]+"${overrides[@]}"}" \
        "${dry[@]+"${dry[@]}"}"
}

for name in prepare encode train synthesize blend filters retime own_mouths pack report; do
    if ((${#dry[@]})) && [[ $name != prepare ]]; then
        # Only prepare can be planned on an empty work folder.
        step "$name" || { echo "(the steps from $name on need what earlier ones make)" >&2; break; }
    else
        step "$name"
    fi
done
