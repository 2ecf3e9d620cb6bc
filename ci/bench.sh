#!/usr/bin/env bash
# A short run of each benchmark, so that none rots: the ratios mean nothing. For real ones see bench/README.md.
source "$(dirname "$0")/common.sh"
cargo run --quiet --release -p folio-bench -- --short --json "$CARGO_TARGET_DIR/bench.json"
