#!/usr/bin/env bash
# Begin a sweep, or go on with the one that this storage already holds: what a scheduler may start again and again.
#
#   infra/sweep_or_resume.sh STORAGE sweeps/gan_noise.py --preset small --data crystals.parquet
#
# STORAGE is a folder that all nodes share and that belongs to this job alone. If $PID_FILE is set, the process is
# written there; SIGTERM to it stops the sweep so that it can be resumed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
storage="${1:?a folder for this job alone}" file="${2:?a file in sweeps/}"
shift 2
export PYTHONPATH="$PWD/platform:$PWD${PYTHONPATH:+:$PYTHONPATH}" # this checkout's code, installed or not
if [[ -n "${PID_FILE:-}" ]]; then
    echo "$$" > "$PID_FILE"
fi
if compgen -G "$storage/sweeps/$(basename "$file" .py)-*/sweep.json" > /dev/null; then
    exec python "$file" --storage "$storage" --resume latest
fi
exec python "$file" --storage "$storage" "$@"
