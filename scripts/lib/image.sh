# shellcheck shell=bash
# Building images and running the daemon on them.

# TIDEGATE_BIN=/path uses a program that is built already.
TIDEGATE=${TIDEGATE_BIN:-$TARGET/release/tidegate}
DAEMON=

# `json_field FILE NAME`: a top-level field; of a list, one item a line.
json_field() {
    python3 - "$1" "$2" <<-'PYTHON'
	import json, sys
	value = json.load(open(sys.argv[1]))[sys.argv[2]]
	for item in value if isinstance(value, list) else [value]:
	    if isinstance(item, dict):
	        item = item.get("path") or item.get("id") or item.get("digest")
	    print(item)
	PYTHON
}

# `image_build SOURCE DIR [OPTION…]`: afterwards IMAGE_ROOT is the root digest
# and IMAGE the options that name the image to every other subcommand.
image_build() {
    local source=$1 output=$2
    shift 2
    rm -rf "$output"
    mkdir -p "$output"
    "$TIDEGATE" build "$source" --output "$output" --json "$@" >"$output/build.json"
    IMAGE_ROOT=$(json_field "$output/build.json" root)
    # shellcheck disable=SC2034  # read by the callers
    IMAGE=(--bootstrap "$output/image.boot" --blobs "$output/blobs" --root "$IMAGE_ROOT")
}

# Paths of the image's blob files, in the order of its device table.
image_blobs() { # DIR
    local blob
    json_field "$1/build.json" blobs | while read -r blob; do
        blob=${blob##*/}
        printf '%s\n' "$1/blobs/${blob#sha256:}"
    done
}

# Bytes of the bootstrap and the blobs as they are stored.
image_stored_bytes() { # DIR
    find "$1/image.boot" "$1/blobs" -type f -printf '%s\n' | awk '{ n += $1 } END { print n + 0 }'
}

# `daemon_start LOG READY ARGUMENT…` runs tidegate in the background until the
# command READY (one word: a function or a program) succeeds.
daemon_start() {
    local log=$1 ready=$2
    shift 2
    "$TIDEGATE" "$@" </dev/null >"$log" 2>&1 &
    DAEMON=$!
    if ! wait_until 30 daemon_ready_or_gone "$ready" || ! "$ready"; then
        tail -n 20 "$log" >&2
        daemon_kill
        die "tidegate $1 did not get ready"
    fi
}

daemon_ready_or_gone() { "$1" || ! kill -0 "$DAEMON" 2>/dev/null; }

# `daemon_serve LOG SOCKET ARGUMENT…`
daemon_serve() {
    local log=$1
    SERVE_SOCKET=$2
    shift 2
    rm -f "$SERVE_SOCKET"
    daemon_start "$log" socket_is_there serve --socket "$SERVE_SOCKET" "$@"
}
socket_is_there() { [ -S "$SERVE_SOCKET" ]; }

# `daemon_mount LOG MOUNTPOINT ARGUMENT…`
daemon_mount() {
    local log=$1
    MOUNTED_AT=$2
    shift 2
    mkdir -p "$MOUNTED_AT"
    daemon_start "$log" mount_is_there mount "$MOUNTED_AT" "$@"
}
mount_is_there() { mountpoint -q "$MOUNTED_AT"; }

# Ends the daemon with SIGTERM; its exit status must be 0.
daemon_stop() { # LOG
    local code=0
    kill -TERM "$DAEMON" 2>/dev/null || true
    wait "$DAEMON" || code=$?
    DAEMON=
    if [ "$code" != 0 ]; then
        tail -n 20 "$1" >&2
        die "The daemon ended with status $code"
    fi
}

# For traps: whatever state the script is in.
daemon_kill() {
    [ -n "$DAEMON" ] || return 0
    kill -TERM "$DAEMON" 2>/dev/null || true
    wait "$DAEMON" 2>/dev/null || true
    DAEMON=
}

# `counter LOG NAME…`: from the line `counters {…}` that `serve` ends with, the
# values in the order of the names, on one line.
counter() {
    python3 - "$@" <<-'PYTHON'
	import json, sys
	lines = [l for l in open(sys.argv[1], errors="replace") if l.startswith("counters ")]
	if not lines:
	    sys.exit(f"{sys.argv[1]} has no line of final counters")
	found = json.loads(lines[-1].partition(" ")[2])
	print(*(found.get(name, 0) for name in sys.argv[2:]))
	PYTHON
}
