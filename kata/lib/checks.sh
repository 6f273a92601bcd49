# shellcheck shell=bash
# Whether the program fits this host and what it can do. Sourced by install.sh.

# `machine FILE`: the processor of an ELF file, as `uname -m` calls it.
machine() {
    [ "$(head -c 4 "$1" | od -An -tx1 | tr -d ' \n')" = 7f454c46 ] || return 1
    case $(od -An -j18 -N2 -tu2 --endian=little "$1" | tr -d ' ') in
    62) echo x86_64 ;;
    183) echo aarch64 ;;
    *) echo "of another kind" ;;
    esac
}

check_binary() {
    local candidate own found
    own=$(uname -m)
    if [ -z "$BINARY" ]; then
        for candidate in "$HERE/tidegate" "$HERE/../target/release/tidegate" "$HERE/../target/debug/tidegate"; do
            [ -z "$BINARY" ] && [ -x "$candidate" ] && BINARY=$candidate
        done
        [ -n "$BINARY" ] || die "The program is missing: build it with cargo build --release, or give --binary"
    fi
    [ -r "$BINARY" ] || die "The program $BINARY is missing or cannot be read"
    case $own in x86_64 | aarch64) ;; *) die "Tidegate is for x86_64 and aarch64, and this host is $own" ;; esac
    found=$(machine "$BINARY") || die "$BINARY is no ELF program"
    [ "$found" = "$own" ] || die "$BINARY is for processors $found, and this host is $own"
    "$BINARY" --version >/dev/null || die "$BINARY does not run on this host (is the system older than the one it was built on?)"
    case $MODE in
    nydus)
        personality nydusd || die "$BINARY cannot stand in for nydusd; --force installs nevertheless"
        if ! serves_directories; then
            [ -n "$FORCE" ] || die "$BINARY serves no directories of the host, which Kata needs beside the images: pods would not start. --force installs nevertheless"
            warn "pods will not start: this version serves no directories of the host"
        fi
        ;;
    virtiofs)
        personality virtiofsd || die "$BINARY cannot stand in for virtiofsd; --force installs nevertheless"
        ;;
    esac
}

# `personality NAME`: whether the program does NAME's work under that name.
personality() {
    local answer
    answer=$( (exec -a "$1" "$BINARY" --version) 2>/dev/null || true)
    [ "${answer%% *}" = "$1" ] || [ -n "$FORCE" ]
}

# Asks a daemon what Kata asks it first: to serve a directory. Without curl it
# is believed.
serves_directories() {
    local dir pid code=000
    command -v curl >/dev/null || {
        warn "curl is missing: not checked whether this version serves directories"
        return 0
    }
    dir=$(mktemp -d)
    (exec -a nydusd "$BINARY" virtiofs --log-level error --apisock "$dir/api" --sock "$dir/sock") \
        >/dev/null 2>&1 &
    pid=$!
    mkdir "$dir/shared"
    # Ready within milliseconds; a program that cannot be nydusd ends at once.
    for _ in $(seq 100); do
        [ ! -S "$dir/api" ] || break
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    if [ -S "$dir/api" ]; then
        code=$(curl --silent --max-time 20 --output /dev/null --write-out '%{http_code}' \
            --unix-socket "$dir/api" --header 'Content-Type: application/json' \
            --data "{\"fs_type\":\"passthrough_fs\",\"source\":\"$dir/shared\",\"config\":\"\"}" \
            'http://unix/api/v1/mount?mountpoint=/containers' || true)
    fi
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    rm -rf "$dir"
    [ "$code" = 204 ]
}

# In a container the libraries are the container's: what counts is the host.
check_on_host() {
    [ -n "$ROOT" ] && [ -z "$DRY" ] && chroot "$ROOT" true 2>/dev/null || return 0
    chroot "$ROOT" "$PREFIX/bin/tidegate" --version >/dev/null ||
        die "The program does not run on this host (is the system older than the one it was built on?)"
}
