#!/bin/sh
# Builds the program in JavaScript the way docs/programs.md says, in a copy under target/, and prints where the program is
# then. Wants node with npm and, whenever its packages have changed, the npm registry.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
source=examples/agents/javascript
copy=${CARGO_TARGET_DIR:-$root/target}/javascript

# What is in the repository, and nothing that somebody has built or installed there.
mkdir -p "$copy/$source/program" "$copy/proto"
rm -rf "$copy/proto/wit"
cp -R "$root/proto/wit" "$copy/proto"
cp "$root/$source"/*.js "$root/$source"/package*.json "$copy/$source"
cp "$root/$source/program/manifest.toml" "$copy/$source/program"

cd "$copy/$source"
if ! cmp -s package-lock.json node_modules/installed.json; then
    npm ci >&2
    cp package-lock.json node_modules/installed.json
fi
npm run build >&2
echo "$PWD/program"
