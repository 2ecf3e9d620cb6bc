#!/usr/bin/env bash
# The tests once more, as an ordinary user: builds as root, and runs what was built as nobody.
#
# needs: root, setpriv (util-linux), and a target folder that nobody may read; says so and does nothing otherwise.
source "$(dirname "$0")/common.sh"
if [ "$(id -u)" -ne 0 ]; then
    echo "skipped: user.sh: this is an ordinary user already: test.sh has run the tests as one"
    exit 0
fi
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
chmod 755 "$home"
mkdir -m 1777 "$home/tmp"
# An environment that names nothing of root's.
nobody() {
    env -i PATH=/usr/bin:/bin HOME="$home/tmp" TMPDIR="$home/tmp" RUST_BACKTRACE=1 FOLIO_SKIPPED="$home/tmp/skipped" \
        setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs "$@"
}
failed=0
while read -r program; do
    if ! nobody test -x "$program"; then
        echo "skipped: user.sh: nobody may not reach $program"
        echo "user.sh: an ordinary user may not reach the target folder" >>"${FOLIO_SKIPPED:-/dev/null}"
        exit 0
    fi
    echo "     Running $program"
    (cd "$home/tmp" && nobody "$program" </dev/null) || failed=1
done < <(cargo test --workspace --no-run --message-format=json 2>/dev/null |
    grep '"profile":{[^}]*"test":true' | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | sort -u)
[ ! -f "$home/tmp/skipped" ] || cat "$home/tmp/skipped" >>"${FOLIO_SKIPPED:-/dev/null}"
exit "$failed"
