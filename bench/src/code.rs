//! Code memory, beside the bare calls of each strategy, a mapping for each function, and `jit-allocator`.

use crate::files::anonymous;
use crate::measure::{Bench, Contender};
use folio::{CodeMemory, CodeOptions, CodeStrategy};
use std::hint::black_box;
use std::ptr;

/// Returns at once, on x86-64; it is not called.
const RETURN: u8 = 0xc3;

const PAGE: usize = 4096;

fn protect(place: *mut libc::c_void, len: usize, rights: i32) {
    // SAFETY: pages of the measurement's own, to which nobody has references.
    let done = unsafe { libc::mprotect(place, len, rights) };
    assert_eq!(done, 0);
}

fn write(place: *mut libc::c_void, code: &[u8]) {
    // SAFETY: pages of the measurement's own, which can be written, and are as long at least.
    unsafe { ptr::copy_nonoverlapping(code.as_ptr(), place.cast(), code.len()) };
}

fn unmap(place: *mut libc::c_void, len: usize) {
    // SAFETY: as above.
    let done = unsafe { libc::munmap(place, len) };
    assert_eq!(done, 0);
}

fn area(strategy: CodeStrategy, capacity: usize) -> CodeMemory {
    CodeOptions::new(capacity).strategy(strategy).map().unwrap()
}

/// Two views of one file, as long as the process.
fn twice(len: usize) -> (*mut libc::c_void, *mut libc::c_void) {
    // SAFETY: a name that ends with a zero.
    let file = unsafe { libc::memfd_create(c"code".as_ptr(), libc::MFD_CLOEXEC) };
    // SAFETY: a descriptor of our own.
    let made = unsafe { libc::ftruncate(file, len as libc::off_t) };
    assert_eq!(made, 0);
    let view = |rights| {
        // SAFETY: a new mapping at a place of the kernel's choice.
        let place = unsafe { libc::mmap(ptr::null_mut(), len, rights, libc::MAP_SHARED, file, 0) };
        assert_ne!(place, libc::MAP_FAILED);
        place
    };
    let views = (view(libc::PROT_READ | libc::PROT_WRITE), view(libc::PROT_READ | libc::PROT_EXEC));
    // SAFETY: as above, and used no more.
    unsafe { libc::close(file) };
    views
}

fn publish(code: &CodeMemory, bytes: &[u8]) -> folio::CodePiece {
    let mut draft = code.draft(bytes.len()).unwrap();
    draft.copy_from_slice(black_box(bytes));
    draft.publish().unwrap()
}

pub(crate) fn run(bench: &mut Bench) {
    one(bench);
    many(bench);
    patch(bench);
}

fn one(bench: &mut Bench) {
    let bytes = vec![RETURN; PAGE];
    // In the middle of a mapping, behind code, as a function is.
    let around = anonymous(1 << 20);
    write(around, &[RETURN; 16]);
    protect(around, 1 << 20, libc::PROT_NONE);
    protect(around, PAGE, libc::PROT_READ | libc::PROT_EXEC);
    let place = around.wrapping_byte_add(PAGE);
    let toggle = area(CodeStrategy::Toggle, 1 << 20);
    let _beside = publish(&toggle, &[RETURN; 16]);
    bench.group(
        "publish and drop a function of 4 KiB, Toggle".to_owned(),
        vec![
            Contender::new("limit: mprotect, memcpy, mprotect", || {
                protect(place, PAGE, libc::PROT_READ | libc::PROT_WRITE);
                write(place, &bytes);
                protect(place, PAGE, libc::PROT_READ | libc::PROT_EXEC);
            }),
            Contender::aiming("folio::CodeMemory", 1.1, || publish(&toggle, &bytes)),
        ],
    );
    let (data, _code) = twice(PAGE);
    let dual = area(CodeStrategy::Dual, 1 << 20);
    bench.group(
        "publish and drop a function of 4 KiB, Dual".to_owned(),
        vec![
            Contender::new("limit: memcpy", || write(black_box(data), &bytes)),
            Contender::new("folio::CodeMemory", || publish(&dual, &bytes)),
        ],
    );
    unmap(around, 1 << 20);
    if let Some(key) = by_key() {
        bench.group(
            "publish and drop a function of 4 KiB, ProtectionKey".to_owned(),
            vec![
                Contender::new("limit: memcpy", || write(black_box(data), &bytes)),
                Contender::new("folio::CodeMemory", || publish(&key, &bytes)),
            ],
        );
    }
}

