# shellcheck shell=bash
# Source after common.sh.

# `python_with MODULE…`: a python3 that has these modules, the system's if the
# first on the PATH is another one without them.
python_with() {
    local candidate
    for candidate in python3 /usr/bin/python3; do
        if "$candidate" -c "import $(IFS=,; echo "$*")" 2>/dev/null; then
            printf '%s\n' "$candidate"
            return 0
        fi
    done
    die "python3 with the modules $* is missing: run scripts/install-deps test"
}
