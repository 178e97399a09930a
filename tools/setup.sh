#!/usr/bin/env bash
# Makes .venv at the repository's root and installs BootDub into it; does nothing where that is already done.
# Usage: tools/setup.sh [dev]     (dev: with the test and lint tools; else all that trains, evaluates and serves)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
extra="${1:-}"
target=".[${extra:-evaluate,train,serve}]"

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.12 python3.11 python3.10 python3; do
        [ -n "$candidate" ] || continue
        if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "error: no Python 3.10 to 3.12 found; install one or set PYTHON to its path." >&2
    exit 2
}

# The stamp names what was installed, so that a changed pyproject.toml or a new extra installs again.
wanted="$(cksum < pyproject.toml) $extra"
for stamp in .venv/.bootdub-*; do
    [ -f "$stamp" ] || continue
    if [ "$(cat "$stamp")" = "$wanted" ] || { [ -z "$extra" ] && [ "$(cat "$stamp")" = "$wanted"dev ]; }; then
        exit 0
    fi
done

python="$(find_python)"
[ -x .venv/bin/python ] || "$python" -m venv .venv
echo "Installing into .venv (about 2 minutes, 3.5 GB) ..."
.venv/bin/python -m pip install --quiet --disable-pip-version-check -e "$target"

# OpenCV's wheel wants two system libraries that minimal images lack.
if ! .venv/bin/python -c 'import cv2' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -y -qq libgl1 libglib2.0-0
    fi
    .venv/bin/python -c 'import cv2' || {
        echo "error: OpenCV does not import; install the packages libgl1 and libglib2.0-0." >&2
        exit 2
    }
fi
printf '%s' "$wanted" > ".venv/.bootdub-${extra:-run}"
