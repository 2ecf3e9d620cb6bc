//! What a name in `maps` means.

use super::process::Target;
use super::sys;
use crate::region::{Backing, BackingKind, Device};
use alloc::borrow::Cow;
use alloc::ffi::CString;
use alloc::vec::Vec;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::CWD;

const DELETED: &[u8] = b" (deleted)";
/// How the text writes a newline in a path. The backslash itself it does not escape.
const NEWLINE: &[u8] = br"\012";

/// A name as the kernel gave it, with what tells what it means.
pub(super) struct Raw<'a> {
    pub(super) name: &'a [u8],
    /// Newlines are written `\012`, as in the text.
    pub(super) escaped: bool,
    pub(super) shared: bool,
    pub(super) offset: u64,
    pub(super) device: Option<Device>,
    pub(super) inode: u64,
}

/// What stands behind a region. Asks the system only where the name allows of two meanings, and allocates only where it has
/// to be rewritten.
#[inline]
pub(super) fn backing<'a>(names: &Names<'_>, raw: Raw<'a>) -> Backing<'a> {
    let Raw { name, escaped, shared, offset, device, inode } = raw;
    let of_kind = |kind, name: &'a [u8]| Backing {
        kind,
        name: Cow::Borrowed(name),
        offset,
        device,
        inode,
        deleted: false,
    };
    // Names of things that are no files. Paths begin with `/`; only they, and descriptors' files, have a device.
    if device.is_none() {
        return of_kind(
            match name {
                b"" => BackingKind::Anonymous,
                b"[heap]" => BackingKind::Heap,
                [b'[', b's', b't', b'a', b'c', b'k', ..] => BackingKind::Stack,
                [b'[', b'a', b'n', b'o', b'n', b':', ..] => BackingKind::Anonymous,
                _ => BackingKind::Kernel,
            },
            name,
        );
    }
    let unmarked = name.strip_suffix(DELETED).unwrap_or(name);
    // Objects without a place among the files: the kernel always calls them deleted.
    for prefix in ["/memfd:", "/SYSV", "/dev/zero", "/secretmem", "/dev/ashmem"] {
        if unmarked.len() != name.len() && unmarked.starts_with(prefix.as_bytes()) {
            return of_kind(BackingKind::SharedMemory, unmarked);
        }
    }
    match unmarked {
        b"/anon_hugepage" if unmarked.len() != name.len() => {
            return of_kind(
                if shared { BackingKind::SharedMemory } else { BackingKind::Anonymous },
                unmarked,
            );
        }
        [b'[', b'a', b'n', b'o', b'n', b'_', b's', b'h', b'm', b'e', b'm', b':', ..] => {
            return of_kind(BackingKind::SharedMemory, name);
        }
        // `anon_inode:[io_uring]`, `socket:[1234]` and the like.
        [first, ..] if *first != b'/' && *first != b'(' => return of_kind(BackingKind::Kernel, name),
        _ => {}
    }
    // A path. ` (deleted)` is a mark or part of the name, each `\012` a newline or four letters: where it matters, the system
    // knows which of the readings is this file. If none is there (any more), the kernel's usual meaning is taken.
    let marked = name.ends_with(DELETED);
    let newlines =
        if escaped { name.windows(NEWLINE.len()).filter(|window| window == &NEWLINE).count() } else { 0 };
    if !marked && newlines == 0 {
        return of_kind(BackingKind::File, name);
    }
    // Who names a file by more than six of either kind mixed gets the usual reading.
    for literally in 0..1_u32.wrapping_shl(u32::try_from(newlines).unwrap_or(6).min(6)) {
        let reading = read(name, newlines, literally);
        if names.is_file(&reading, device, inode) {
            return Backing { name: reading, ..of_kind(BackingKind::File, b"") };
        }
    }
    let usual = read(name, newlines, 0);
    let usual = if marked { without_mark(usual) } else { usual };
    Backing { name: usual, deleted: marked, ..of_kind(BackingKind::File, b"") }
}

fn without_mark(name: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let len = name.len().saturating_sub(DELETED.len());
    match name {
        Cow::Borrowed(name) => Cow::Borrowed(name.get(..len).unwrap_or_default()),
        Cow::Owned(mut name) => {
            name.truncate(len);
            Cow::Owned(name)
        }
    }
}

/// The name with each `\012` made a newline, but for those whose bit is set in `literally`.
fn read(name: &[u8], newlines: usize, mut literally: u32) -> Cow<'_, [u8]> {
    if newlines == 0 {
        return Cow::Borrowed(name);
    }
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&first, after)) = rest.split_first() {
        let mut taken = (first, after);
        if let Some(after) = rest.strip_prefix(NEWLINE) {
            if literally & 1 == 0 {
                taken = (b'\n', after);
            }
            literally >>= 1;
        }
        plain.push(taken.0);
        rest = taken.1;
    }
    Cow::Owned(plain)
}

