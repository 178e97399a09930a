#!/usr/bin/env bash
# The default model from a folder of clips: both stages of configs/small.yaml, unattended. Every part is bounded in
# time, goes on from what was saved, and is passed over once it is done; the same command continues after an
# interruption.
#
#   bash tools/train_default.sh --videos DIR [--speakers FILE] [--characters N] [--work DIR] [--output DIR]
#                               [--teacher FILE [--recordings DIR]] [--parts NAME,NAME,...] [--processes N]
#                               [--scale F] [--batch N] [--dry-run] [PART:key=value ...]
#
#   --videos DIR      clips of speaking people, with their sound
#   --speakers FILE   .csv or .tsv that names each clip's speaker (prepare.speakers)
#   --characters N    drawn characters with exact pairs, besides (default 90; 0: none)
#   --work DIR        everything that is made (default outputs/small)
#   --output DIR      the finished package (default WORK/bootdub-small)
#   --teacher FILE    an ONNX file of Smart Turn's Whisper encoder, which a phonetic encoder and lip-shape predictors are taught by
#                     (docs/training.md; default: the one that bootdub-small was shipped with)
#   --recordings DIR  speech without faces, which the phonetic encoder and the lip-shape predictor learn from, too: audio files,
#                     one directory per speaker or language (docs/training.md)
#   --parts LIST      only these of: characters prepare autoencoder teaching phonetics speech encode generator
#                     pairs structure lip texture student ship
#   --processes N     of a training (default: 1 with a GPU, else as many as there are cores, at most 8)
#   --scale F         times the minutes of every training, which are what two CPU cores need (default 1; with a GPU
#                     0.25 and 16 times the batch is a good beginning: --scale 0.25 --batch 16)
#   --batch N         times the clips of every step (default 1)
#   --dry-run         print the commands, and do nothing
#   PART:key=value    a setting of one part, as in generator:train.learning_rate=1.0e-3; teaching, phonetics and speech
#                     label speech before they train: PART-labels:key=value is a setting of that
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=/dev/null
source "$here/tools/shell.sh"
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
python=$(find_python "$here")

all=(characters prepare autoencoder teaching phonetics speech encode generator pairs structure lip texture student ship)
videos=
speakers=
characters=90
work=outputs/small
output=
teacher=
recordings=
parts=("${all[@]}")
processes=
scale=1
batch=1
dry=no
overrides=()
while (($#)); do
    case "$1" in
        --videos) need "$1" $#; videos=$2; shift 2 ;;
        --speakers) need "$1" $#; speakers=$2; shift 2 ;;
        --characters) need "$1" $#; characters=$2; shift 2 ;;
        --work) need "$1" $#; work=$2; shift 2 ;;
        --teacher) need "$1" $#; teacher=$2; shift 2 ;;
        --recordings) need "$1" $#; recordings=$2; shift 2 ;;
        --output) need "$1" $#; output=$2; shift 2 ;;
        --parts) need "$1" $#; IFS=, read -ra parts <<<"$2"; shift 2 ;;
        --processes) need "$1" $#; processes=$2; shift 2 ;;
        --scale) need "$1" $#; scale=$2; shift 2 ;;
        --batch) need "$1" $#; batch=$2; shift 2 ;;
        --dry-run) dry=yes; shift ;;
        --help | -h) usage; exit 0 ;;
        *:*=*)
            part=${1%%:*}
            [[ " ${all[*]} " == *" ${part%-labels} "* ]] || refuse "'$1' names no part; the parts are: ${all[*]}."
            overrides+=("$1"); shift ;;
        *) refuse "unknown argument '$1'; see --help." ;;
    esac
done
[[ -n $videos ]] || refuse "--videos is missing: name a folder of clips of speaking people."
[[ $characters =~ ^[0-9]+$ ]] || refuse "--characters is '$characters': give a number."
[[ $batch =~ ^[1-9][0-9]*$ ]] || refuse "--batch is '$batch': give a number from 1 on."
[[ -z $recordings || -n $teacher ]] || refuse "--recordings teaches a phonetic encoder: name its --teacher, too."
for part in "${parts[@]}"; do
    [[ " ${all[*]} " == *" $part "* ]] || refuse "--parts names '$part'; the parts are: ${all[*]}."
done
output=${output:-$work/bootdub-small}

gpu=$("$python" -c "import torch; print(int(torch.cuda.is_available()))")
if [[ -z $processes ]]; then
    processes=1
    if ((!gpu)); then
        cores=$(nproc)
        for count in 2 4 8; do if ((cores >= count)); then processes=$count; fi; done
    fi
