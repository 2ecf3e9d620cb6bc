#!/usr/bin/env bash
# Runs the parts of the library that threads contend for under a model checker (loom): every order of their steps.
#
# needs: Rust
source "$(dirname "$0")/common.sh"
export CARGO_TARGET_DIR="$CARGO_TARGET_DIR/models" RUSTFLAGS="--cfg loom"
cargo test --release --manifest-path ci/models/Cargo.toml "$@"