/// Where the names of a process's mappings are looked up.
pub(super) enum Names<'a> {
    Own,
    /// Below `root` in this folder, which is `/proc/PID`.
    Of(BorrowedFd<'a>),
    /// The same, for those that outlive the handle.
    KeptOf(OwnedFd),
}

impl<'a> Names<'a> {
    pub(super) fn of(target: &'a Target) -> Self {
        target.folder().map_or(Self::Own, Self::Of)
    }

    pub(super) fn kept_of(target: &Target) -> Names<'static> {
        match target.folder().map(|folder| sys::duplicate(folder, 0)) {
            None => Names::Own,
            Some(Ok(folder)) => Names::KeptOf(folder),
            // Without a descriptor to spare, names that allow of two meanings are read the usual way: our own files hardly
            // ever match a foreign inode.
            Some(Err(_)) => Names::Own,
        }
    }

    /// Whether `path` names the file with this device and inode.
    #[allow(clippy::useless_conversion, reason = "the width of these fields differs between processors")]
    fn is_file(&self, path: &[u8], device: Option<Device>, inode: u64) -> bool {
        let (folder, path) = match self {
            Self::Own => (CWD, CString::new(path)),
            Self::Of(folder) => (*folder, CString::new([b"root", path].concat())),
            Self::KeptOf(folder) => (folder.as_fd(), CString::new([b"root", path].concat())),
        };
        let status = path.ok().and_then(|path| sys::status_at(folder, &path).ok());
        status.is_some_and(|status| {
            // Some file systems (btrfs, overlayfs) show another device here than in `maps`; so it counts for less than the
            // inode: it is compared only when both are of real devices.
            let stat_device = Device {
                major: rustix::fs::major(status.st_dev.into()),
                minor: rustix::fs::minor(status.st_dev.into()),
            };
            let both_real = stat_device.major != 0 && device.is_some_and(|device| device.major != 0);
            u64::from(status.st_ino) == inode && (!both_real || device == Some(stat_device))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use BackingKind::*;

    fn of(name: &[u8], device: Option<Device>, shared: bool) -> Backing<'_> {
        backing(&Names::Own, Raw { name, escaped: true, shared, offset: 0, device, inode: 99 })
    }

    #[test]
    fn names_without_a_device_are_classified() {
        for (name, kind) in [
            (&b""[..], Anonymous),
            (b"[heap]", Heap),
            (b"[stack]", Stack),
            (b"[stack:123]", Stack),
            (b"[anon:pool of\xff]", Anonymous),
            (b"[vdso]", Kernel),
            (b"[vvar_vclock]", Kernel),
            (b"[vsyscall]", Kernel),
        ] {
            let backing = of(name, None, false);
            assert_eq!((backing.kind(), backing.name()), (kind, name));
            assert_eq!((backing.offset(), backing.inode()), (None, None));
        }
    }

    #[test]
    fn memory_objects_and_kernel_files_are_not_deleted_files() {
        let device = Some(Device { major: 0, minor: 1 });
        for (name, shown, shared, kind) in [
            (&b"/memfd:a (deleted)"[..], &b"/memfd:a"[..], true, SharedMemory),
            (b"/memfd:a (deleted) (deleted)", b"/memfd:a (deleted)", false, SharedMemory),
            (b"/SYSV0000abcd (deleted)", b"/SYSV0000abcd", true, SharedMemory),
            (b"/dev/zero (deleted)", b"/dev/zero", true, SharedMemory),
            (b"/anon_hugepage (deleted)", b"/anon_hugepage", false, Anonymous),
            (b"/anon_hugepage (deleted)", b"/anon_hugepage", true, SharedMemory),
            (b"[anon_shmem:x]", b"[anon_shmem:x]", true, SharedMemory),
            (b"anon_inode:[io_uring]", b"anon_inode:[io_uring]", true, Kernel),
        ] {
            let backing = of(name, device, shared);
            assert_eq!((backing.kind(), backing.name(), backing.is_deleted()), (kind, shown, false));
        }
    }

    #[test]
    fn a_path_without_a_file_is_read_the_usual_way() {
        let device = Some(Device { major: 8, minor: 300 });
        for (name, shown, deleted) in [
            (&b"/no/such file (deleted)"[..], &b"/no/such file"[..], true),
            (br"/no/a\012b (deleted)", b"/no/a\nb", true),
            (br"/no/a\012b", b"/no/a\nb", false),
            (br"/no/a\01b\", br"/no/a\01b\", false),
            (b"/no/\xff\xfe", b"/no/\xff\xfe", false),
            (b"(unreachable)/x", b"(unreachable)/x", false),
        ] {
            let backing = of(name, device, false);
            assert_eq!((backing.kind(), backing.name(), backing.is_deleted()), (File, shown, deleted));
        }
    }
}
