# shellcheck shell=bash
# Programs of others that exercise a file system, and the daemon that ours is
# compared with. Source after common.sh.

# `suite_install NAME VERSION [PACKAGE…]` builds a program from crates.io beside
# the peers, unless it is there, with these Debian packages.
suite_install() {
    local name=$1 version=$2
    shift 2
    [ ! -x "$PEERS/bin/$name" ] || return 0
    apt_need gcc libc6-dev pkg-config "$@"
    say "Building $name $version into $PEERS"
    env -u CARGO_TARGET_DIR cargo install --root "$PEERS" --locked --quiet \
        "$name" --version "$version" >&2 </dev/null
}

# Daemons of these checks: ended by `shares_stop`.
SHARES=()

# `share_ours NAME DIR [OPTION…]`: Tidegate serves DIR at $RUN/NAME.sock.
share_ours() {
    local name=$1 dir=$2
    shift 2
    share_start "$name" "$TIDEGATE" serve --socket "$RUN/$name.sock" --shared-dir "$dir" "$@"
}

# The same for virtiofsd.
share_theirs() {
    local name=$1 dir=$2
    shift 2
    share_start "$name" "$PEERS/bin/virtiofsd" --socket-path "$RUN/$name.sock" --shared-dir "$dir" "$@"
}

share_start() { # NAME COMMAND…
    local name=$1
    shift
    "$@" </dev/null >"$RUN/$name.log" 2>&1 &
    SHARES+=($!)
    wait_until 30 test -S "$RUN/$name.sock" || {
        tail -n 20 "$RUN/$name.log" >&2
        die "$name did not get ready"
    }
}

# For traps too: whatever state the script is in.
shares_stop() {
    local pid
    for pid in ${SHARES[@]+"${SHARES[@]}"}; do
        kill -TERM "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    SHARES=()
}

# `answer_asked DIR PID` puts the number of the descriptors of a process into
# DIR/answer.N whenever there is a DIR/ask.N, for a guest that has DIR. Runs on: to be
# ended.
answer_asked() {
    local file answered count
    count=$(mktemp "$RUN/count.XXXXXX")
    while sleep 0.1; do
        for file in "$1"/ask.*; do
            answered=${file/ask./answer.}
            if [ ! -e "$file" ] || [ -e "$answered" ]; then continue; fi
            find "/proc/$2/fd" -mindepth 1 | wc -l >"$count"
            cp "$count" "$answered.new"
            mv "$answered.new" "$answered"
        done
    done
}
