#!/usr/bin/env bash
# Type-checks the library for other targets, with and without default features; warnings are errors. For all that have
# a backend the tests and the tool, too.
#
# usage: ci/typecheck.sh [TARGET...]
# installs: rustc-web cargo-web rust-web-src gcc libc6-dev (Debian's Rust with the sources of std)
source "$(dirname "$0")/common.sh"
debian_rust
export CARGO_TARGET_DIR="$FOLIO_CROSS/check" RUSTFLAGS="-D warnings"
[ $# -gt 0 ] || set -- x86_64-pc-windows-gnu wasm32-unknown-unknown x86_64-unknown-freebsd x86_64-unknown-netbsd \
    x86_64-unknown-openbsd x86_64-unknown-illumos
for target in "$@"; do
    check() { "$CARGO" check --quiet -Zbuild-std --target "$target" "$@"; }
    check -p folio
    check -p folio --no-default-features
    case $target in
        *windows* | *bsd | *illumos) check -p folio --tests; check -p folio-cli ;;
    esac
    echo "typecheck: $target: clean"
done
