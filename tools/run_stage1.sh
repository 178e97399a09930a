#!/usr/bin/env bash
# All of stage 1, in order: videos in, training pairs for stage 2 out. Every step passes over what is done,
# so the same command goes on after an interruption.
#
#   bash tools/run_stage1.sh [--videos DIR] [--work DIR] [--pairs DIR] [--config A.yaml B.yaml ...] [--dry-run] [key=value ...]
#
#   --videos DIR   folder of videos (prepare.videos)
#   --work DIR     everything that is made goes here (work)
#   --pairs DIR    exact pairs from `stage1_generator.rendered --pairs`, added as shards of their own
#   --config ...   configuration overlays; configs/stage1.yaml is always first
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
python=${PYTHON:-}
if [[ -z "$python" ]]; then
    python=python3
    if [[ -x "$here/.venv/bin/python" ]]; then
        python="$here/.venv/bin/python"
    fi
fi

usage() {
    sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
}

value() { # value OPTION COUNT VALUE: the option's value, or a clear error
    if (($2 < 2)); then
        echo "error: $1 needs a value." >&2
        exit 2
    fi
    printf '%s' "$3"
}

configs=("$here/configs/stage1.yaml")
overrides=()
steps_only=()
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
        --dry-run) steps_only=(--dry-run); shift ;;
        --help | -h) usage; exit 0 ;;
        *=*) overrides+=("$1"); shift ;;
        *)
            echo "error: unknown argument '$1'; see --help." >&2
            exit 2
            ;;
    esac
done

step() {
    echo "== $1" >&2
    "$python" -m "stage1_generator.$1" --config "${configs[@]}" "${overrides[@]+"${overrides[@]}"}" \
        "${steps_only[@]+"${steps_only[@]}"}"
}

for name in prepare encode train synthesize blend filters pack report; do
    step "$name"
done
