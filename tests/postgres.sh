#!/bin/sh
# Runs the billing tests against PostgreSQL instead of SQLite: on a throw-away server in a temporary
# directory, reached by a Unix socket only, as a user without privileges, and stopped at the end.
#
# Wants PostgreSQL's server programs (Debian: postgresql). Further arguments go to the tests.
set -eu
cd "$(dirname "$0")/.."

find_bin() {
    for dir in "$(pg_config --bindir 2>/dev/null || true)" /usr/lib/postgresql/*/bin /usr/local/bin; do
        if [ -x "$dir/initdb" ] && [ -x "$dir/pg_ctl" ]; then
            echo "$dir"
            return
        fi
    done
    echo "tests/postgres.sh: no PostgreSQL server found: install it (Debian: apt-get install postgresql)" >&2
    exit 1
}

bin=$(find_bin)
dir=$(mktemp -d "${TMPDIR:-/tmp}/parlor-pg.XXXXXX")

# The server refuses to run as root.
if [ "$(id -u)" -eq 0 ]; then
    chown nobody "$dir"
    unprivileged() { setpriv --reuid nobody --regid nogroup --clear-groups env HOME="$dir" "$@"; }
else
    unprivileged() { "$@"; }
fi

finish() {
    unprivileged "$bin/pg_ctl" stop --pgdata "$dir/data" --mode immediate --silent || true
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

unprivileged "$bin/initdb" --pgdata "$dir/data" --username parlor --auth trust --encoding UTF8 --no-sync >"$dir/initdb.log"
unprivileged "$bin/pg_ctl" start --pgdata "$dir/data" --silent --wait --log "$dir/data/server.log" \
    --options "-c listen_addresses='' -c unix_socket_directories='$dir' -c fsync=off -c max_connections=200"

# The whole workspace, and of it these: chosen alone, the node would be built with other features, and all of it anew.
PARLOR_TEST_BILLING_DB="postgres://parlor@localhost/{}?host=$dir" \
    cargo test --locked --workspace --lib billing:: -- "$@"
