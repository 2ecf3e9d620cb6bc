#!/usr/bin/env bash
# `cranelift-jit` with its memory from folio, beside its own providers: format, lints, tests, and a short run of the comparison, of which
# the ratios mean nothing. (For real ones: `cargo run --release` there.)
#
# needs: the Rust that cranelift/Cargo.toml names, which is newer than the library's
source "$(dirname "$0")/common.sh"
export CARGO_TARGET_DIR="$CARGO_TARGET_DIR/cranelift"
cd cranelift
cargo fmt --check
cargo clippy --all-targets --quiet -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --quiet
cargo test --no-fail-fast "$@"
cargo run --quiet -- --short
