#!/usr/bin/env bash
# The library's tests with other features than those of the whole workspace, which unites to all of them: the default ones, without
# anything that executes; and pages that can be written and executed at once, which take the absence of `deny_xw`.
source "$(dirname "$0")/common.sh"
cargo test -p folio --no-fail-fast "$@"
both=(--no-default-features --features "std,allow_exec" --no-fail-fast)
cargo test -p folio "${both[@]}" --lib "$@" -- pages code
cargo test -p folio "${both[@]}" --test exec --test pages --test code_memory --test code_by_thread --test code_policy "$@"
cargo test -p folio "${both[@]}" --doc "$@" -- pages code
