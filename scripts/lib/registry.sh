# shellcheck shell=bash
# Debian's docker-registry on a free port of this machine. Source after
# common.sh.

REGISTRY=
REGISTRY_HOST=

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# `registry_start DIR`: afterwards REGISTRY_HOST is its host and port.
registry_start() {
    local dir=$1
    have docker-registry || die "docker-registry is missing: run scripts/install-deps test"
    mkdir -p "$dir"
    REGISTRY_HOST=127.0.0.1:$(free_port)
    cat >"$dir/config.yml" <<-CONFIG
	version: 0.1
	log:
	  level: warn
	storage:
	  filesystem:
	    rootdirectory: $dir/storage
	http:
	  addr: $REGISTRY_HOST
	CONFIG
    docker-registry serve "$dir/config.yml" </dev/null >"$dir/log" 2>&1 &
    REGISTRY=$!
    wait_until 30 registry_answers || die "docker-registry did not start: see $dir/log"
}
registry_answers() { curl -fsS -o /dev/null "http://$REGISTRY_HOST/v2/" 2>/dev/null; }

# `registry_push REPO FILE`: uploads a blob, named by its SHA-256.
registry_push() {
    local repo=$1 file=$2 digest place joint='?'
    digest=$(sha256sum "$file")
    digest=${digest%% *}
    place=$(curl -fsS -o /dev/null -X POST -w '%header{location}' \
        "http://$REGISTRY_HOST/v2/$repo/blobs/uploads/")
    case $place in *\?*) joint='&' ;; esac
    curl -fsS -o /dev/null -X PUT -H 'Content-Type: application/octet-stream' \
        --data-binary "@$file" "$place${joint}digest=sha256:$digest"
}

# `registry_config REPO`: nydusd's configuration of it.
registry_config() {
    cat <<-JSON
	{
	  "device": {"backend": {"type": "registry", "config":
	    {"scheme": "http", "host": "$REGISTRY_HOST", "repo": "$1"}}},
	  "mode": "direct"
	}
	JSON
}

# For traps too: whatever state the script is in.
registry_stop() {
    [ -n "$REGISTRY" ] || return 0
    kill -TERM "$REGISTRY" 2>/dev/null || true
    wait "$REGISTRY" 2>/dev/null || true
    REGISTRY=
}
