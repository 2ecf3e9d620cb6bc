#!/usr/bin/env bash
# Fuzzes each target for some seconds (default 10). What it finds lies in fuzz/artifacts; what is worth keeping goes into
# fuzz/corpus, which the ordinary tests replay.
#
# usage: ci/fuzz.sh [SECONDS]
# needs: Rust and a C++ compiler. Without cargo-fuzz: the flags are those it would pass.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-10}
target=$(rustc -vV | sed -n 's/^host: //p')
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${TMPDIR:-/tmp}/folio-target}/fuzz"
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address -Cdebug-assertions -Ccodegen-units=1"
cargo build --manifest-path fuzz/Cargo.toml --release --target "$target"
for name in maps smaps copies slices; do
    found=$(mktemp -d)
    # New inputs go to a folder of their own: the corpus in the repository is kept small by hand.
    mkdir -p fuzz/artifacts
    status=0
    "$CARGO_TARGET_DIR/$target/release/$name" -max_total_time="$seconds" -artifact_prefix=fuzz/artifacts/ \
        -print_final_stats=1 "$found" "fuzz/corpus/$name" >"$found.log" 2>&1 || status=$?
    echo "fuzz: $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$found.log") inputs"
    [ "$status" -eq 0 ] || tail -30 "$found.log"
    rm -rf "$found" "$found.log"
    [ "$status" -eq 0 ] || { echo "fuzz: $name found a failure, see fuzz/artifacts" >&2; exit 1; }
done
