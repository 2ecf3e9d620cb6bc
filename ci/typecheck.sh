#!/usr/bin/env bash
# Type-checks the library for other targets, with and without default features; warnings are errors. For Windows the tests
# and the tool, too; for Apple's systems the tests.
#
# usage: ci/typecheck.sh [TARGET...]
# installs: rustc-web cargo-web rust-web-src gcc libc6-dev (Debian's Rust with the sources of std)
source "$(dirname "$0")/common.sh"
debian_rust
export CARGO_TARGET_DIR="$FOLIO_CROSS/check" RUSTFLAGS="-D warnings"
[ $# -gt 0 ] || set -- x86_64-pc-windows-gnu wasm32-unknown-unknown aarch64-apple-darwin x86_64-apple-darwin \
    aarch64-apple-ios
for target in "$@"; do
    check() { "$CARGO" check --quiet -Zbuild-std --target "$target" "$@"; }
    check -p folio
    check -p folio --no-default-features
    case $target in
        *windows*) check -p folio --tests; check -p folio-cli ;;
        *apple*) check -p folio --tests ;;
    esac
    echo "typecheck: $target: clean"
done
