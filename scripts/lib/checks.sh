# shellcheck shell=bash
# What the end-to-end checks in scripts/tests share. Source after common.sh,
# rootfs.sh and image.sh.

# `checks_begin NAME` gives the check an empty directory, RUN, and cleans up
# mounts, loop devices and the daemon behind it. RUN itself stays when the check
# fails, so that one can look.
checks_begin() {
    RUN=$WORK/$1
    MOUNTS=() LOOPS=()
    if [ -z "${TIDEGATE_BIN:-}" ] && [ ! -x "$TIDEGATE" ]; then
        die "$TIDEGATE is missing: run cargo build --release, or set TIDEGATE_BIN"
    fi
    [ -r "$MANIFEST" ] || die "$MANIFEST is missing"
    rm -rf --one-file-system "$RUN"
    mkdir -p "$RUN"
    trap checks_end EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

checks_end() {
    local code=$? item
    for item in ${MOUNTS[@]+"${MOUNTS[@]}"}; do
        ! mountpoint -q "$item" || umount "$item" || umount -l "$item" || true
    done
    for item in ${LOOPS[@]+"${LOOPS[@]}"}; do
        losetup -d "$item" || true
    done
    daemon_kill
    ! declare -F shares_stop >/dev/null || shares_stop
    if [ "$code" = 0 ]; then
        rm -rf --one-file-system "$RUN"
    else
        say "Left for you to look at: $RUN"
    fi
}

# `manifest TREE NAME`: writes $RUN/NAME.manifest, every attribute included.
manifest() {
    python3 "$MANIFEST" --full "$1" >"$RUN/$2.manifest" || die "Cannot read all of $1 ($2)"
}

# `same_as_source NAME [OPTION…]`: that manifest equals that of the source.
same_as_source() {
    local name=$1
    shift
    python3 "$ROOT/scripts/lib/compare_manifests.py" "$@" \
        "$RUN/source.manifest" "$RUN/$name.manifest" ||
        die "$name differs from the source tree"
}
