# Sourced by the scripts beside it.
#
# FOLIO_CROSS    where what other platforms need is kept between runs (default: a folder in the temporary one)
# CARGO_TARGET_DIR   kept out of the repository

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export FOLIO_CROSS="${FOLIO_CROSS:-${TMPDIR:-/tmp}/folio-cross}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${TMPDIR:-/tmp}/folio-target}"
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"
mkdir -p "$FOLIO_CROSS"

# Installs the Debian packages named, if any is missing, and says so. Two scripts may ask at once.
packages() {
    local missing=() name
    for name in "$@"; do
        dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
    done
    [ ${#missing[@]} -eq 0 ] && return
    echo "installing Debian packages: ${missing[*]}"
    (
        flock 9
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq || apt-get update -qq || true
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    ) 9>"$FOLIO_CROSS/apt.lock"
}

# Debian's Rust, which can build std for any target: rustup's has only its own.
debian_rust() {
    packages rustc-web cargo-web rust-web-src gcc libc6-dev
    # In front of rustup's: cargo looks for its subcommands (clippy) along the path.
    export PATH="/usr/bin:$PATH" RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc RUSTC_BOOTSTRAP=1
    CARGO=/usr/bin/cargo
}
