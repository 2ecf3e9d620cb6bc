#!/usr/bin/env bash
# Runs what threads share (buffers, slices, guests) under ThreadSanitizer, the standard library included: as far as it can see, which is
# not into assembly.
#
# usage: ci/tsan.sh [TEST...]
# installs: Debian's Rust (see common.sh)
# needs: x86-64; rustup's stable toolchain, for the sanitizer's own part and the linker
source "$(dirname "$0")/common.sh"
library=$(rustc +stable --print sysroot)/lib/rustlib/x86_64-unknown-linux-gnu
runtime=$library/lib/librustc-stable_rt.tsan.a
[ -f "$runtime" ] || { echo "tsan.sh: rustup's stable toolchain is not here: nothing is run" >&2; exit 1; }
debian_rust
export CARGO_TARGET_DIR="$CARGO_TARGET_DIR/tsan" TSAN_OPTIONS="halt_on_error=1 ${TSAN_OPTIONS:-}"
# The sanitizer's part is linked by hand: Debian's Rust has none.
flags=(-Zsanitizer=thread -Zexternal-clangrt "-Clink-arg=-B$library/bin/gcc-ld" -Clink-arg=-fuse-ld=lld)
flags+=(-Clink-arg=-Wl,--whole-archive "-Clink-arg=$runtime" -Clink-arg=-Wl,--no-whole-archive -Clink-arg=-rdynamic)
for name in m dl pthread rt gcc_s c; do flags+=("-Clink-arg=-l$name"); done
export RUSTFLAGS="${flags[*]}"
# The tool slows everything down.
export FOLIO_TEST_ROUNDS="${FOLIO_TEST_ROUNDS:-20}"
[ $# -gt 0 ] || set -- guests guests_end slices_shared
"$CARGO" test -Zbuild-std --target x86_64-unknown-linux-gnu -p folio --features allow_exec "${@/#/--test=}"
