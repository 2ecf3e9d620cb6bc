#!/usr/bin/env bash
# Runs the library's tests as 32-bit programs, which an x86-64 machine runs itself. (Those of the tool look at programs of the
# machine, which have 64 bits.)
#
# installs: Debian's Rust (see common.sh), gcc-i686-linux-gnu, libc6-dev-i386-cross, libc6-i386, lib32gcc-s1 (never
# gcc-multilib: it excludes every cross compiler)
source "$(dirname "$0")/common.sh"
debian_rust
packages gcc-i686-linux-gnu libc6-dev-i386-cross libc6-i386 lib32gcc-s1
export CARGO_TARGET_DIR="$FOLIO_CROSS/x86" CARGO_TARGET_I686_UNKNOWN_LINUX_GNU_LINKER=i686-linux-gnu-gcc
"$CARGO" test -Zbuild-std --target i686-unknown-linux-gnu -p folio --features allow_exec,zerocopy,serde --no-fail-fast "$@"
