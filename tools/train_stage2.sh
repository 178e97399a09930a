#!/usr/bin/env bash
# All of stage 2, in order: structure, lip, texture, each from the package of the one before. Every phase goes on
# from its last checkpoint, so the same command continues after an interruption.
#
#   bash tools/train_stage2.sh --pairs DIR [--work DIR] [--config SIZE.yaml MORE.yaml ...] [--processes N]
#                              [--expert DIR] [--dry-run] [key=value ...] [PHASE:key=value ...]
#
#   --pairs DIR      shards of stage 1 (data.shards)
#   --work DIR       DIR/structure, DIR/lip and DIR/texture are made; the result is DIR/texture/package.
#                    Without the option: outputs/stage2
#   --config ...     a model size, then overlays; the phase's own file goes between them.
#                    Without the option: configs/tiny.yaml and configs/stage2_tiny.yaml
#   --processes N    processes of this machine, one per GPU. Without the option: 1
#   --expert DIR     a sync expert for the loss of the lip phase (common/sync_expert/train.py)
#   --dry-run        print batch arithmetic, memory and time of every phase, and stop
#   key=value        for all phases; with a phase's name before it, as in lip:train.max_steps=500, for that one
#
#   On several machines the same command runs on each, with --nodes N --rendezvous HOST:PORT --id NAME; see
#   tools/slurm/train_stage2.sbatch.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=/dev/null
source "$here/tools/shell.sh"
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
python=$(find_python "$here")

pairs=
work=outputs/stage2
expert=
processes=1
nodes=1
rendezvous=
id=stage2
dry=no
configs=()
overrides=()
while (($#)); do
    case "$1" in
        --pairs) need "$1" $#; pairs=$2; shift 2 ;;
        --work) need "$1" $#; work=$2; shift 2 ;;
        --expert) need "$1" $#; expert=$2; shift 2 ;;
        --processes) need "$1" $#; processes=$2; shift 2 ;;
        --nodes) need "$1" $#; nodes=$2; shift 2 ;;
        --rendezvous) need "$1" $#; rendezvous=$2; shift 2 ;;
        --id) need "$1" $#; id=$2; shift 2 ;;
        --config)
            need "$1" $#
            shift
            while (($#)) && [[ "$1" != --* && "$1" != *=* ]]; do configs+=("$1"); shift; done
            ;;
        --dry-run) dry=yes; shift ;;
        --help | -h) usage; exit 0 ;;
        train.output=* | train.init_from=*)
            refuse "${1%%=*} is set for every phase from --work; for one phase write PHASE:${1%%=*}=VALUE." ;;
        *=*) overrides+=("$1"); shift ;;
        *) refuse "unknown argument '$1'; see --help." ;;
    esac
done
[[ -n $pairs ]] || refuse "--pairs is missing: name the folder of shards that stage 1 has written."
[[ $processes =~ ^[1-9][0-9]*$ ]] || refuse "--processes is '$processes': give a number from 1 on."
[[ $nodes =~ ^[1-9][0-9]*$ ]] || refuse "--nodes is '$nodes': give a number from 1 on."
if ((nodes > 1)) && [[ -z $rendezvous ]]; then
    refuse "--nodes $nodes needs --rendezvous HOST:PORT, the same on every machine."
fi
if ((${#configs[@]} == 0)); then
    configs=("$here/configs/tiny.yaml" "$here/configs/stage2_tiny.yaml")
fi

launch() { # launch PHASE ARGUMENT...: in all processes, or once to look
    local phase=$1 place
    shift
    if [[ $dry == yes ]]; then
        WORLD_SIZE=$((processes * nodes)) "$python" "$here/stage2_dubber/train.py" --dry-run "$@"
        return
    fi
    place=(--standalone)
    if ((nodes > 1)); then
        place=(--nnodes="$nodes" --rdzv-backend=c10d --rdzv-endpoint="$rendezvous" --rdzv-id="$id-$phase")
    fi
    "$python" -m torch.distributed.run "${place[@]}" --nproc_per_node="$processes" \
        "$here/stage2_dubber/train.py" "$@"
}

before=
for phase in structure lip texture; do
    words=("train.output=$(quoted "$work/$phase")" "data.shards=[$(quoted "$pairs")]")
    if [[ -n $before ]]; then
        words+=("train.init_from=$(quoted "$work/$before/package")")
    fi
    if [[ $phase == lip && -n $expert ]]; then
        words+=("phase.sync.weight=0.05" "phase.sync.model=$(quoted "$expert")")
    fi
    for word in "${overrides[@]+"${overrides[@]}"}"; do
        case "$word" in
            structure:*=* | lip:*=* | texture:*=*)
                if [[ $word == "$phase":* ]]; then words+=("${word#*:}"); fi
                ;;
            *) words+=("$word") ;;
        esac
    done
    echo "== $phase" >&2
    launch "$phase" --config "${configs[0]}" "$here/configs/stage2_$phase.yaml" \
        "${configs[@]:1}" "${words[@]}"
    before=$phase
done
