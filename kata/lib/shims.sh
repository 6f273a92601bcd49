# shellcheck shell=bash
# Kata's runtimes: which are there, and a configuration of our own for each.
# Sourced by install.sh.

ALL_SHIMS="qemu clh qemu-runtime-rs clh-runtime-rs"
# Sorts behind what kata-deploy (10 to 50) and administrators (up to 80) add.
DROP_IN=85-tidegate.toml

# `shim_program SHIM`
shim_program() {
    case $1 in
    *-runtime-rs) echo "$KATA/runtime-rs/bin/containerd-shim-kata-v2" ;;
    *) echo "$KATA/bin/containerd-shim-kata-v2" ;;
    esac
}

# `shim_base SHIM`: Kata's configuration file, links followed inside the host's
# root directory: its drop-ins lie beside the file itself.
shim_base() {
    local defaults=$KATA/share/defaults/kata-containers names name path target depth=0
    case $1 in
    clh-runtime-rs) names="runtime-rs/configuration-clh-runtime-rs.toml runtime-rs/configuration-cloud-hypervisor.toml" ;;
    *-runtime-rs) names=runtime-rs/configuration-$1.toml ;;
    *) names=configuration-$1.toml ;;
    esac
    for name in $names; do
        path=$defaults/$name
        while [ -L "$ROOT$path" ] && [ "$depth" -lt 40 ]; do
            target=$(readlink "$ROOT$path")
            case $target in
            /*) path=$target ;;
            *) path=$(dirname "$path")/$target ;;
            esac
            depth=$((depth + 1))
        done
        if [ -f "$ROOT$path" ]; then
            echo "$path"
            return 0
        fi
    done
    return 1
}

# Leaves in SHIMS those that can be used.
check_shims() {
    local shim found='' wanted=$SHIMS version
    for shim in ${SHIMS:-$ALL_SHIMS}; do
        case " $ALL_SHIMS " in
        *" $shim "*) ;;
        *) usage_error "unknown shim '$shim': --shims takes ${ALL_SHIMS// /,}" ;;
        esac
        if [ -x "$ROOT$(shim_program "$shim")" ] && shim_base "$shim" >/dev/null; then
            found="$found $shim"
        elif [ -n "$wanted" ]; then
            die "Kata's $shim is not in $KATA: its shim or its configuration is missing"
        fi
    done
    SHIMS=${found# }
    [ -n "$SHIMS" ] || die "No Kata Containers in $KATA: install it first, or give --kata"
    version=$(cat "$ROOT$KATA/VERSION" 2>/dev/null || true)
    if [ -z "$version" ]; then
        warn "$KATA/VERSION is missing: Kata's version is not checked (needed: 3.0; 3.32 for runtime-rs)"
        return 0
    fi
    at_least "$version" 3.0 || die "Kata $version is too old: 3.0 or newer is needed"
    case "$MODE $SHIMS" in
    nydus*runtime-rs*)
        at_least "$version" 3.32 || warn "Kata $version: its Rust runtime starts nydusd as a program from 3.32 on"
        ;;
    esac
}

# `at_least VERSION WANTED`
at_least() { [ "$(printf '%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# Kata's configuration with its drop-ins, and ours behind them, in a directory
# of our own: Kata's runtimes stay as they are.
install_shim() {
    local shim=$1 base dir=$PREFIX/kata/$1 file name
    base=$(shim_base "$shim")
    put "$dir/configuration.toml" 644 <"$ROOT$base"
    for file in "$ROOT$(dirname "$base")"/config.d/*.toml; do
        [ -f "$file" ] || continue
        name=$(basename "$file")
        put "$dir/config.d/$name" 644 <"$file"
    done
    from "config/kata/$MODE/$shim.toml" | put "$dir/config.d/$DROP_IN" 644
}
