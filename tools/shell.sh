# shellcheck shell=bash
# What the scripts beside this one share; sourced by them.

find_python() { # find_python ROOT: $PYTHON, else that of the environment in ROOT, else the system's
    if [[ -n ${PYTHON:-} ]]; then
        echo "$PYTHON"
    elif [[ -x "$1/.venv/bin/python" ]]; then
        echo "$1/.venv/bin/python"
    else
        echo python3
    fi
}

run_recipe() { # run_recipe ROOT NAME WORD...: configs/recipes/NAME.yaml, in place of this shell
    export PYTHONPATH="$1${PYTHONPATH:+:$PYTHONPATH}"
    exec "$(find_python "$1")" -m common.recipes "${@:2}"
}
