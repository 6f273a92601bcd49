#!/usr/bin/env bash
# What the DaemonSets run: installs to or removes from the host below /host, says
# so in a label of the node, and stays, since a DaemonSet's pods have to.
#
# usage: entrypoint.sh install|cleanup
#
# NODE_NAME names the node, TIDEGATE_INSTALL_OPTIONS has options for install.sh.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
HOST=${TIDEGATE_HOST_ROOT:-/host}
ACCOUNT=${TIDEGATE_SERVICE_ACCOUNT:-/var/run/secrets/kubernetes.io/serviceaccount}
DONE=${TIDEGATE_DONE_FILE:-/tmp/done}

# `label VALUE`: JSON for the value of the node's label; null removes it.
label() {
    local address=https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT
    # Read from a file: it is in no process list.
    curl --silent --show-error --fail --retry 5 --retry-connrefused --output /dev/null \
        --cacert "$ACCOUNT/ca.crt" \
        --header @<(printf 'Authorization: Bearer %s\n' "$(cat "$ACCOUNT/token")") \
        --header 'Content-Type: application/merge-patch+json' \
        --request PATCH --data "{\"metadata\":{\"labels\":{\"tidegate.dev/runtime\":$1}}}" \
        "$address/api/v1/nodes/$NODE_NAME"
}

read -r -a options <<<"${TIDEGATE_INSTALL_OPTIONS:-}"
case ${1:-} in
install)
    "$HERE/install.sh" --root "$HOST" ${options[@]+"${options[@]}"}
    label '"installed"'
    ;;
cleanup)
    # A second run of this pod finds nothing.
    [ ! -e "$HOST/opt/tidegate/state/record" ] ||
        "$HERE/install.sh" --root "$HOST" --uninstall --restart
    label null
    ;;
*)
    sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
touch "$DONE"
trap 'exit 0' TERM INT
while :; do
    sleep infinity &
    wait $!
done
