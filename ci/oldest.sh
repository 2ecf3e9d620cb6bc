#!/usr/bin/env bash
# Builds and tests the library on the oldest Rust that it promises: Debian's own 1.85, unpacked aside and not installed.
#
# downloads (not installed): rustc-web cargo-web libstd-rust-web-1.85 libstd-rust-web-dev libllvm19 libpcre3
source "$(dirname "$0")/common.sh"
root="$FOLIO_CROSS/oldest"
if [ ! -x "$root/x/usr/bin/rustc" ]; then
    mkdir -p "$root"
    (
        cd "$root"
        find_version() { apt-cache madison rustc-web | awk '$3 ~ /^1\.85/ { print $3; exit }'; }
        version=$(find_version)
        [ -n "$version" ] || { flock 9; apt-get update -qq || true; version=$(find_version); } 9>"$FOLIO_CROSS/apt.lock"
        echo "downloading Debian packages (not installed): Rust $version"
        apt-get download -qq -o APT::Sandbox::User=root "rustc-web=$version" "cargo-web=$version" \
            "libstd-rust-web-1.85=$version" "libstd-rust-web-dev=$version" libllvm19 libpcre3
        for package in *.deb; do dpkg-deb -x "$package" x; done
        rm -f ./*.deb
    )
fi
usr="$root/x/usr"
export LD_LIBRARY_PATH="$usr/lib/x86_64-linux-gnu:$usr/lib:$root/x/lib/x86_64-linux-gnu"
export RUSTC="$usr/bin/rustc" CARGO_TARGET_DIR="$root/target" RUSTFLAGS="-D warnings"
"$RUSTC" --version
"$usr/bin/cargo" check --quiet -p folio --no-default-features
"$usr/bin/cargo" check --quiet -p folio --no-default-features --features std,allow_exec
"$usr/bin/cargo" test -p folio --features allow_exec,zerocopy,serde --lib --tests
