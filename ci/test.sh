#!/usr/bin/env bash
# The tests on this machine: README's second command. Arguments go to cargo.
source "$(dirname "$0")/common.sh"
cargo test --workspace --no-fail-fast "$@"
