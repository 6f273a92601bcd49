# shellcheck shell=bash
# Words that every script shares: where things live, how to speak, how to stop.
# Source it first:  . "$(dirname "$0")/lib/common.sh"

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# Data of one run. Git-ignored, safe to delete.
WORK=${TIDEGATE_WORK:-$ROOT/work}
# What is costly to fetch again: guest kernel, Debian root, peers.
CACHE=${TIDEGATE_CACHE_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/tidegate}
# nydus-image, nydusd and virtiofsd, to compare with.
PEERS=${TIDEGATE_PEERS:-$CACHE/peers}
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
# Lists a tree as JSON lines.
MANIFEST=${TIDEGATE_MANIFEST:-$ROOT/tests/support/manifest.py}
# shellcheck disable=SC2034  # read by the scripts that source this file
readonly ROOT WORK CACHE PEERS TARGET MANIFEST

# cargo's own folder is not always on the PATH of a root shell.
case ":$PATH:" in
*":${CARGO_HOME:-$HOME/.cargo}/bin:"*) ;;
*) PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin ;;
esac
export PATH

# All progress goes to standard error: standard output belongs to results.
say() { printf '%s\n' "$*" >&2; }
step() { printf '\n== %s\n' "$*" >&2; }
# What a check could not do. scripts/test repeats these lines at its end.
skip() { printf 'SKIPPED: %s\n' "$*" | tee -a "${TIDEGATE_SKIPS:-/dev/null}" >&2; }
die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}
usage_error() {
    printf '%s: %s (try --help)\n' "$(basename "$0")" "$*" >&2
    exit 2
}

# Prints the comment block at the head of the calling script.
show_help() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; }

have() { command -v "$1" >/dev/null 2>&1; }

# Seconds since the epoch with three decimals; `elapsed A B` is B - A.
now() { date +%s.%3N; }
elapsed() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.1f", b - a }'; }

# 12345678 -> 11.8 MiB
human() { numfmt --to=iec-i --suffix=B --format='%.1f' "$1"; }

# `wait_until SECONDS COMMAND…` polls, since a shell has nothing better.
wait_until() {
    local tries=$(($1 * 20))
    shift
    while ! "$@"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.05
    done
}
