# shellcheck shell=bash
# containerd's configuration: a fragment of our own, and an import of it where
# containerd does not look by itself. Sourced by install.sh.

FRAGMENT=$CONTAINERD_DROP_IN/$DROP_IN

configure_containerd() {
    local major minor schema
    [ -n "$CONTAINERD_VERSION" ] || CONTAINERD_VERSION=$(ask_containerd)
    if ! [[ $CONTAINERD_VERSION =~ ^v?([0-9]+)\.([0-9]+) ]]; then
        die "containerd's version is not known: give --containerd-version, or --no-containerd"
    fi
    major=${BASH_REMATCH[1]} minor=${BASH_REMATCH[2]}
    if [ "$major" -lt 2 ]; then
        warn "containerd $CONTAINERD_VERSION: before 2.0 an imported file takes the place of whole plugins' settings."
        warn "Put what $HERE/config/containerd/version-2.toml says into $CONTAINERD_CONFIG by hand."
        return 0
    fi
    schema=$(schema_version)
    fragment "$schema" | put "$FRAGMENT" 644
    imported "$major" "$minor" || import_fragment
    want "$CONTAINERD_CONFIG"
}

ask_containerd() {
    local answer
    if [ -n "$ROOT" ]; then
        answer=$(chroot "$ROOT" containerd --version 2>/dev/null || true)
    else
        answer=$(containerd --version 2>/dev/null || true)
    fi
    # containerd github.com/containerd/containerd/v2 v2.1.4 0123abcd
    awk '{ print $3 }' <<<"$answer"
}

# The version of the file's form. A fragment must not have a higher one: from
# 2.2.2 on containerd leaves such fragments out, before that it mixes the two.
schema_version() {
    local version=''
    [ ! -f "$ROOT$CONTAINERD_CONFIG" ] ||
        version=$(sed -n '/^[[:space:]]*\[/q; s/^[[:space:]]*version[[:space:]]*=[[:space:]]*\([0-9]*\).*/\1/p' "$ROOT$CONTAINERD_CONFIG" | head -n 1)
    if [ ! -f "$ROOT$CONTAINERD_CONFIG" ] || [ "${version:-1}" -ge 3 ]; then
        echo 3
    elif [ "${version:-1}" = 2 ]; then
        echo 2
    else
        die "$CONTAINERD_CONFIG has no version or version 1: convert it with containerd config migrate"
    fi
}

# `fragment SCHEMA`: without the runtimes that are not installed, and without
# the snapshotter if there is none.
fragment() {
    local parts=" $SHIMS "
    [ "$MODE" != nydus ] || [ -z "$SNAPSHOTTER" ] || parts="$parts snapshotter "
    from "config/containerd/version-$1.toml" | awk -v parts="$parts" '
        /^#\[/ { name = $0; gsub(/[#\[\]]/, "", name); keep = 1
                 count = split(name, wanted, "+")
                 for (i = 1; i <= count; i++) if (index(parts, " " wanted[i] " ") == 0) keep = 0
                 inside = 1; next }
        /^#\/$/ { inside = 0; next }
        !inside || keep'
}

# What comes before the first table, in which `imports` must stand.
imports_of() {
    [ -f "$ROOT$CONTAINERD_CONFIG" ] || return 0
    awk '/^[[:space:]]*\[/ && !open { exit }
        /^[[:space:]]*imports[[:space:]]*=/ { open = 1 }
        open { line = $0; sub(/#.*/, "", line); print line; if (line ~ /\]/) exit }' "$ROOT$CONTAINERD_CONFIG"
}

# `imported MAJOR MINOR`: whether containerd reads the fragment already. From
# 2.2 on it imports conf.d where the file says nothing of imports.
imported() {
    local list pattern
    list=$(imports_of)
    if [ -z "$list" ]; then
        [ "$CONTAINERD_DROP_IN" = /etc/containerd/conf.d ] && { [ "$1" -gt 2 ] || [ "$2" -ge 2 ]; }
        return
    fi
    while read -r pattern; do
        # shellcheck disable=SC2053  # it is a pattern
        [[ $FRAGMENT != $pattern ]] || return 0
    done < <(grep -oE "\"[^\"]*\"|'[^']*'" <<<"$list" | tr -d "\"'")
    return 1
}

import_fragment() {
    if [ ! -f "$ROOT$CONTAINERD_CONFIG" ]; then
        printf 'version = 3\nimports = ["%s"]\n' "$FRAGMENT" | put "$CONTAINERD_CONFIG" 644
        return
    fi
    local bits
    bits=$(stat -c %a "$ROOT$CONTAINERD_CONFIG")
    with_import <"$ROOT$CONTAINERD_CONFIG" | put "$CONTAINERD_CONFIG" "$bits" edit
}

# Ours first in the list; a comma before the closing bracket is allowed.
with_import() {
    awk -v ours="\"$FRAGMENT\", " -v whole="imports = [\"$FRAGMENT\"]" -v there="$(imports_of | grep -c . || true)" '
        there > 0 && !done && /^[[:space:]]*imports[[:space:]]*=/ { done = sub(/\[/, "[" ours) }
        there == 0 && !done && /^[[:space:]]*version[[:space:]]*=/ { print; print whole; done = 1; next }
        { print }'
}

without_import() {
    awk -v ours="\"$FRAGMENT\", " -v whole="imports = [\"$FRAGMENT\"]" '
        $0 == whole { next }
        /^[[:space:]]*imports[[:space:]]*=/ { at = index($0, ours)
            if (at > 0) $0 = substr($0, 1, at - 1) substr($0, at + length(ours)) }
        { print }'
}

# Where an earlier run put the fragment: removing asks no options again.
recall_fragment() {
    local path
    for path in "${ORDER[@]}"; do
        case $path in
        "$PREFIX"/*) ;;
        */"$DROP_IN") FRAGMENT=$path ;;
        esac
    done
}
