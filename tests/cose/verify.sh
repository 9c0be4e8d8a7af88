#!/bin/sh
# verify.sh FILE ORIGIN, or verify.sh --proof FILE: runs verify.py in a virtual environment of its own under target/, which it makes the
# first time. Wants python3 with its venv module (Debian: python3-venv) and, the first time, PyPI.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../../target}
venv=$target/cose-venv
mkdir -p "$target"

# One at a time: tests may run this side by side.
exec 9>"$target/cose-venv.lock"
flock 9
if ! cmp -s "$here/requirements.txt" "$venv/installed.txt"; then
    python3 -m venv --clear "$venv" >&2
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt" >&2
    cp "$here/requirements.txt" "$venv/installed.txt"
fi
flock -u 9

exec "$venv/bin/python" "$here/verify.py" "$@"
