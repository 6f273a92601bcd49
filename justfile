# The same names as in scripts/, for those who like `just`.

# List the recipes.
default:
    @just --list

# From nothing to a guest that runs Python out of a served image.
quickstart *args:
    scripts/quickstart {{ args }}

# Every check; --short fuzzes for seconds only.
test *args:
    scripts/test {{ args }}

# Fuzz targets, each for a while: just fuzz --seconds 60
fuzz *args:
    scripts/fuzz {{ args }}

# Benchmarks in benches/.
bench *args:
    scripts/bench {{ args }}

# Time until a sandbox's daemon is ready, against nydusd.
bench-start *args:
    scripts/bench-start {{ args }}

# Starts from an empty cache over a slow network, against nydusd.
bench-cold-start *args:
    scripts/bench-cold-start {{ args }}

# Faults of a remote source, mixed at random: just chaos-sources --seconds 600
chaos-sources *args:
    scripts/chaos-sources {{ args }}

# Hours of mounts and mixed load, and whether anything grows: just soak --seconds 3600
soak *args:
    scripts/soak {{ args }}

# Build nydus-rs and virtiofsd to compare with.
peers:
    scripts/peers

# Install what building, testing and trying need.
install-deps *groups:
    scripts/install-deps {{ groups }}
