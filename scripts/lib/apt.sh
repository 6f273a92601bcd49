# shellcheck shell=bash
# Debian packages: only what is missing, the index only when it is needed.

export DEBIAN_FRONTEND=noninteractive
BACKPORTS=/etc/apt/sources.list.d/tidegate-backports.sources
APT_INDEX_IS_FRESH=

apt_is_installed() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

apt_refresh() {
    [ -z "$APT_INDEX_IS_FRESH" ] || return 0
    say "Refreshing the package index"
    apt-get update -q >&2 </dev/null
    APT_INDEX_IS_FRESH=yes
}

apt_must_be_root() {
    [ "$(id -u)" = 0 ] || die "These packages are missing and installing them needs root: $*"
}

# Installs the named packages that are not there yet.
apt_need() {
    local package missing=()
    for package in "$@"; do
        apt_is_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    apt_must_be_root "${missing[@]}"
    apt_refresh
    say "Installing: ${missing[*]}"
    apt-get install -q -y --no-install-recommends "${missing[@]}" >&2 </dev/null
}

# Adds bookworm-backports unless some source already has it.
apt_need_backports() {
    # shellcheck disable=SC2016  # apt expands these
    if ! apt-get indextargets --format '$(CODENAME) $(RELEASE) $(SUITE)' 2>/dev/null |
        grep -q bookworm-backports; then
        apt_must_be_root "(the source bookworm-backports)"
        say "Adding the source bookworm-backports: $BACKPORTS"
        cat >"$BACKPORTS" <<-SOURCES
		Types: deb
		URIs: http://deb.debian.org/debian
		Suites: bookworm-backports
		Components: main
		Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
		SOURCES
        APT_INDEX_IS_FRESH=
    fi
    apt_refresh
}

# `apt_need_from_backports PACKAGE OLDEST`: at least that version, else newest.
apt_need_from_backports() {
    local version
    version=$(dpkg-query -W -f='${Version}' "$1" 2>/dev/null || true)
    if apt_is_installed "$1" && dpkg --compare-versions "$version" ge "$2"; then
        return 0
    fi
    apt_must_be_root "$1"
    apt_need_backports
    say "Installing from bookworm-backports: $1"
    apt-get install -q -y --no-install-recommends -t bookworm-backports "$1" >&2 </dev/null
}
