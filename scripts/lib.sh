# Found by every script: where things are, and how they say what is wrong. Sourced, never run.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=${TURNLOG_TOOLS:-$root/.tools}

# Oldest nats-server that keeps the log's promises, oldest Postgres that the read tables are written for.
nats_oldest=2.14.6
postgres_oldest=15

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "$(basename "$0"): $*"
    exit 1
}

# at_least HAVE WANTED: compares versions.
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]; }

# Prints the nats-server to use: the first new enough one of PATH, then of the tools folder.
find_nats() {
    local candidate version
    for candidate in $(type -aP nats-server || true) "$tools/bin/nats-server"; do
        [ -x "$candidate" ] || continue
        version=$("$candidate" --version 2>/dev/null | sed -n 's/^nats-server: v//p')
        if [ -n "$version" ] && at_least "$version" "$nats_oldest"; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    return 1
}

# Prints the folder of the Postgres programs to use: PATH, then the newest where distributions put them.
find_postgres() {
    local dir version
    for dir in $(type -aP postgres | xargs -r -n 1 readlink -f | xargs -r -n 1 dirname) \
        $(printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin | sort -rV); do
        [ -x "$dir/postgres" ] && [ -x "$dir/initdb" ] || continue
        version=$("$dir/postgres" --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/')
        if at_least "$version" "$postgres_oldest"; then
            printf '%s\n' "$dir"
            return 0
        fi
    done
    return 1
}

# Runs a command with the rights to install packages, or returns 1 where there is no way to get them.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif sudo -n true 2>/dev/null; then
        sudo "$@"
    else
        return 1
    fi
}

# apt_install PACKAGE...: the distribution's packages, without a question. What apt says is shown only when it
# fails.
apt_install() {
    command -v apt-get >/dev/null || return 1
    as_root true || return 1
    mkdir -p "$tools"
    say "installing $* with apt-get"
    if ! {
        as_root apt-get -qq update &&
            as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "$@"
    } </dev/null >"$tools/apt.log" 2>&1; then
        tail -n 5 "$tools/apt.log" >&2
        return 1
    fi
}
