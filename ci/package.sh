#!/usr/bin/env bash
# What would be published: the packages of the library and the tool build by themselves, and the library with the oldest
# versions of its direct dependencies that it admits.
source "$(dirname "$0")/common.sh"
# The tool's package is built upon the library's, which cargo unpacks and compiles once for each version number and never again:
# what an earlier run left has to go.
rm -rf "${CARGO_HOME:-$HOME/.cargo}"/registry/{src,cache,index}/-* "$CARGO_TARGET_DIR"/packages/debug/.fingerprint/folio-*
CARGO_TARGET_DIR="$CARGO_TARGET_DIR/packages" cargo package --quiet --allow-dirty -p folio -p folio-cli
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r Cargo.toml src examples README.md "$work"
cd "$work"
# The library alone: what the other members need must not raise its dependencies.
sed -i 's/^members = .*/members = ["."]/' Cargo.toml
export RUSTC_BOOTSTRAP=1
cargo -Zdirect-minimal-versions generate-lockfile
CARGO_TARGET_DIR="$CARGO_TARGET_DIR/minimal" cargo check --quiet -p folio --features allow_exec,zerocopy,serde
CARGO_TARGET_DIR="$CARGO_TARGET_DIR/minimal" cargo check --quiet -p folio --no-default-features
echo "package: clean"
