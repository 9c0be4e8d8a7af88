#!/bin/sh
# Puts the scripts of tests/interop/js and the packages they want into target/interop, and prints where that is. Wants node with
# npm and, whenever the packages have changed, the npm registry.
set -eu
source=$(cd "$(dirname "$0")/js" && pwd)
target=${CARGO_TARGET_DIR:-$source/../../../target}/interop
mkdir -p "$target"
cd "$target"

# One at a time: tests may run this side by side. What has not changed stays, as another test may just be reading it.
exec 9>lock
flock 9
cp -u "$source"/* .
if ! cmp -s package-lock.json node_modules/installed.json; then
    npm ci --no-audit --no-fund >&2
    cp package-lock.json node_modules/installed.json
fi
flock -u 9

pwd
