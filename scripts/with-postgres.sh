#!/usr/bin/env bash
# with-postgres.sh COMMAND...: runs it with DATABASE_URL naming a throw-away Postgres with all migrations applied.
# It has no port, only a socket in its own folder, so it is in nobody's way.
. "$(dirname "$0")/lib.sh"

bin=$(find_postgres) || fail "Postgres $postgres_oldest or newer is missing: run make setup"
dir=$(mktemp -d /tmp/turnlog-postgres.XXXXXX)

# Postgres refuses to run as root.
as_server() { "$@"; }
if [ "$(id -u)" = 0 ]; then
    user=$(id -un postgres 2>/dev/null || echo nobody)
    chown "$user" "$dir"
    as_server() { (cd / && setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups "$@"); }
fi

stop() {
    as_server "$bin/pg_ctl" stop -D "$dir/data" -m immediate -s || true
    rm -rf "$dir"
}
trap stop EXIT

as_server "$bin/initdb" -D "$dir/data" -U turnlog --auth=trust --encoding=UTF8 --locale=C.UTF-8 --no-sync >/dev/null
as_server "$bin/pg_ctl" start -D "$dir/data" -l "$dir/log" -w -s \
    -o "-c listen_addresses= -c unix_socket_directories=$dir -c fsync=off" >/dev/null ||
    fail "the throw-away Postgres did not start: $(tail -n 1 "$dir/log")"

shopt -s nullglob
# The search path is that of the projector's sessions, whose statements name tables without a schema.
export DATABASE_URL="postgres://turnlog@localhost/turnlog?host=$dir&options=-c%20search_path%3Dread_v1"
psql() { PGOPTIONS="-c search_path=public" "$bin/psql" -h "$dir" -U turnlog -q -X -v ON_ERROR_STOP=1 --single-transaction "$@"; }
"$bin/createdb" -h "$dir" -U turnlog turnlog
for migration in "$root"/migrations/*.up.sql; do
    psql -d turnlog -f "$migration" >/dev/null || fail "$migration does not apply"
done
"$@"
