# shellcheck shell=bash
# The services of the host. Sourced by install.sh.

# On the host itself, when we are in a container with its process ids.
on_host() {
    if [ -n "$ROOT" ]; then
        nsenter --target 1 --mount -- "$@"
    else
        "$@"
    fi
}

find_snapshotter() {
    local dir
    for dir in /usr/local/bin /usr/bin; do
        [ ! -x "$ROOT$dir/containerd-nydus-grpc" ] || return 0
    done
    warn "containerd-nydus-grpc is in neither /usr/local/bin nor /usr/bin: install nydus-snapshotter 0.15 or newer"
}

changed() { # PATTERN
    local path
    for path in ${CHANGED[@]+"${CHANGED[@]}"}; do
        # shellcheck disable=SC2053  # it is a pattern
        [[ $path != $1 ]] || return 0
    done
    return 1
}

restart_what_changed() {
    local snapshotter='' containerd=''
    ! changed '/etc/tidegate/nydus*' && ! changed '*/tidegate-snapshotter.service' || snapshotter=yes
    ! changed "$FRAGMENT" && ! changed "$CONTAINERD_CONFIG" || containerd=yes
    [ -n "$snapshotter$containerd" ] || return 0
    if [ -z "$RESTART" ] || [ -n "$DRY" ]; then
        [ -z "$snapshotter" ] || say "Not done yet: systemctl daemon-reload; systemctl enable --now tidegate-snapshotter"
        [ -z "$containerd" ] || say "Not done yet: systemctl restart containerd"
        return 0
    fi
    on_host systemctl daemon-reload
    if [ -n "$snapshotter" ] && [ "$ACTION" = install ]; then
        on_host systemctl enable tidegate-snapshotter.service
        on_host systemctl restart tidegate-snapshotter.service
    fi
    [ -z "$containerd" ] || on_host systemctl restart containerd.service
}
