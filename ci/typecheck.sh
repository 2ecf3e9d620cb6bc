#!/usr/bin/env bash
# Type-checks the library for other targets, with all features and with none; warnings are errors. For each system that has a
# backend its tests and the tool, too; where Clippy and the documentation depend most on the system, these as well.
#
# usage: ci/typecheck.sh [TARGET...]
# installs: rustc-web cargo-web rust-web-src rust-web-clippy gcc libc6-dev (Debian's Rust with the sources of std)
source "$(dirname "$0")/common.sh"
debian_rust
packages rust-web-clippy
export CARGO_TARGET_DIR="$FOLIO_CROSS/check" RUSTFLAGS="-D warnings" RUSTDOCFLAGS="-D warnings"
[ $# -gt 0 ] || set -- x86_64-pc-windows-gnu i686-pc-windows-msvc aarch64-pc-windows-msvc wasm32-unknown-unknown \
    aarch64-linux-android riscv64gc-unknown-linux-gnu aarch64-apple-darwin x86_64-apple-darwin aarch64-apple-ios \
    x86_64-unknown-freebsd x86_64-unknown-netbsd x86_64-unknown-openbsd x86_64-unknown-illumos
for target in "$@"; do
    for_target() { "$CARGO" "$1" --quiet -Zbuild-std --target "$target" "${@:2}"; }
    for_target check -p folio --all-features
    for_target check -p folio --no-default-features
    for_target check -p folio --no-default-features --features std,allow_exec
    case $target in
        # Of a system that is checked so for another processor.
        wasm32* | aarch64-pc-windows-msvc | x86_64-apple-darwin | aarch64-apple-ios) ;;
        *) for_target check -p folio --all-features --tests; for_target check -p folio-cli ;;
    esac
    # (The lint excepted does not see the `const` that is there, where thread-locals are made otherwise than on Linux.)
    case $target in
        x86_64-pc-windows-gnu | aarch64-apple-darwin) for_target clippy -p folio --all-features --tests -- -D warnings -A clippy::missing-const-for-thread-local ;;
    esac
    # Where it makes another strategy of code memory.
    [ "$target" != aarch64-apple-darwin ] || for_target check -p folio --no-default-features --features std,allow_exec --tests
    case $target in
        x86_64-pc-windows-gnu | aarch64-apple-darwin | x86_64-unknown-freebsd | wasm32*) for_target doc -p folio --all-features --no-deps ;;
    esac
    echo "typecheck: $target: clean"
done
