#!/usr/bin/env bash
# Builds, lints and tests the example in wasmi-guest/: process buffers for the memory of a wasm machine.
#
# needs: Rust
source "$(dirname "$0")/common.sh"
export CARGO_TARGET_DIR="$CARGO_TARGET_DIR/wasmi"
cargo fmt --manifest-path wasmi-guest/Cargo.toml --check
cargo clippy --quiet --manifest-path wasmi-guest/Cargo.toml --all-targets -- -D warnings
cargo test --manifest-path wasmi-guest/Cargo.toml "$@"
