#!/usr/bin/env bash
# Installs Tidegate on a host with Kata Containers, beside what is there: own
# runtime handlers, own configurations, own snapshotter. A second run changes
# nothing; --uninstall puts everything back.
#
# usage: kata/install.sh [OPTION…]
#
#   --binary FILE           the program [tidegate beside this script, else the
#                           release or debug build of this checkout]
#   --prefix DIR            where it goes [/opt/tidegate]
#   --kata DIR              Kata's installation [/opt/kata]
#   --mode nydus|virtiofs   images and directories by one daemon, in nydusd's
#                           place [nydus]; or directories only, in virtiofsd's
#   --shims LIST            some of qemu,clh,qemu-runtime-rs,clh-runtime-rs
#                           [those that Kata's installation has]
#   --no-snapshotter        nothing for nydus-snapshotter
#   --units                 what runs daemons without Kata, too: systemd unit,
#                           helper for libvirt
#   --no-containerd         leave containerd's configuration alone
#   --containerd-config F   its file [/etc/containerd/config.toml]
#   --containerd-drop-in D  directory of its fragments [/etc/containerd/conf.d]
#   --containerd-version V  in place of asking `containerd --version`
#   --restart               restart containerd (and start the snapshotter) if
#                           anything changed for them
#   --root DIR              host's root directory, when run in a container
#   --force                 install what Kata cannot use yet, too
#   --dry-run               say what would be done
#   --uninstall             undo what an earlier run did
#
# Paths in the options are those of the host, except --binary and --root. Needs
# bash 4.4, coreutils, awk and sed; curl, if there, for one more check.
set -euo pipefail
# What `put` learns at the end of a pipeline must stay known.
shopt -s lastpipe

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT='' PREFIX=/opt/tidegate KATA=/opt/kata BINARY='' MODE=nydus SHIMS=''
SNAPSHOTTER=yes UNITS='' CONTAINERD=yes CONTAINERD_CONFIG=/etc/containerd/config.toml
CONTAINERD_DROP_IN=/etc/containerd/conf.d CONTAINERD_VERSION='' RESTART='' FORCE='' DRY='' ACTION=install

say() { printf '%s\n' "$*" >&2; }
warn() { say "warning: $*"; }
die() {
    say "install.sh: $*"
    exit 1
}
usage_error() {
    say "install.sh: $* (try --help)"
    exit 2
}
show_help() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }

while [ $# -gt 0 ]; do
    option=$1
    case $option in
    --binary | --prefix | --kata | --mode | --shims | --containerd-config | \
        --containerd-drop-in | --containerd-version | --root)
        [ $# -gt 1 ] || usage_error "$option needs a value"
        value=$2
        shift
        ;;
    esac
    shift
    case $option in
    --binary) BINARY=$value ;;
    --prefix) PREFIX=${value%/} ;;
    --kata) KATA=${value%/} ;;
    --mode) MODE=$value ;;
    --shims) SHIMS=${value//,/ } ;;
    --no-snapshotter) SNAPSHOTTER='' ;;
    --units) UNITS=yes ;;
    --no-containerd) CONTAINERD='' ;;
    --containerd-config) CONTAINERD_CONFIG=$value ;;
    --containerd-drop-in) CONTAINERD_DROP_IN=${value%/} ;;
    --containerd-version) CONTAINERD_VERSION=$value ;;
    --restart) RESTART=yes ;;
    --root) ROOT=${value%/} ;;
    --force) FORCE=yes ;;
    --dry-run) DRY=yes ;;
    --uninstall) ACTION=uninstall ;;
    -h | --help)
        show_help
        exit 0
        ;;
    *) usage_error "unknown option '$option'" ;;
    esac
done
case $MODE in nydus | virtiofs) ;; *) usage_error "--mode is nydus or virtiofs" ;; esac
for path in "$PREFIX" "$KATA" "$CONTAINERD_CONFIG" "$CONTAINERD_DROP_IN"; do
    case $path in
    /*[!A-Za-z0-9/._-]*) usage_error "'$path' has characters that are not of A-Z a-z 0-9 / . _ -" ;;
    /?*) ;;
    *) usage_error "'$path' is not an absolute path" ;;
    esac
done
[ -z "$ROOT" ] || [ -d "$ROOT" ] || die "The root directory $ROOT is missing"

. "$HERE/lib/records.sh"
. "$HERE/lib/checks.sh"
. "$HERE/lib/shims.sh"
. "$HERE/lib/containerd.sh"
. "$HERE/lib/host.sh"

# `from FILE`: a file of this directory, with the paths that were chosen.
from() {
    sed -e "s|/opt/tidegate|$PREFIX|g" -e "s|/opt/kata|$KATA|g" "$HERE/$1"
}

install_all() {
    local shim
    check_binary
    check_shims
    put "$PREFIX/bin/tidegate" 755 <"$BINARY"
    check_on_host
    for name in nydusd virtiofsd; do
        ! personality "$name" || link "$PREFIX/bin/$name" tidegate
    done
    for shim in $SHIMS; do
        install_shim "$shim"
    done
    if [ "$MODE" = nydus ] && [ -n "$SNAPSHOTTER" ]; then
        from config/nydus/nydusd.json | put /etc/tidegate/nydusd.json 600
        from config/nydus/nydus-snapshotter.toml | put /etc/tidegate/nydus-snapshotter.toml 644
        from systemd/tidegate-snapshotter.service |
            put /etc/systemd/system/tidegate-snapshotter.service 644
        find_snapshotter
    fi
    if [ -n "$UNITS" ]; then
        from systemd/tidegate@.service | put /etc/systemd/system/tidegate@.service 644
        from libvirt/tidegate-libvirt | put "$PREFIX/libexec/tidegate-libvirt" 755
    fi
    if [ -n "$CONTAINERD" ]; then
        configure_containerd
    else
        want "$FRAGMENT" "$CONTAINERD_CONFIG"
    fi
    drop_unwanted
}

records_open
if [ "$ACTION" = uninstall ]; then
    [ "${#ORDER[@]}" -gt 0 ] || die "Nothing of Tidegate is recorded in $ROOT$STATE"
    records_undo
else
    install_all
    records_close
fi
if [ "$CHANGES" = 0 ]; then
    say "Nothing to do: everything is in place"
elif [ -n "$DRY" ]; then
    say "Dry run: nothing was changed"
else
    say "Done: $CHANGES changes"
fi
restart_what_changed
