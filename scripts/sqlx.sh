#!/usr/bin/env bash
# sqlx.sh prepare: writes what the database says of every checked query to .sqlx/, which builds use in its place.
# sqlx.sh check:   fails when .sqlx/ is not what the sources and the migrations make it.
. "$(dirname "$0")/lib.sh"

# The macros ask the database, and write what it said, only when their crate is compiled.
compile() {
    local sources stamp status=0
    mapfile -t sources < <(grep -rlE 'sqlx::query|query(_as|_scalar)?!' --include='*.rs' "$root"/*/src || true)
    stamp=$(mktemp -d)
    for source in "${sources[@]}"; do
        touch -r "$source" "$stamp/$(echo "$source" | tr / _)"
        touch "$source"
    done
    touch "$stamp/touched"
    SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$1 cargo check --quiet --locked --workspace --all-targets || status=$?
    # Put back the times, so that other builds stay fresh; not of a file that somebody saved meanwhile.
    for source in "${sources[@]}"; do
        [ "$source" -nt "$stamp/touched" ] || touch -r "$stamp/$(echo "$source" | tr / _)" "$source"
    done
    rm -rf "$stamp"
    return $status
}

cd "$root"
case "${1:-}" in
    prepare | check)
        # Once more within a database: DATABASE_URL is set there by with-postgres.sh.
        exec scripts/with-postgres.sh "$0" "in-database-$1"
        ;;
    in-database-prepare)
        mkdir -p .sqlx
        rm -f .sqlx/query-*.json
        compile "$root/.sqlx"
        say ".sqlx/ holds $(find .sqlx -name 'query-*.json' | wc -l) queries"
        ;;
    in-database-check)
        fresh=$(mktemp -d)
        trap 'rm -rf "$fresh"' EXIT
        compile "$fresh" || fail "the queries do not compile against the migrations"
        diff -rq "$fresh" .sqlx >&2 || fail ".sqlx/ is stale: run make prepare and commit it"
        ;;
    *)
        fail "say prepare or check"
        ;;
esac
