#!/usr/bin/env bash
# Runs the library's tests on another kernel or processor, in an emulated machine:
#
#   ci/linux-vm.sh x86_64        Linux 6.1: no PROCMAP_QUERY, no guard advice: every fallback
#   ci/linux-vm.sh aarch64       arm64 (user-mode emulation is not faithful about memory, a whole machine is)
#   ci/linux-vm.sh aarch64-16k   pages of 16 KiB, on Linux 6.12 of Debian 13: PROCMAP_QUERY, but no guard advice
#   ci/linux-vm.sh powerpc64le   pages of 64 KiB
#
# Names of tests behind it ("lib" for those inside the library, an example's for those inside it) let it run these alone.
#
# The machine holds the statically linked tests and busybox, runs them one after the other and powers itself off. The
# doc-tests and the tool's tests stay outside; FOLIO_TEST_ROUNDS shortens the long tests.
#
# installs: qemu-system-x86, -arm or -ppc, busybox-static, cpio, file; for other processors Debian's Rust (see common.sh)
# and a cross compiler
# downloads (not installed): Debian's kernel for the architecture, and its busybox-static
source "$(dirname "$0")/common.sh"
machine=${1:?which machine: x86_64, aarch64, aarch64-16k or powerpc64le}
shift
wanted=(--lib --tests)
if [ $# -gt 0 ]; then
    wanted=()
    for name in "$@"; do
        if [ "$name" = lib ]; then
            wanted+=(--lib)
        elif [ -f "examples/$name.rs" ]; then
            wanted+=(--example "$name")
        else
            wanted+=(--test "$name")
        fi
    done
fi
arch=${machine%-*} sources= flaw=
# QEMU goes on executing what lay behind the first 4 KiB of a larger page that is another now.
keeps="export FOLIO_KEEPS_TRANSLATIONS=1"
case $machine in
    x86_64)
        debian=amd64 image=linux-image-amd64 qemu="qemu-system-x86_64 -accel tcg -cpu max" console=ttyS0
        target=x86_64-unknown-linux-gnu strip=strip
        packages qemu-system-x86
        ;;
    aarch64 | aarch64-16k)
        debian=arm64 image=linux-image-arm64 console=ttyAMA0
        # Debian 12 has no kernel with pages of 16 KiB.
        [ "$machine" = aarch64 ] || { image=linux-image-arm64-16k sources="deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main"; }
        [ "$machine" = aarch64 ] || flaw=$keeps
        qemu="qemu-system-aarch64 -M virt -cpu max,pauth-impdef=on"
        target=aarch64-unknown-linux-gnu strip=aarch64-linux-gnu-strip
        packages qemu-system-arm gcc-aarch64-linux-gnu libc6-dev-arm64-cross
        ;;
    powerpc64le)
        debian=ppc64el image=linux-image-powerpc64le qemu="qemu-system-ppc64 -M pseries -cpu POWER9" console=hvc0 flaw=$keeps
        target=powerpc64le-unknown-linux-gnu strip=powerpc64le-linux-gnu-strip
        packages qemu-system-ppc gcc-powerpc64le-linux-gnu libc6-dev-ppc64el-cross
        ;;
    *) echo "linux-vm.sh: no such machine: $machine" >&2; exit 2 ;;
esac
packages cpio

