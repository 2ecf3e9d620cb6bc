#!/usr/bin/env bash
# Format, lints and documentation; warnings are errors.
source "$(dirname "$0")/common.sh"
cargo fmt --all --check
cargo clippy --workspace --all-targets --quiet -- -D warnings
cargo clippy -p folio --no-default-features --quiet -- -D warnings
RUSTFLAGS="--cfg fuzzing" CARGO_TARGET_DIR="$CARGO_TARGET_DIR/fuzz-check" cargo check --quiet --manifest-path fuzz/Cargo.toml
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
RUSTDOCFLAGS="-D warnings" cargo doc -p folio --no-deps --no-default-features --quiet
echo "lint: clean"
