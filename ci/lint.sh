#!/usr/bin/env bash
# Format, lints and documentation; warnings are errors.
source "$(dirname "$0")/common.sh"
cargo fmt --all --check
cargo clippy --workspace --all-targets --quiet -- -D warnings
# The features that the workspace does not unite to: none, the default ones, writing and executing at once.
cargo clippy -p folio --no-default-features --quiet -- -D warnings
cargo clippy -p folio --all-targets --quiet -- -D warnings
cargo clippy -p folio --no-default-features --features allow_exec --quiet -- -D warnings
cargo clippy -p folio --no-default-features --features std,allow_exec --all-targets --quiet -- -D warnings
RUSTFLAGS="--cfg fuzzing" CARGO_TARGET_DIR="$CARGO_TARGET_DIR/fuzz-check" cargo check --quiet --manifest-path fuzz/Cargo.toml
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
RUSTDOCFLAGS="-D warnings" cargo doc -p folio --no-deps --no-default-features --quiet
RUSTDOCFLAGS="-D warnings" cargo doc -p folio --no-deps --quiet
RUSTDOCFLAGS="-D warnings" cargo doc -p folio --no-deps --no-default-features --features std,allow_exec --quiet
echo "lint: clean"
