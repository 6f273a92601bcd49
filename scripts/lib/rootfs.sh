# shellcheck shell=bash
# Debian trees to make images of: made once, kept in the cache.

# Prints its path. TIDEGATE_ROOTFS=/path uses a tree that is there already.
debian_root() {
    if [ -n "${TIDEGATE_ROOTFS:-}" ]; then
        [ -d "$TIDEGATE_ROOTFS" ] || die "TIDEGATE_ROOTFS names no directory: $TIDEGATE_ROOTFS"
        printf '%s\n' "$TIDEGATE_ROOTFS"
        return 0
    fi
    debian_tree debroot python3
}

# `debian_tree NAME PACKAGES` makes a tree with these packages, separated by
# commas, in the cache and prints its path.
debian_tree() {
    local root=$CACHE/$1
    if [ ! -d "$root" ]; then
        [ "$(id -u)" = 0 ] || die "Making a Debian tree needs root"
        say "Making a Debian tree in $root (once)"
        mkdir -p "$CACHE"
        rm -rf "$root.new"
        mmdebstrap --quiet --variant=minbase --include="$2" bookworm "$root.new" >&2 </dev/null
        mv "$root.new" "$root"
    fi
    printf '%s\n' "$root"
}

# Bytes in the regular files of a tree; a hard-linked file counts once.
tree_bytes() {
    find "$1" -type f -printf '%D:%i %s\n' | sort -u | awk '{ n += $2 } END { print n + 0 }'
}
