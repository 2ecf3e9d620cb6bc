#!/usr/bin/env bash
# Runs the library's and the tool's tests on Windows: x86-64, GNU, under Wine without a display.
#
# installs: Debian's Rust (see common.sh), gcc-mingw-w64-x86-64, wine64, wine
source "$(dirname "$0")/common.sh"
debian_rust
packages gcc-mingw-w64-x86-64 wine64 wine
unset DISPLAY
export WINEPREFIX="$FOLIO_CROSS/wine" WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml="
export WINEPATH="$FOLIO_CROSS/wine-dll"

# Wine 8 has no bcryptprimitives.dll, of which Rust's std needs one function: without it every program ends at once, with
# status 53 and no word. This one hands the call on to the function that Wine has.
if [ ! -f "$WINEPATH/bcryptprimitives.dll" ]; then
    mkdir -p "$WINEPATH"
    cat >"$WINEPATH/prng.c" <<'C'
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T length) {
    while (length > 0) {
        ULONG part = length > 1 << 20 ? 1 << 20 : (ULONG)length;
        if (!SystemFunction036(buffer, part)) return FALSE;
        buffer += part;
        length -= part;
    }
    return TRUE;
}
C
    x86_64-w64-mingw32-gcc -shared -O2 -s -o "$WINEPATH/bcryptprimitives.dll" "$WINEPATH/prng.c" -ladvapi32
fi
if [ ! -f "$WINEPREFIX/system.reg" ]; then
    mkdir -p "$WINEPREFIX"
    /usr/lib/wine/wine64 wineboot -i >/dev/null 2>&1 || true
    /usr/lib/wine/wineserver -w || true
fi
export CARGO_TARGET_DIR="$FOLIO_CROSS/windows"
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER=/usr/lib/wine/wine64
"$CARGO" test -Zbuild-std --target x86_64-pc-windows-gnu -p folio -p folio-cli --features folio/allow_exec,folio/zerocopy,folio/serde --no-fail-fast "$@"