fi
[[ $processes =~ ^(1|2|4|8)$ ]] || refuse "--processes is '$processes': give 1, 2, 4 or 8."

size=$here/configs/small.yaml
vae=$work/autoencoder/model
stage1=("$size" "$here/configs/stage1.yaml" "$here/configs/small_stage1.yaml")
reader=$work/stage1/speech/package
phonetics=$here/models/bootdub-small/speech
if [[ -n $teacher ]]; then phonetics=$work/stage1/phonetic_encoder/package; fi
common=("vae.path=$(quoted "$vae")" "speech.path=$(quoted "$reader")")
inputs=("work=$(quoted "$work/stage1")" "prepare.videos=$(quoted "$videos")" "prepare.speakers=$(quoted "$speakers")")

wanted() {
    local part
    for part in "${parts[@]}"; do
        if [[ $part == "$1" ]]; then
            echo "== $1 ($(date +%H:%M))" >&2
            return
        fi
    done
    return 1
}

call() { # call COMMAND ARGUMENT...
    if [[ $dry == yes ]]; then
        printf '%q ' "$@"
        echo
    else
        "$@"
    fi
}

own=()
settings_of() { # own=: what the command line sets for PART
    local word
    own=()
    for word in "${overrides[@]+"${overrides[@]}"}"; do
        if [[ $word == "$1":* ]]; then own+=("${word#*:}"); fi
    done
}

step() { # step PART MODULE ARGUMENT...: a command of stage 1
    settings_of "$1"
    call "$python" -m "$2" --config "${stage1[@]}" "${inputs[@]}" "${@:3}" "${own[@]+"${own[@]}"}"
}

label() { # label PART MODULE FILE ARGUMENT...: labels for the speech of the prepared clips
    settings_of "$1-labels"
    call "$python" -m "$2" --config "$here/configs/$3" "${inputs[0]}" "${@:4}" "${own[@]+"${own[@]}"}"
}

minutes() {
    "$python" -c "import sys; print(f'{float(sys.argv[1]) * float(sys.argv[2]):.2f}')" "$1" "$scale"
}

fit() { # fit PART MINUTES CLIPS FILE_OR_MODULE ARGUMENT...: a training, in all processes
    local part=$1 time=$2 clips=$(($3 * batch))
    settings_of "$part"
    # Small layers: processes with one thread each beat one process with many.
    if ((!gpu)); then local -x OMP_NUM_THREADS=1; fi
    call "$python" -m torch.distributed.run --standalone --nproc_per_node="$processes" "${@:4}" \
        "train.time_limit_minutes=$(minutes "$time")" "train.max_steps=${steps:-100000}" \
        "train.global_batch_size=$clips" "train.micro_batch_size=$((clips / processes))" "${own[@]+"${own[@]}"}"
}

editor() { # editor PHASE MINUTES CLIPS START ARGUMENT...: a phase of stage 2
    local phase=$1 time=$2 clips=$3 start=$4 shards weights="0.1, 0.9"
    shards="$(quoted "$work/stage1/pairs"), $(quoted "$work/stage1/pairs_retimed")"
    if ((characters)); then
        shards+=", $(quoted "$work/stage1/pairs_rendered")"
        weights="0.06, 0.84, 0.1"
    fi
    fit "$phase" "$time" "$clips" "${program:-$here/stage2_dubber/train.py}" --config "$size" \
        "$here/configs/${file:-stage2_$phase}.yaml" "$here/configs/${overlay:-small_stage2}.yaml" \
        "data.shards=[$shards]" "data.weights=[$weights]" "train.output=$(quoted "$work/stage2/$phase")" \
        "train.init_from=$(quoted "$start")" "${common[@]}" "${@:5}"
}

if wanted characters && ((characters)); then
    call "$python" -m common.rendered --output "$work/characters" --count "$characters" --seed 5000 --pairs \
        --workers "$(nproc)"
fi
if wanted prepare; then
    step prepare stage1_generator.prepare "vae.path=''"
