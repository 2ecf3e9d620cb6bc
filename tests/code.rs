//! Functions in pages, called by every convention that this processor has.
#![cfg(feature = "allow_exec")]

mod common;

use common::{place_of, skipped};
use folio::{ErrorKind, FnPointer, FnRef, MmapExec, MmapOptions, Operation, Pages};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Code that goes on at an address, and leaves everything else as it finds it.
fn jump_to(address: usize) -> Option<Vec<u8>> {
    let code: [&[u8]; 3] = if cfg!(target_arch = "x86_64") {
        [&[0x48, 0xb8], &address.to_ne_bytes(), &[0xff, 0xe0]] // mov rax, address; jmp rax
    } else if cfg!(target_arch = "x86") {
        [&[0xb8], &address.to_ne_bytes(), &[0xff, 0xe0]] // mov eax, address; jmp eax
    } else if cfg!(target_arch = "aarch64") {
        [&[0x50, 0, 0, 0x58, 0, 2, 0x1f, 0xd6], &address.to_ne_bytes(), &[]] // ldr x16, .+8; br x16
    } else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
        // Whoever is called by a pointer finds it in r12 (ELF v2): ld 12, 16(12); mtctr 12; bctr; nop
        let words = &[0x10, 0, 0x8c, 0xe9, 0xa6, 3, 0x89, 0x7d, 0x20, 4, 0x80, 0x4e, 0, 0, 0, 0x60];
        [words, &address.to_ne_bytes(), &[]]
    } else if cfg!(target_arch = "riscv64") {
        // auipc t1, 0; ld t1, 16(t1); jr t1; nop
        let words = &[0x17, 3, 0, 0, 3, 0x33, 3, 1, 0x67, 0, 3, 0, 0x13, 0, 0, 0];
        [words, &address.to_ne_bytes(), &[]]
    } else {
        return None;
    };
    Some(code.concat())
}

/// Pages with a jump to a function, `offset` bytes behind their start.
fn jump(test: &str, offset: usize, address: usize) -> Option<MmapExec> {
    let Some(code) = jump_to(address) else {
        skipped(test, "no code for this processor");
        return None;
    };
    let mut pages = Pages::new(offset + code.len()).unwrap();
    pages[offset..offset + code.len()].copy_from_slice(&code);
    match pages.set_protected_exec() {
        Ok(pages) => Some(pages),
        Err((_, error)) => {
            skipped(test, &error.to_string());
            None
        }
    }
}

macro_rules! takes_all {
    ($($convention:literal)*) => {$({
        extern $convention fn none() -> u64 {
            7
        }
        extern $convention fn some(a: u32, b: u64, c: f64) -> f64 {
            f64::from(a) + b as f64 + c
        }
        #[allow(clippy::too_many_arguments, reason = "that is the test")]
        unsafe extern $convention fn all(
            a: u64, b: u8, c: i32, d: f32, e: *const u16, f: u64, g: u64, h: i64,
            i: u64, j: f64, k: u32, l: u64, m: usize, n: i8, o: u64, p: u64,
        ) -> u64 {
            // SAFETY: the caller's pointer.
            let e = unsafe { *e };
            a + u64::from(b) + c as u64 + d as u64 + u64::from(e) + f + g + h as u64
                + i + j as u64 + u64::from(k) + l + m as u64 + n as u64 + o + p
        }
        let Some(pages) = jump("every_convention", 0, none as *const () as usize) else { return };
        // SAFETY: it goes on at a function of this type.
        let function: FnRef<'_, extern $convention fn() -> u64> = unsafe { pages.get_fn(0) }.unwrap();
        assert_eq!(function.call(()), 7);
        let pages = jump("every_convention", 0, some as *const () as usize).unwrap();
        // SAFETY: likewise.
        let function: FnRef<'_, extern $convention fn(u32, u64, f64) -> f64> = unsafe { pages.get_fn(0) }.unwrap();
        assert_eq!(function.call((1, 20, 0.5)), 21.5);
        type All = unsafe extern $convention fn(
            u64, u8, i32, f32, *const u16, u64, u64, i64, u64, f64, u32, u64, usize, i8, u64, u64,
        ) -> u64;
        let pages = jump("every_convention", 64, all as *const () as usize).unwrap();
        // SAFETY: likewise.
        let function = unsafe { pages.get_fn::<All>(64) }.unwrap();
        let e = 5;
        let arguments = (1, 2, 3, 4.0, &raw const e, 6, 7, 8, 9, 10.0, 11, 12, 13, 14, 15, 16);
        // SAFETY: a pointer to a number.
        assert_eq!(unsafe { function.call_unsafe(arguments) }, 136, $convention);
        // SAFETY: the pages are there.
        let plain = unsafe { function.as_fn() };
        assert_eq!(plain as *const u8, pages.as_ptr().wrapping_add(64));
        assert_eq!(function.address(), plain as *const u8);
        assert_eq!(size_of_val(&function), size_of::<usize>());
    })*};
}