/// By name, for in a workspace that is built whole there is no such strategy.
fn by_key() -> Option<CodeMemory> {
    let strategy = CodeStrategy::all().iter().find(|strategy| strategy.to_string() == "protection key");
    let made = strategy.and_then(|&strategy| CodeOptions::new(1 << 20).strategy(strategy).map().ok());
    if made.is_none() {
        println!("no protection keys for code here");
    }
    made
}

fn many(bench: &mut Bench) {
    let bytes = [RETURN; 200];
    let count = if bench.is_short() { 100 } else { 10_000 };
    bench.group(
        format!("{count} functions of 200 B, written and published, kept and dropped"),
        vec![
            Contender::new("limit: mmap, memcpy, mprotect, munmap for each", || {
                let all: Vec<_> = (0..count)
                    .map(|_| {
                        let place = anonymous(PAGE);
                        write(place, black_box(&bytes));
                        protect(place, PAGE, libc::PROT_READ | libc::PROT_EXEC);
                        place
                    })
                    .collect();
                all.into_iter().for_each(|place| unmap(place, PAGE));
            }),
            Contender::new("folio::CodeMemory, Dual", || {
                let code = area(CodeStrategy::Dual, 4 << 20);
                (0..count).map(|_| publish(&code, &bytes)).collect::<Vec<_>>()
            }),
            Contender::new("folio::CodeMemory, Toggle, at once", || {
                let code = area(CodeStrategy::Toggle, 4 << 20);
                let drafts = (0..count).map(|_| {
                    let mut draft = code.draft(bytes.len()).unwrap();
                    draft.copy_from_slice(black_box(&bytes));
                    draft
                });
                code.publish(drafts.collect()).unwrap()
            }),
            Contender::new("folio::CodeMemory, Toggle, one by one", || {
                let code = area(CodeStrategy::Toggle, 4 << 20);
                (0..count).map(|_| publish(&code, &bytes)).collect::<Vec<_>>()
            }),
            Contender::new("jit_allocator::JitAllocator", || {
                let mut code = jit_allocator::JitAllocator::new(jit_allocator::JitAllocatorOptions {
                    use_dual_mapping: true,
                    ..Default::default()
                });
                for _ in 0..count {
                    let (_run, data) = code.alloc(bytes.len()).unwrap();
                    write(data.cast(), black_box(&bytes));
                }
                code
            }),
        ],
    );
}

fn patch(bench: &mut Bench) {
    let (data, _code) = twice(PAGE);
    let place = anonymous(PAGE);
    protect(place, PAGE, libc::PROT_READ | libc::PROT_EXEC);
    let (dual, toggle) = (area(CodeStrategy::Dual, PAGE), area(CodeStrategy::Toggle, PAGE));
    let (dual, toggle) = (publish(&dual, &[RETURN; 64]), publish(&toggle, &[RETURN; 64]));
    let patch = |piece: &folio::CodePiece| {
        // SAFETY: nobody executes it.
        unsafe { piece.patch(8, black_box(&[RETURN; 4])) }.unwrap();
    };
    bench.group(
        "patch an instruction, Dual".to_owned(),
        vec![
            Contender::new("limit: a store", || write(black_box(data), black_box(&[RETURN; 4]))),
            Contender::new("folio::CodePiece::patch", || patch(&dual)),
        ],
    );
    bench.group(
        "patch an instruction, Toggle".to_owned(),
        vec![
            Contender::new("limit: mmap, a copy of the page, mprotect, mremap", || {
                let copy = anonymous(PAGE);
                // SAFETY: a page each, which can be read and written.
                unsafe { ptr::copy_nonoverlapping(place.cast::<u8>(), copy.cast(), PAGE) };
                write(copy, black_box(&[RETURN; 4]));
                protect(copy, PAGE, libc::PROT_READ | libc::PROT_EXEC);
                let how = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
                // SAFETY: pages of the measurement's own.
                let moved = unsafe { libc::mremap(copy, PAGE, PAGE, how, place) };
                assert_eq!(moved, place);
            }),
            Contender::aiming("folio::CodePiece::patch", 1.1, || patch(&toggle)),
        ],
    );
    if let Some(key) = by_key() {
        let key = publish(&key, &[RETURN; 64]);
        bench.group(
            "patch an instruction, ProtectionKey".to_owned(),
            vec![
                Contender::new("limit: a store", || write(black_box(data), black_box(&[RETURN; 4]))),
                Contender::new("folio::CodePiece::patch", || patch(&key)),
            ],
        );
    }
    unmap(place, PAGE);
}