fi
if wanted autoencoder && [[ ! -f $vae/config.json ]]; then
    folders=$(quoted "$work/stage1/prepared")
    if ((characters)); then folders+=", $(quoted "$work/characters")"; fi
    settings_of autoencoder
    (
        if ((!gpu)); then export OMP_NUM_THREADS=1; fi
        call "$python" -m torch.distributed.run --standalone --nproc_per_node="$processes" \
            -m common.autoencoder.train --config "$here/configs/small_autoencoder.yaml" \
            "autoencoder.folders=[$folders]" "autoencoder.output=$(quoted "$work/autoencoder/run")" \
            "autoencoder.time_limit_minutes=$(minutes 25)" "${own[@]+"${own[@]}"}"
    )
    # Narrowed before anything is encoded with it: what is shipped is what the other parts were trained on.
    call "$python" "$here/tools/ship_model.py" "$work/autoencoder/run/vae" --output "$vae"
fi
taught=("phonetics.teacher=$(quoted "$teacher")" phonetics.output=layer_norm_4)
labellers=("$work"/stage1/teaching-{0,1,2,3})
if [[ -n $teacher ]] && wanted teaching; then
    label teaching common.lip_shapes.label small_speech_labels.yaml "${taught[@]}" listen.taught=true
    for seed in "${!labellers[@]}"; do
        batch=1 steps=300 fit teaching 5 64 -m common.lip_shapes.train \
            --config "$here/configs/small_speech.yaml" "$here/configs/small_taught.yaml" "${inputs[0]}" \
            "train.seed=$seed" "train.output=$(quoted "${labellers[seed]}")"
    done
fi
if [[ -n $teacher ]] && wanted phonetics; then
    readers=
    for folder in "${labellers[@]}"; do readers+="${readers:+, }$(quoted "$folder/package")"; done
    label phonetics common.phonetics.label small_phonetics_labels.yaml "${taught[@]}" \
        "phonetics.readers=[$readers]" "phonetics.folders=[${recordings:+$(quoted "$recordings")}]"
    fit phonetics 40 48 -m common.phonetics.train \
        --config "$here/configs/small_phonetics.yaml" "${inputs[0]}" \
        "train.output=$(quoted "$work/stage1/phonetic_encoder")"
fi
if wanted speech; then
    label speech common.lip_shapes.label small_speech_labels.yaml
    labelled=()
    count=250
    if [[ -n $teacher ]]; then
        # With the lips of speech without faces there is enough for the phonetic encoder to go on learning.
        labelled=("data.shards=[$(quoted "$work/stage1/heard"), $(quoted "$work/stage1/phonetics")]"
            "data.weights=[0.5, 0.5]" listen.tune_phonetics=true train.learning_rate=1.0e-3)
        count=500
    fi
    batch=1 steps=$count fit speech 20 64 -m common.lip_shapes.train \
        --config "$here/configs/small_speech.yaml" "${inputs[0]}" \
        "listen.phonetics=$(quoted "$phonetics")" "${labelled[@]+"${labelled[@]}"}"
fi
if wanted encode; then
    step encode stage1_generator.encode "${common[@]}"
fi
if wanted generator; then
    fit generator 40 8 -m stage1_generator.train --config "${stage1[@]}" "${inputs[@]}" "${common[@]}"
fi
if wanted pairs; then
    rendered=
    if ((characters)); then rendered=$work/characters; fi
    for name in retime synthesize blend filters pack report; do
        step pairs "stage1_generator.$name" "${common[@]}" "pack.rendered_pairs=$(quoted "$rendered")"
    done
fi
# An adapter is for models that know faces already: here all parameters go on learning, more of them about lips, and
# at the noise levels that a few steps pass through.
lips=(phase.lora_rank=0 "phase.active_range=[0.0, 1.0]" phase.own_references=0.35 diffusion.timestep_a=4.0
    diffusion.audio_scale=2.25 train.lip_weight=5.0 train.lip_window_share=0.85 "train.lip_window=[4, 5]"
    train.learning_rate=1.6e-3)
lora=(phase.lora_rank=16 phase.lora_alpha=16)
if wanted structure; then
    editor structure 90 8 "$work/stage1/generator/package"
fi
if wanted lip; then
    editor lip 80 16 "$work/stage2/structure/package" "${lips[@]}"
fi
if wanted texture; then
    # The guidance that its package names is the one that the student learns to do without.
    editor texture 4 8 "$work/stage2/lip/package" "${lora[@]}" diffusion.audio_scale=2.75
fi
if wanted student; then
    program=$here/stage2_dubber/distill.py file=distill overlay=small_distill \
        editor student 24 16 "$work/stage2/texture/package" train.keep_adapters=false
fi
if wanted ship; then
    settings_of ship
    call "$python" "$here/tools/ship_model.py" "$work/stage2/student/package" --output "$output" --renderer auto "${own[@]+"${own[@]}"}"
fi
