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

usage() { # the comment at the top of the script that was called
    sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "${BASH_SOURCE[-1]}"
}

refuse() {
    echo "error: $1" >&2
    exit 2
}

need() { # need OPTION COUNT: there is a value behind the option
    (($2 >= 2)) || refuse "$1 needs a value."
}

quoted() { # as a YAML string, so that no folder's name is taken for a number, a list or a truth value
    printf "'%s'" "${1//\'/\'\'}"
}
