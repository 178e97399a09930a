#!/usr/bin/env bash
# Installs BootDub into .venv and runs both stages and a dub on rendered characters, in at most 20 minutes:
#   bash tools/quickstart.sh [--video V --audio A] [--output outputs/quickstart]
set -euo pipefail
started="$(date +%s)"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash tools/setup.sh
exec .venv/bin/python tools/quickstart.py --started "$started" "$@"
