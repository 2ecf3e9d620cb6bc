//! Protection keys (pkeys(7)): 16 keys, of which 0 is that of all other memory. What a key grants stands in a register of each
//! thread.

#![cfg_attr(not(feature = "std"), allow(dead_code, reason = "what needs `std` uses it"))]

use super::sys;
use crate::Protection;
use crate::error::{ErrorKind, Failure};
use crate::os::Rights;
use crate::range::PageRange;
use rustix::io::Errno;

/// Whether the register of this processor is known here.
pub(super) const COMPILED: bool = cfg!(any(target_arch = "x86", target_arch = "x86_64"));

/// How many keys there are at most, the first one included, which is not to be had.
pub(crate) const COUNT: usize = 16;

fn unsupported() -> Failure {
    Failure::new(ErrorKind::Unsupported).remedy(
        "protection keys need Linux on an x86 processor that has them (Intel since Skylake-SP, AMD since Zen 3)",
    )
}

/// A key of which nobody else knows, closed for this thread (and for every other, unless somebody opened it there before it was
/// given back).
pub(crate) fn new() -> Result<u32, Failure> {
    if !COMPILED {
        return Err(unsupported());
    }
    sys::key_alloc().map_err(|errno| match errno {
        // ENOSPC is also what a processor without keys answers.
        Errno::NOSPC if available() => Failure::system(ErrorKind::Exhausted, errno.raw_os_error())
            .detail("all protection keys are in use")
            .remedy("let more pages share a key (KeyedPages::beside)")
            .limit(15, Some(15), "keys"),
        Errno::NOSPC | Errno::NOSYS | Errno::INVAL => unsupported(),
        _ => Failure::system(ErrorKind::System, errno.raw_os_error()),
    })
}

/// Gives a key back. No page must carry it.
pub(crate) fn free(key: u32) -> Result<(), Failure> {
    sys::key_free(key).map_err(|errno| Failure::system(ErrorKind::System, errno.raw_os_error()))
}

/// Gives pages a key, and a protection.
///
/// # Safety
///
/// As [`protect`](super::protect).
pub(crate) unsafe fn assign(range: PageRange, protection: Protection, key: u32) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    unsafe { sys::key_protect(range, protection, key) }.map_err(|errno| match errno {
        Errno::INVAL => Failure::system(ErrorKind::InvalidInput, errno.raw_os_error())
            .detail("not a protection key of this process"),
        Errno::NOSYS => unsupported(),
        Errno::NOMEM if super::why::has_hole(range) => {
            Failure::system(ErrorKind::Unmapped, errno.raw_os_error())
        }
        Errno::NOMEM => super::why::too_many_mappings(errno),
        Errno::ACCESS | Errno::PERM => Failure::system(ErrorKind::NotPermitted, errno.raw_os_error()),
        _ => Failure::system(ErrorKind::System, errno.raw_os_error()),
    })
}

/// Whether processor and kernel have keys, whether or not any is free.
pub(crate) fn available() -> bool {
    if !COMPILED {
        return false;
    }
    match sys::key_alloc() {
        Ok(key) => {
            let _freed = sys::key_free(key);
            true
        }
        Err(Errno::NOSPC) => register::on(),
        Err(_) => false,
    }
}

/// What a key grants this thread.
///
/// `key` must have come from [`new`]: then the register is there.
#[inline]
pub(crate) fn rights(key: u32) -> Rights {
    let shift = key.wrapping_mul(2);
    match register::read().wrapping_shr(shift) & 3 {
        0 => Rights::Write,
        2 => Rights::Read,
        _ => Rights::Closed,
    }
}

/// Sets what a key grants this thread, unless it grants just that: reading the register costs next to nothing, writing it some
/// tens of cycles. As for [`rights`], `key` must have come from [`new`].
#[inline]
pub(crate) fn set_rights(key: u32, rights: Rights) {
    let shift = key.wrapping_mul(2);
    let bits = match rights {
        Rights::Write => 0_u32,
        Rights::Read => 2,
        Rights::Closed => 1,
    };
    let now = register::read();
    let wanted = now & !3_u32.wrapping_shl(shift) | bits.wrapping_shl(shift);
    if now != wanted {
        register::write(wanted);
    }
}

/// PKRU: two bits a key, "no access" and "no writing".
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
mod register {
    use core::arch::asm;
    #[cfg(target_arch = "x86")]
    use core::arch::x86::__cpuid_count;
    #[cfg(target_arch = "x86_64")]
    use core::arch::x86_64::__cpuid_count;

    /// Whether the system has switched the register on (leaf 7, ECX bit 4: OSPKE).
    pub(super) fn on() -> bool {
        // SAFETY: every processor that Rust's x86 targets with 64-bit atomics run on has the instruction; a leaf that it does
        // not know gives others' answers, in which the caller, who asks after ENOSPC only, reads a wrong reason at worst.
        #[allow(unused_unsafe, reason = "safe since Rust 1.94")]
        let answer = unsafe { __cpuid_count(7, 0) };
        answer.ecx & (1 << 4) != 0
    }

    #[inline]
    pub(super) fn read() -> u32 {
        let value: u32;
        // SAFETY: a key was allocated (the caller's duty), so the system has switched the register on; `rdpkru` wants 0 in ECX,
        // and writes EAX and EDX only.
        unsafe {
            asm!("rdpkru", in("ecx") 0, out("eax") value, out("edx") _, options(nomem, nostack, preserves_flags))
        };
        value
    }

    /// Not `nomem`: what stands before it in the program must have been read and written before, and the rest after.
    #[inline]
    pub(super) fn write(value: u32) {
        // SAFETY: as for `read`; `wrpkru` wants 0 in ECX and EDX. It changes what this thread may reach of pages that carry keys
        // from `new`: the caller sees to it that no reference into them is used meanwhile.
        unsafe {
            asm!("wrpkru", in("eax") value, in("ecx") 0, in("edx") 0, options(nostack, preserves_flags))
        };
    }
}

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
mod register {
    pub(super) fn on() -> bool {
        false
    }

    pub(super) fn read() -> u32 {
        u32::MAX
    }

    pub(super) fn write(_value: u32) {}
}
