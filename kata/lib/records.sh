# shellcheck shell=bash
# What was written where, so that it can be taken back: file by file, with the
# originals of what was replaced. Sourced by install.sh.
#
# The record is a line per path, in the order of the changes, separated by tabs:
#   dir   PATH
#   link  PATH  TARGET
#   file  PATH  SHA-256   BACKUP or -
#   edit  PATH  SHA-256   BACKUP
# An `edit` is somebody else's file, changed in place.

STATE=$PREFIX/state
CHANGES=0
# Files that were changed in this run, for restart_what_changed.
CHANGED=()
ORDER=()
declare -A KIND DETAIL BACKUP WANTED

records_open() {
    local kind path detail backup
    [ -f "$ROOT$STATE/record" ] || return 0
    while IFS=$'\t' read -r kind path detail backup; do
        remember "$kind" "$path" "$detail" "$backup"
    done <"$ROOT$STATE/record"
}

remember() { # KIND PATH DETAIL BACKUP
    [ -n "${KIND[$2]:-}" ] || ORDER+=("$2")
    KIND[$2]=$1 DETAIL[$2]=$3 BACKUP[$2]=$4
}

forget() { # PATH
    local path kept=()
    for path in "${ORDER[@]}"; do
        [ "$path" = "$1" ] || kept+=("$path")
    done
    ORDER=(${kept[@]+"${kept[@]}"})
    unset "KIND[$1]" "DETAIL[$1]" "BACKUP[$1]"
}

# Written after every change, so that a run that breaks off can be taken back.
records_close() {
    local path
    [ -z "$DRY" ] || return 0
    mkdir -p "$ROOT$STATE"
    for path in "${ORDER[@]}"; do
        printf '%s\t%s\t%s\t%s\n' "${KIND[$path]}" "$path" "${DETAIL[$path]}" "${BACKUP[$path]}"
    done >"$ROOT$STATE/record.new"
    if cmp -s "$ROOT$STATE/record.new" "$ROOT$STATE/record"; then
        rm "$ROOT$STATE/record.new"
    else
        mv "$ROOT$STATE/record.new" "$ROOT$STATE/record"
    fi
}

# `change WHAT`: says it and counts it; false in a dry run.
change() {
    say "$1"
    CHANGES=$((CHANGES + 1))
    [ -z "$DRY" ]
}

sum() { sha256sum "$1" | cut -d ' ' -f 1; }

# `make_dir PATH`: makes what is missing on the way, and remembers that.
make_dir() {
    [ ! -d "$ROOT$1" ] || return 0
    make_dir "$(dirname "$1")"
    [ -z "$DRY" ] || return 0
    mkdir -m 755 "$ROOT$1"
    remember dir "$1" - -
}

# `back_up PATH`: keeps the file as it is, attributes included; prints its name.
back_up() {
    local name
    name=$(printf '%s' "$1" | tr / _)
    mkdir -p "$ROOT$STATE/backup"
    chmod 700 "$ROOT$STATE/backup"
    cp -a "$ROOT$1" "$ROOT$STATE/backup/$name"
    printf '%s' "$name"
}

# `put PATH MODE [KIND]`: the file at PATH has what standard input has.
put() {
    local path=$1 mode=$2 kind=${3:-file} backup=- new
    want "$path"
    new=$(mktemp)
    cat >"$new"
    if cmp -s "$new" "$ROOT$path" && [ "$(stat -c %a "$ROOT$path")" = "$mode" ]; then
        rm "$new"
        # One that was there before us stays without us.
        [ -z "${KIND[$path]:-}" ] || remember "${KIND[$path]}" "$path" "$(sum "$ROOT$path")" "${BACKUP[$path]}"
        return 0
    fi
    if change "write $path"; then
        make_dir "$(dirname "$path")"
        if [ -n "${KIND[$path]:-}" ]; then
            backup=${BACKUP[$path]}
        elif [ -e "$ROOT$path" ]; then
            make_dir "$STATE"
            backup=$(back_up "$path")
        fi
        # Renamed into place: a running program keeps the file that it has.
        cp "$new" "$ROOT$path.tidegate-new"
        if [ "$kind" = edit ] && [ -e "$ROOT$path" ]; then
            chown --reference="$ROOT$path" "$ROOT$path.tidegate-new"
        fi
        chmod "$mode" "$ROOT$path.tidegate-new"
        mv -f "$ROOT$path.tidegate-new" "$ROOT$path"
        remember "$kind" "$path" "$(sum "$ROOT$path")" "$backup"
        records_close
    fi
    CHANGED+=("$path")
    rm "$new"
}

