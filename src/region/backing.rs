//! What stands behind a region.

use alloc::borrow::Cow;
use core::fmt;

/// What kind of thing stands behind a region.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum BackingKind {
    /// Memory without a file: private to the process. It may have a name (`[anon:…]` on Linux).
    Anonymous,
    /// A file.
    File,
    /// A program or library, mapped as such (`MEM_IMAGE` on Windows; other systems call it a file).
    Image,
    /// Memory in an object that can be shared but has no place among the files: `memfd_create`, an anonymous shared
    /// mapping, System V and POSIX shared memory, a section of the paging file.
    SharedMemory,
    /// The heap that the system made for the program (`[heap]`, `brk`). On Apple's systems, all memory of `malloc`.
    Heap,
    /// The stack that the system made for the first thread (`[stack]`). On Apple's systems, of each thread.
    Stack,
    /// Pages that the kernel put there: `[vdso]`, `[vvar]`, `[vsyscall]`, `[uprobes]`. On Apple's systems, what it maps into
    /// all processes by way of a map of their own, and of which it tells no more: the system's libraries (`dyld`'s shared
    /// cache).
    Kernel,
}

impl fmt::Display for BackingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Anonymous => "anonymous",
            Self::File => "file",
            Self::Image => "image",
            Self::SharedMemory => "shared memory",
            Self::Heap => "heap",
            Self::Stack => "stack",
            Self::Kernel => "kernel",
        })
    }
}

/// The number of a device: on what a file lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Device {
    /// The kind of device, or the file system's own number. Up to 12 bits on Linux.
    pub major: u32,
    /// Which one of its kind. Up to 20 bits on Linux.
    pub minor: u32,
}

/// As in `fe:01`, the way Linux writes it.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}", self.major, self.minor)
    }
}

/// What stands behind a region: a file, a name, an offset.
///
/// Made by [`Process::backing`](crate::Process::backing), [`Mappings`](crate::Mappings) and
/// [`Snapshot`](crate::Snapshot); borrowed ones become independent by [`into_owned`](Self::into_owned).
///
/// # Examples
///
/// ```
/// use folio::{BackingKind, Process};
///
/// let this = Process::current();
/// let code = this.backing(folio::page::size as usize)?;
/// assert!(matches!(code.kind(), BackingKind::File | BackingKind::Image));
/// println!("this program is {}", code.path().unwrap().display());
/// # Ok::<(), folio::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Backing<'a> {
    pub(crate) kind: BackingKind,
    /// Invariant on Windows with `std`: made by `OsString::into_encoded_bytes`.
    pub(crate) name: Cow<'a, [u8]>,
    pub(crate) offset: u64,
    pub(crate) device: Option<Device>,
    pub(crate) inode: u64,
    pub(crate) deleted: bool,
}

impl<'a> Backing<'a> {
    /// Anonymous memory without a name.
    pub(crate) const ANONYMOUS: Backing<'static> = Backing {
        kind: BackingKind::Anonymous,
        name: Cow::Borrowed(&[]),
        offset: 0,
        device: None,
        inode: 0,
        deleted: false,
    };

    /// In the place of an offset that the system does not tell. It stays so when something is added to it: sums saturate.
    #[allow(dead_code, reason = "only some systems tell a device but not always an offset")]
    pub(crate) const UNTOLD: u64 = u64::MAX;

    /// What kind of thing it is.
    pub fn kind(&self) -> BackingKind {
        self.kind
    }

    /// The name as bytes, empty when there is none: the path of a file, or what the system calls it (`[heap]`,
    /// `[anon:pool]`, `/memfd:name`; on Apple's systems the name of the tag in `mach/vm_statistics.h`, as `MALLOC_SMALL`). Linux's mark ` (deleted)` is taken off, and [`is_deleted`](Self::is_deleted) says so.
    ///
    /// Names need not be UTF-8 and may hold any byte but NUL. On Windows the bytes are WTF-8 (plain UTF-8 for every
    /// well-formed name), and the name is the kernel's, such as `\Device\HarddiskVolume1\file`.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The path of a [`File`](BackingKind::File) or [`Image`](BackingKind::Image); `None` for everything else. A deleted
    /// file's path is where it was. In another mount namespace or `chroot`, the path is the other process's.
    #[cfg(feature = "std")]
    #[cfg_attr(docsrs, doc(cfg(feature = "std")))]
    pub fn path(&self) -> Option<&std::path::Path> {
        match self.kind {
            BackingKind::File | BackingKind::Image if !self.name.is_empty() => {
                Some(std::path::Path::new(crate::os::os_str(&self.name)))
            }
            _ => None,
        }
    }

    /// The offset, in bytes from the start of the file or object, of the region's first byte; `None` when nothing with
    /// offsets stands behind it, or when the system does not tell (Windows; Apple, of a private mapping of which the
    /// first, the last and the middle page have all been written to).
    pub fn offset(&self) -> Option<u64> {
        self.device.map(|_| self.offset).filter(|&offset| offset != Self::UNTOLD)
    }

    /// The device that the file or object is on; `None` when there is none or the system does not tell (Windows).
    pub fn device(&self) -> Option<Device> {
        self.device
    }

    /// The inode of the file or object; `None` when there is none or the system does not tell (Windows).
    pub fn inode(&self) -> Option<u64> {
        self.device.map(|_| self.inode)
    }

    /// Whether the file has been deleted (its last name taken away, or this name). Memory objects that never had a name,
    /// such as a `memfd`, are not called deleted.
    ///
    /// Linux marks a deleted file by ` (deleted)` after its name, which a file may also be *called*. Where a name ends in
    /// it, folio asks whether a file of that very name, with the same inode, exists; only then it is not deleted. Apple's
    /// systems mark nothing: folio asks by the name of each file.
    pub fn is_deleted(&self) -> bool {
        self.deleted
    }

    /// The same, holding its own copy of the name.
    pub fn into_owned(self) -> Backing<'static> {
        Backing { name: Cow::Owned(self.name.into_owned()), ..self }
    }

    /// The same, borrowing the name.
    pub fn as_borrowed(&self) -> Backing<'_> {
        Backing { name: Cow::Borrowed(&self.name), ..*self }
    }
}

impl fmt::Debug for Backing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backing")
            .field("kind", &self.kind)
            .field("name", &format_args!("{}", self.name.escape_ascii()))
            .field("offset", &self.offset())
            .field("device", &self.device)
            .field("inode", &self.inode())
            .field("deleted", &self.deleted)
            .finish()
    }
}
