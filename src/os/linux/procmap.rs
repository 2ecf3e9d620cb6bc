//! `PROCMAP_QUERY`: one region of a process by an ioctl on its `maps` (Linux 6.11, `linux/fs.h`).

use super::sys;
use crate::Protection;
use crate::os::inject;
use crate::region::{Device, Region};
use core::ffi::c_void;
use rustix::fd::BorrowedFd;
use rustix::io::{self, Errno};
use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode, opcode};

const READABLE: u64 = 0x01;
const WRITABLE: u64 = 0x02;
const EXECUTABLE: u64 = 0x04;
const SHARED: u64 = 0x08;
const COVERING_OR_NEXT: u64 = 0x10;

/// `struct procmap_query` of `linux/fs.h`.
#[repr(C)]
#[derive(Default)]
struct Query {
    size: u64,
    query_flags: u64,
    query_addr: u64,
    vma_start: u64,
    vma_end: u64,
    vma_flags: u64,
    vma_page_size: u64,
    vma_offset: u64,
    inode: u64,
    dev_major: u32,
    dev_minor: u32,
    vma_name_size: u32,
    build_id_size: u32,
    vma_name_addr: u64,
    build_id_addr: u64,
}

const SIZE: u64 = {
    assert!(size_of::<Query>() == 104);
    104
};

/// Which region is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Want {
    /// The one that holds the address.
    Covering,
    /// The one that holds the address, or else the next above it.
    CoveringOrNext,
}

/// A region, and what the ioctl says of its backing.
pub(super) struct Found {
    pub(super) region: Region,
    pub(super) offset: u64,
    pub(super) device: Option<Device>,
    pub(super) inode: u64,
    /// The length of the name in the buffer, without the NUL.
    pub(super) name: usize,
}

/// The ioctl as rustix makes it.
struct Call<'a>(&'a mut Query);

// SAFETY: the opcode is that of `PROCMAP_QUERY`, 'f' 17 with a `struct procmap_query` read and written (linux/fs.h), and
// `as_ptr` points to such a struct, exclusively borrowed. The kernel writes to it and to the buffer of `vma_name_addr`,
// at most `vma_name_size` bytes; `ask` keeps both of the same exclusively borrowed slice, or 0.
unsafe impl Ioctl for Call<'_> {
    type Output = ();
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        const { opcode::read_write::<Query>(b'f', 17) }
    }

    fn as_ptr(&mut self) -> *mut c_void {
        core::ptr::from_mut(self.0).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> io::Result<()> {
        Ok(())
    }
}

/// Asks `maps` for a region. `NOENT`: there is none. `SRCH`: the process has given up its memory. `NOTTY` and others: this
/// kernel (or this descriptor) cannot.
///
/// The name, if a buffer is given, is put there with a NUL behind it.
#[inline]
pub(super) fn ask(
    maps: BorrowedFd<'_>,
    address: usize,
    want: Want,
    name: Option<&mut [u8]>,
) -> io::Result<Found> {
    if let Some(code) = inject::point("ioctl") {
        return Err(Errno::from_raw_os_error(code));
    }
    let mut query = Query {
        size: SIZE,
        query_flags: match want {
            Want::Covering => 0,
            Want::CoveringOrNext => COVERING_OR_NEXT,
        },
        query_addr: crate::range::wide(address),
        ..Query::default()
    };
    if let Some(name) = name {
        query.vma_name_size = u32::try_from(name.len()).unwrap_or(u32::MAX);
        query.vma_name_addr = crate::range::wide(name.as_mut_ptr().expose_provenance());
    }
    // SAFETY: see the `Ioctl` implementation: all that the kernel writes to is exclusively borrowed here, if the
    // descriptor is a `maps`. Should it be another file (see `kept`), its driver would have to give this very number,
    // which holds the size of the argument, another meaning: no file of Linux does, they answer ENOTTY.
    unsafe { ioctl::ioctl(maps, Call(&mut query)) }?;

    // A 32-bit program that looks at a 64-bit process may meet addresses that it cannot name.
    let (Ok(base), Ok(end)) = (usize::try_from(query.vma_start), usize::try_from(query.vma_end)) else {
        return Err(Errno::OVERFLOW);
    };
    let mut protection = Protection::NONE;
    protection.set(Protection::READ, query.vma_flags & READABLE != 0);
    protection.set(Protection::WRITE, query.vma_flags & WRITABLE != 0);
    protection.set(Protection::EXECUTE, query.vma_flags & EXECUTABLE != 0);
    let device = Device { major: query.dev_major, minor: query.dev_minor };
    Ok(Found {
        region: Region {
            base,
            len: end.saturating_sub(base),
            protection,
            max_protection: protection,
            shared: query.vma_flags & SHARED != 0,
            ..Region::default()
        },
        offset: query.vma_offset,
        device: (query.inode != 0 || device != Device { major: 0, minor: 0 }).then_some(device),
        inode: query.inode,
        name: crate::range::index(query.vma_name_size.saturating_sub(1)),
    })
}

/// Whether a failed ioctl means that this kernel or sandbox does not offer it, rather than that something else is wrong.
pub(super) fn means_unavailable(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::NOTTY | Errno::NOSYS | Errno::PERM | Errno::ACCESS | Errno::INVAL | Errno::OPNOTSUPP
    )
}

/// The failure of an ioctl that nothing else can answer for.
pub(super) fn failure(errno: Errno) -> crate::error::Failure {
    match errno {
        Errno::OVERFLOW => super::maps::too_wide(),
        other => sys::failure(other),
    }
}
