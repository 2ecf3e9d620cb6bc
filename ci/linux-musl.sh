#!/usr/bin/env bash
# Runs the tests of the library and the tool on musl, statically linked.
#
# installs: Debian's Rust (see common.sh), musl-tools
source "$(dirname "$0")/common.sh"
debian_rust
packages musl-tools
# Debian has no libunwind for musl. gcc's unwinder does, given the one function of glibc that Debian's build of it asks
# for: where the unwinding table of a program counter is.
glue="$FOLIO_CROSS/musl"
mkdir -p "$glue"
cat >"$glue/find.c" <<'C'
#define _GNU_SOURCE
#include <link.h>
#include <stddef.h>
#include <stdint.h>

/* As in glibc's <dlfcn.h>. */
struct found {
    unsigned long long flags;
    void *map_start, *map_end;
    struct link_map *link_map;
    void *eh_frame;
    unsigned long long reserved[7];
};

struct search {
    uintptr_t pc;
    struct found *found;
};

static int visit(struct dl_phdr_info *object, size_t size, void *data) {
    struct search *search = data;
    uintptr_t low = UINTPTR_MAX, high = 0;
    void *eh_frame = NULL;
    int holds = 0;
    (void)size;
    for (size_t index = 0; index < object->dlpi_phnum; index++) {
        const ElfW(Phdr) *header = &object->dlpi_phdr[index];
        uintptr_t start = object->dlpi_addr + header->p_vaddr, end = start + header->p_memsz;
        if (header->p_type == PT_GNU_EH_FRAME) eh_frame = (void *)start;
        if (header->p_type != PT_LOAD) continue;
        if (start < low) low = start;
        if (end > high) high = end;
        if (start <= search->pc && search->pc < end) holds = 1;
    }
    if (!holds || eh_frame == NULL) return 0;
    *search->found = (struct found){ .map_start = (void *)low, .map_end = (void *)high, .eh_frame = eh_frame };
    return 1;
}

int _dl_find_object(void *pc, struct found *found) {
    struct search search = { (uintptr_t)pc, found };
    return dl_iterate_phdr(visit, &search) ? 0 : -1;
}
C
musl-gcc -O2 -Wall -fPIC -c "$glue/find.c" -o "$glue/find.o"
rm -f "$glue/libfind.a"
ar rcs "$glue/libfind.a" "$glue/find.o"
# The unwinder asks weakly for threads; linked statically, they would be left out and it would race.
printf 'EXTERN(pthread_once pthread_key_create pthread_getspecific pthread_setspecific pthread_mutex_lock pthread_mutex_unlock)\nINPUT(-lgcc_eh -lfind)\n' \
    >"$glue/libunwind.a"
export CARGO_TARGET_DIR="$FOLIO_CROSS/musl-target" CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER=musl-gcc
flags="-Clink-self-contained=no -Lnative=$glue -Ctarget-feature=+crt-static -Crelocation-model=static"
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS="$flags" CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTDOCFLAGS="$flags"
"$CARGO" test -Zbuild-std --target x86_64-unknown-linux-musl -p folio -p folio-cli --features folio/allow_exec,folio/zerocopy,folio/serde --no-fail-fast "$@"