# The kernel and busybox, of the machine's architecture, without making that one of this system's.
root="$FOLIO_CROSS/vm-$machine"
if ! ls "$root"/x/boot/vmlinu[xz]* >/dev/null 2>&1; then
    mkdir -p "$root"/apt/state/lists/partial "$root"/apt/cache/archives/partial
    : >"$root/apt/status"
    options=(-o "APT::Architecture=$debian" -o "APT::Architectures=$debian" -o "Dir::State=$root/apt/state"
        -o "Dir::State::status=$root/apt/status" -o "Dir::Cache=$root/apt/cache" -o APT::Sandbox::User=root)
    if [ -n "$sources" ]; then
        echo "$sources" >"$root/apt/sources.list"
        options+=(-o "Dir::Etc::SourceList=$root/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null)
    fi
    # A mirror in the middle of an update gives lists that do not fit together; what is needed may be there all the same.
    apt-get "${options[@]}" update -qq || apt-get "${options[@]}" update -qq || true
    kernel=$(apt-cache "${options[@]}" depends "$image" | sed -n 's/.*Depends: \(linux-image-6[^ ]*\).*/\1/p' | head -n 1)
    echo "downloading Debian packages (not installed): $kernel busybox-static, for $debian"
    (
        cd "$root"
        apt-get "${options[@]}" download -qq "$kernel" busybox-static
        for package in *.deb; do dpkg-deb -x "$package" x; done
        rm -rf ./*.deb x/lib/modules x/usr/lib/modules
    )
fi
kernel=$(find "$root/x/boot" -name "vmlinu[xz]*" | head -n 1)
busybox=$(find "$root/x" -path '*/bin/busybox' -type f | head -n 1)

# The tests, statically linked.
build=(cargo)
if [ "$arch" = x86_64 ]; then
    export RUSTFLAGS="-Ctarget-feature=+crt-static"
else
    debian_rust
    build=("$CARGO" -Zbuild-std)
    upper=$(echo "$target" | tr a-z- A-Z_)
    export "CARGO_TARGET_${upper}_LINKER=$arch-linux-gnu-gcc" "CARGO_TARGET_${upper}_RUSTFLAGS=-Ctarget-feature=+crt-static"
fi
export CARGO_TARGET_DIR="$FOLIO_CROSS/vm-$arch/target"
command=${build[0]}
built=$("$command" test "${build[@]:1}" --target "$target" -p folio --features allow_exec,zerocopy,serde "${wanted[@]}" --no-run --message-format=json)
programs=$(grep '"profile":{[^}]*"test":true' <<<"$built" | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | sort -u)
[ -n "$programs" ]
# Protection keys, which the emulated processor has: for code, too, where pages may be written and executed.
case "$machine ${*:-code_by_thread}" in
    x86_64*code_by_thread*)
        built=$(cargo test --target "$target" -p folio --no-default-features --features std,allow_exec \
            --lib --test code_by_thread --test code_memory --no-run --message-format=json)
        more=$(grep '"profile":{[^}]*"test":true' <<<"$built" | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | sort -u)
        ;;
    *) more= ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/disk/{bin,proc,sys,dev,tmp,t}
cp "$busybox" "$work/disk/bin/busybox"
for program in $programs; do
    name=$(basename "$program")
    "$strip" -g -o "$work/disk/t/${name%-*}" "$program"
done
for program in $more; do
    name=$(basename "$program")
    "$strip" -g -o "$work/disk/t/${name%-*}-xw" "$program"
done
cat >"$work/disk/init" <<INIT
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mkdir -p /dev/shm
mount -t tmpfs shm /dev/shm
ifconfig lo up
uname -a
export FOLIO_SKIPPED=/tmp/skipped FOLIO_TEST_ROUNDS=${FOLIO_TEST_ROUNDS:-3} PROPTEST_CASES=12 RUST_BACKTRACE=0
$flaw
cd /tmp
failed=0
for test in /t/*; do
    echo "     Running \$test"
    case \$test in
        # Of the library's own, what is different.
        /t/folio-xw) \$test code:: || failed=1 ;;
        *) \$test || failed=1 ;;
    esac
done
[ ! -f /tmp/skipped ] || sed 's/^/SKIPPED /' /tmp/skipped
echo "FAILED=\$failed"
poweroff -f
INIT
chmod +x "$work/disk/init" "$work"/disk/t/*
(cd "$work/disk" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/disk.gz"
# shellcheck disable=SC2086
timeout "${FOLIO_VM_TIMEOUT:-2000}" $qemu -nodefaults -m 2048 -smp 2 -no-reboot -display none -serial stdio \
    -kernel "$kernel" -initrd "$work/disk.gz" -append "console=$console quiet panic=-1 hugepages=16" </dev/null |
    tr -d '\r' | tee "$work/log"
sed -n 's/^SKIPPED //p' "$work/log" >>"${FOLIO_SKIPPED:-/dev/null}"
grep -q '^FAILED=0$' "$work/log"
