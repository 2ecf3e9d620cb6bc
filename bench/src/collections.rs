//! Memory for collections: touched, and under a hash table; what is in memory is printed beside.

use crate::measure::{Bench, Contender};
use allocator_api2::alloc::{Allocator, Global, Layout};
use folio::PageAllocator;
use hashbrown::{DefaultHashBuilder, HashMap};
use std::hint::black_box;
use std::ptr::{self, NonNull};

const MIB: usize = 1 << 20;
const HUGE: usize = 2 * MIB;

/// A byte of each page.
fn touch(place: *mut u8, len: usize) {
    for at in (0..len).step_by(4096) {
        // SAFETY: inside memory of the measurement's own, of that length.
        unsafe { place.wrapping_add(at).write_volatile(1) };
    }
}

fn bare(len: usize) {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: at a place of the kernel's choice.
    let whole = unsafe { libc::mmap(ptr::null_mut(), len + HUGE, rights, flags, -1, 0) };
    assert_ne!(whole, libc::MAP_FAILED);
    let first = whole.addr().next_multiple_of(HUGE);
    let aligned = whole.with_addr(first);
    // SAFETY: the mapping made above, to which nobody has references.
    let advised = unsafe { libc::madvise(aligned, len, libc::MADV_HUGEPAGE) };
    assert_eq!(advised, 0);
    touch(aligned.cast(), len);
    // SAFETY: as above.
    let done = unsafe { libc::munmap(whole, len + HUGE) };
    assert_eq!(done, 0);
}

fn come_and_go(allocator: PageAllocator, len: usize) {
    let layout = Layout::from_size_align(len, 1).unwrap();
    let place: NonNull<u8> = allocator.allocate(layout).unwrap().cast();
    touch(black_box(place.as_ptr()), len);
    // SAFETY: given for this layout, and used no more.
    unsafe { allocator.deallocate(place, layout) };
}

pub(crate) fn run(bench: &mut Bench) {
    let sizes = [("64 KiB", MIB / 16), ("1 MiB", MIB), ("8 MiB", 8 * MIB), ("256 MiB", 256 * MIB)];
    for (name, len) in sizes {
        bench.with_memory(
            format!("allocate, touch and free, {name}"),
            vec![
                Contender::new("limit: mmap, aligned, MADV_HUGEPAGE", || bare(black_box(len))),
                Contender::aiming("folio::PageAllocator", 1.05, || {
                    come_and_go(PageAllocator::new(), black_box(len))
                }),
                Contender::new("folio::PageAllocator, no huge pages", || {
                    come_and_go(PageAllocator::new().huge_pages(false), black_box(len))
                }),
                Contender::new("vec![0; n]", || {
                    let mut bytes = vec![0_u8; black_box(len)];
                    touch(bytes.as_mut_ptr(), len);
                    drop(bytes);
                }),
            ],
        );
    }
    grow(bench);
    maps(bench);
}

/// From 16 MiB to 256 MiB by doubling, all of it touched.
fn grow(bench: &mut Bench) {
    fn doubling(allocator: impl Allocator) {
        let mut layout = Layout::from_size_align(16 * MIB, 8).unwrap();
        let mut place: NonNull<u8> = allocator.allocate(layout).unwrap().cast();
        touch(place.as_ptr(), layout.size());
        while layout.size() < 256 * MIB {
            let next = Layout::from_size_align(2 * layout.size(), 8).unwrap();
            // SAFETY: given for this layout.
            place = unsafe { allocator.grow(place, layout, next) }.unwrap().cast();
            // SAFETY: inside the allocation.
            touch(unsafe { place.add(layout.size()) }.as_ptr(), layout.size());
            layout = next;
        }
        // SAFETY: as above, and used no more.
        unsafe { allocator.deallocate(place, layout) };
    }
    bench.with_memory(
        "grow from 16 MiB to 256 MiB, touched".to_owned(),
        vec![
            Contender::new("limit: mmap of 256 MiB, aligned, MADV_HUGEPAGE", || bare(256 * MIB)),
            Contender::new("folio::PageAllocator, reserved", || {
                doubling(PageAllocator::new().reserved(256 * MIB))
            }),
            Contender::new("folio::PageAllocator", || doubling(PageAllocator::new())),
            Contender::new("the default allocator", || doubling(Global)),
        ],
    );
}

fn fill<A: Allocator>(allocator: A, entries: u64) -> HashMap<u64, u64, DefaultHashBuilder, A> {
    let mut map = HashMap::with_hasher_in(DefaultHashBuilder::default(), allocator);
    for number in 0..entries {
        map.insert(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), number);
    }
    map
}

fn look_up<A: Allocator>(map: &HashMap<u64, u64, DefaultHashBuilder, A>, entries: u64) -> u64 {
    (0..1_000_000_u64.min(entries))
        .map(|n| map[&((n * 7919 % entries).wrapping_mul(0x9e37_79b9_7f4a_7c15))])
        .sum()
}

fn maps(bench: &mut Bench) {
    let (name, entries) = if bench.is_short() { ("10 k", 10_000) } else { ("10 M", 10_000_000) };
    bench.few(
        format!("HashMap of {name} u64, filled from empty and dropped"),
        vec![
            Contender::new("limit: the default allocator", || fill(Global, black_box(entries))),
            Contender::new("in pages", || fill(PageAllocator::new(), black_box(entries))),
        ],
    );
    let group = format!("a million look-ups in a HashMap of {name} u64");
    if !bench.wants(&group) {
        return;
    }
    let (default, pages) = (fill(Global, entries), fill(PageAllocator::new(), entries));
    bench.few(
        group,
        vec![
            Contender::new("limit: the default allocator", || look_up(&default, entries)),
            Contender::new("in pages", || look_up(&pages, entries)),
        ],
    );
}