#[test]
fn every_convention() {
    takes_all!("C" "C-unwind" "system" "system-unwind");
    #[cfg(target_arch = "x86_64")]
    takes_all!("sysv64" "sysv64-unwind" "win64" "win64-unwind" "efiapi");
    #[cfg(target_arch = "x86")]
    takes_all!("cdecl" "stdcall" "fastcall" "thiscall" "efiapi");
    #[cfg(target_arch = "aarch64")]
    takes_all!("efiapi");
}

/// What returns a lot writes to where the caller says; what unwinds, unwinds through the jump, which has no frame.
#[test]
fn large_results_and_unwinding() {
    const TEST: &str = "large_results_and_unwinding";
    #[derive(Debug, PartialEq)]
    #[repr(C)]
    struct Large([u64; 9]);
    extern "C-unwind" fn counted(from: u64) -> Large {
        assert!(from < 100, "too large");
        Large(std::array::from_fn(|index| from + index as u64))
    }
    let Some(pages) = jump(TEST, 0, counted as *const () as usize) else { return };
    // SAFETY: it goes on at a function of this type.
    let function = unsafe { pages.get_fn::<extern "C-unwind" fn(u64) -> Large>(0) }.unwrap();
    assert_eq!(function.call((7,)), Large([7, 8, 9, 10, 11, 12, 13, 14, 15]));
    if cfg!(windows) {
        return skipped(TEST, "on Windows code that unwinds must be registered");
    }
    assert!(catch_unwind(AssertUnwindSafe(|| function.call((100,)))).is_err());
}

#[test]
fn functions_may_be_sent_and_shared_and_called_at_once() {
    extern "C" fn twice(number: u64) -> u64 {
        number * 2
    }
    fn check<T: Send + Sync + Copy + Unpin>(_: T) {}
    let Some(pages) =
        jump("functions_may_be_sent_and_shared_and_called_at_once", 0, twice as *const () as usize)
    else {
        return;
    };
    // SAFETY: it goes on at a function of this type.
    let function = unsafe { pages.get_fn::<extern "C" fn(u64) -> u64>(0) }.unwrap();
    check(function);
    std::thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || assert_eq!(function.call((number,)), 2 * number));
        }
    });
    assert!(format!("{function:?}").starts_with("FnRef(0x"));
}

/// Trap: an offset that is not in the pages, or in the midst of an instruction, gave a function.
#[test]
fn what_cannot_be_a_function_is_an_error() {
    type F = unsafe extern "C" fn();
    let pages = match MmapOptions::new(1).map_exec() {
        Ok(pages) => pages,
        Err(error) => return skipped("what_cannot_be_a_function_is_an_error", &error.to_string()),
    };
    for offset in [pages.len(), pages.len() + 4, usize::MAX, usize::MAX - pages.as_ptr().addr() + 1] {
        // SAFETY: never called.
        let error = unsafe { pages.get_fn::<F>(offset) }.unwrap_err();
        assert_eq!(
            (error.kind(), error.operation()),
            (ErrorKind::InvalidInput, Operation::Function),
            "{error}"
        );
        assert_eq!(pages.get_fn_ptr(offset).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    for offset in 0..8 {
        let aligned = match () {
            () if cfg!(any(target_arch = "x86", target_arch = "x86_64")) => true,
            () if cfg!(target_arch = "aarch64") => offset % 4 == 0,
            () => continue,
        };
        assert_eq!(pages.get_fn_ptr(offset).is_ok(), aligned, "{offset}");
    }
    let last = pages.len() - 4;
    assert_eq!(pages.get_fn_ptr(last).unwrap().addr(), pages.as_ptr().addr() + last);
    let none = MmapOptions::new(1).at(place_of(1)).map_exec().unwrap();
    assert_eq!(none.get_fn_ptr(0).unwrap().addr(), place_of(1));
}

/// Pages of a file may begin anywhere: what counts is the address.
#[test]
fn offsets_are_aligned_by_address() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(10_000).unwrap();
    // SAFETY: nobody else has the file.
    let pages = unsafe { MmapOptions::of_file(file.as_file()) }.offset(2).map_copy_read_only().unwrap();
    let pages = match pages.make_exec() {
        Ok(pages) => pages,
        Err((_, error)) => return skipped("offsets_are_aligned_by_address", &error.to_string()),
    };
    if cfg!(target_arch = "aarch64") {
        assert!(pages.get_fn_ptr(0).is_err() && pages.get_fn_ptr(2).is_ok());
    } else if cfg!(any(target_arch = "x86", target_arch = "x86_64")) {
        assert!(pages.get_fn_ptr(0).is_ok());
    }
}

/// The trait knows arguments and result.
#[test]
fn types_are_known() {
    fn same<A: 'static, B: 'static>() -> bool {
        std::any::TypeId::of::<A>() == std::any::TypeId::of::<B>()
    }
    type F = unsafe extern "C" fn(u8, *const i32) -> f32;
    assert!(same::<<F as FnPointer>::Arguments, (u8, *const i32)>());
    assert!(same::<<F as FnPointer>::Output, f32>());
    assert!(same::<<extern "system" fn() as FnPointer>::Arguments, ()>());
}