# `link PATH TARGET`
link() {
    want "$1"
    [ "$(readlink "$ROOT$1" || true)" != "$2" ] || return 0
    [ ! -e "$ROOT$1" ] || [ -L "$ROOT$1" ] || die "$1 exists and is no link: remove it"
    change "link $1 -> $2" || return 0
    make_dir "$(dirname "$1")"
    ln -sfn "$2" "$ROOT$1"
    remember link "$1" "$2" -
    records_close
}

# `want PATH…`: belongs to what is being installed.
want() {
    local path
    for path in "$@"; do
        WANTED[$path]=yes
    done
}

# What an earlier run left that this one would not have written.
drop_unwanted() {
    local index path
    for ((index = ${#ORDER[@]} - 1; index >= 0; index--)); do
        path=${ORDER[index]}
        case ${KIND[$path]}${WANTED[$path]:-} in dir | *yes) continue ;; esac
        CHANGED+=("$path")
        change "remove $path" || continue
        take_back "$path"
        forget "$path"
        records_close
    done
}

take_back() { # PATH
    local path=$1
    case ${KIND[$path]} in
    link)
        [ "$(readlink "$ROOT$path" || true)" != "${DETAIL[$path]}" ] || rm "$ROOT$path"
        ;;
    file | edit)
        if [ ! -e "$ROOT$path" ]; then
            warn "$path is gone already"
        elif [ "$(sum "$ROOT$path")" = "${DETAIL[$path]}" ]; then
            restore "$path"
        elif [ "${KIND[$path]}" = edit ]; then
            warn "$path was changed since: only Tidegate's entry is taken out"
            without_import <"$ROOT$path" >"$ROOT$path.tidegate-new"
            cat "$ROOT$path.tidegate-new" >"$ROOT$path"
            rm "$ROOT$path.tidegate-new"
        else
            warn "$path was changed since and is kept as $path.changed"
            mv "$ROOT$path" "$ROOT$path.changed"
            [ "${BACKUP[$path]}" = - ] || restore "$path"
        fi
        ;;
    esac
}

restore() { # PATH
    if [ "${BACKUP[$1]}" = - ]; then
        rm "$ROOT$1"
    else
        cp -a "$ROOT$STATE/backup/${BACKUP[$1]}" "$ROOT$1.tidegate-new"
        mv -f "$ROOT$1.tidegate-new" "$ROOT$1"
    fi
}

# Everything, in the opposite order; directories last, if they are empty.
records_undo() {
    local index path
    recall_fragment
    for ((index = ${#ORDER[@]} - 1; index >= 0; index--)); do
        path=${ORDER[index]}
        [ "${KIND[$path]}" != dir ] || continue
        CHANGED+=("$path")
        ! change "take back $path" || take_back "$path"
    done
    [ -z "$DRY" ] || return 0
    rm -rf "${ROOT:?}$STATE"
    for ((index = ${#ORDER[@]} - 1; index >= 0; index--)); do
        path=${ORDER[index]}
        [ "${KIND[$path]}" != dir ] || [ ! -d "$ROOT$path" ] ||
            rmdir --ignore-fail-on-non-empty "$ROOT$path"
    done
}
