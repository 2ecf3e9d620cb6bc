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

/// What stands behind a region. `resolved` has the meaning of a name of which the system had to be asked.
#[inline]
pub(super) fn backing<'a>(resolved: &'a Resolved, raw: Raw<'a>) -> Backing<'a> {
    let (kind, name, deleted) = match meaning(&raw) {
        Meaning::Plain(kind, name) => (kind, name, false),
        Meaning::Doubtful => (BackingKind::File, Cow::Borrowed(resolved.name.as_slice()), resolved.deleted),
    };
    Backing { kind, name, offset: raw.offset, device: raw.device, inode: raw.inode, deleted }
}

/// What a name means, as far as it says so itself.
enum Meaning<'a> {
    Plain(BackingKind, Cow<'a, [u8]>),
    /// A path with ` (deleted)` or `\012` in it.
    Doubtful,
}

#[inline]
fn meaning<'a>(raw: &Raw<'a>) -> Meaning<'a> {
    use BackingKind::{Anonymous, File, Heap, Kernel, SharedMemory, Stack};
    let name = raw.name;
    // Names of things that are no files: in the text all newlines are escaped, and nobody can be asked.
    let plain = |kind, name: &'a [u8]| {
        let newlines = if raw.escaped { count_newlines(name) } else { 0 };
        Meaning::Plain(kind, read(name, newlines, 0))
    };
    // Paths begin with `/`; only they, and descriptors' files, have a device.
    if raw.device.is_none() {
        return match name {
            b"" => Meaning::Plain(Anonymous, Cow::Borrowed(name)),
            b"[heap]" => plain(Heap, name),
            [b'[', b's', b't', b'a', b'c', b'k', ..] => plain(Stack, name),
            [b'[', b'a', b'n', b'o', b'n', b':', ..] => plain(Anonymous, name),
            _ => plain(Kernel, name),
        };
    }
    // Objects without a place among the files: the kernel marks all but a few as deleted, though they never were there.
    if let Some(unmarked) = name.strip_suffix(DELETED) {
        match unmarked {
            b"/dev/zero" | b"/secretmem" | b"/dev/ashmem" => return plain(SharedMemory, unmarked),
            b"/anon_hugepage" => return plain(if raw.shared { SharedMemory } else { Anonymous }, unmarked),
            b"/[aio]" => return plain(Kernel, unmarked),
            [b'/', b'm', b'e', b'm', b'f', b'd', b':', ..] => return plain(SharedMemory, unmarked),
            _ => {}
        }
        if unmarked.starts_with(b"/dev/ashmem/") {
            return plain(SharedMemory, unmarked);
        }
        // System V's are called by their keys.
        if let Some(key) = unmarked.strip_prefix(b"/SYSV") {
            if key.len() == 8 && key.iter().all(u8::is_ascii_hexdigit) {
                return plain(SharedMemory, unmarked);
            }
        }
    }
    if name.starts_with(b"[anon_shmem:") || name.starts_with(b"/dmabuf:") {
        return plain(SharedMemory, name);
    }
    // `anon_inode:[io_uring]`, `socket:[1234]` and the like.
    if matches!(name, [first, ..] if *first != b'/' && *first != b'(') {
        return plain(Kernel, name);
    }
    if name.ends_with(DELETED) || (raw.escaped && count_newlines(name) != 0) {
        Meaning::Doubtful
    } else {
        Meaning::Plain(File, Cow::Borrowed(name))
    }
}

fn count_newlines(name: &[u8]) -> usize {
    if !name.contains(&b'\\') {
        return 0;
    }
    name.windows(NEWLINE.len()).filter(|window| window == &NEWLINE).count()
}

/// The meaning of the doubtful name asked about last, kept for the mappings that follow with the same.
#[derive(Default)]
pub(super) struct Resolved {
    of: Option<(Vec<u8>, Option<Device>, u64)>,
    name: Vec<u8>,
    deleted: bool,
}

impl Resolved {
    /// Finds out what a name means, if it does not say so itself.
    ///
    /// ` (deleted)` is a mark or part of the name, each `\012` a newline or four letters: the system knows which of the
    /// readings is this file. If none is there (any more), the kernel's usual meaning is taken.
    #[inline]
    pub(super) fn resolve(&mut self, names: &Names<'_>, raw: &Raw<'_>) {
        if matches!(meaning(raw), Meaning::Doubtful) {
            self.ask(names, raw);
        }
    }

    fn ask(&mut self, names: &Names<'_>, raw: &Raw<'_>) {
        let Raw { name, device, inode, .. } = *raw;
        if self.of.as_ref().is_some_and(|of| (of.0.as_slice(), of.1, of.2) == (name, device, inode)) {
            return;
        }
        let newlines = if raw.escaped { count_newlines(name) } else { 0 };
        // Each reading costs a `stat`. Whoever names a file by more than three of both kinds mixed gets the usual one.
        let readings = 1_u32 << newlines.min(3);
        let found = (0..readings)
            .map(|literally| read(name, newlines, literally))
            .find(|reading| names.is_file(reading, device, inode));
        let usual = || read(name, newlines, 0);
        (self.name, self.deleted) = match found {
            Some(reading) => (reading.into_owned(), false),
            None if name.ends_with(DELETED) => (without_mark(usual()).into_owned(), true),
            None => (usual().into_owned(), false),
        };
        self.of = Some((name.to_vec(), device, inode));
    }
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

    fn of(name: &[u8], device: Option<Device>, shared: bool) -> Backing<'static> {
        let raw = || Raw { name, escaped: true, shared, offset: 0, device, inode: 99 };
        let mut resolved = Resolved::default();
        resolved.resolve(&Names::Own, &raw());
        backing(&resolved, raw()).into_owned()
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
            (br"/memfd:a\012b (deleted)", b"/memfd:a\nb", true, SharedMemory),
            (b"/secretmem (deleted)", b"/secretmem", true, SharedMemory),
            (b"/dmabuf:x", b"/dmabuf:x", true, SharedMemory),
            (b"/[aio] (deleted)", b"/[aio]", true, Kernel),
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
            (&b"/dev/zero_x (deleted)"[..], &b"/dev/zero_x"[..], true),
            (b"/secretmem-data (deleted)", b"/secretmem-data", true),
            (b"/SYSVlog (deleted)", b"/SYSVlog", true),
            (b"/SYSV0000abcg (deleted)", b"/SYSV0000abcg", true),
            (b"/no/such file (deleted)", b"/no/such file", true),
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

    /// The inode alone names a file only on its own device, where both ways of asking show the real one.
    #[test]
    fn a_file_is_known_by_device_and_inode() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = std::os::unix::ffi::OsStrExt::as_bytes(file.path().as_os_str());
        let metadata = file.as_file().metadata().unwrap();
        let (inode, number) =
            (std::os::unix::fs::MetadataExt::ino(&metadata), std::os::unix::fs::MetadataExt::dev(&metadata));
        let device = Device { major: rustix::fs::major(number), minor: rustix::fs::minor(number) };
        let other = Device { minor: device.minor ^ 1, ..device };
        assert!(Names::Own.is_file(path, Some(device), inode));
        assert!(!Names::Own.is_file(path, Some(device), inode ^ 1));
        assert!(!Names::Own.is_file(b"/no/such/file", Some(device), inode));
        // Of a file system without a device the numbers need not agree.
        assert_eq!(Names::Own.is_file(path, Some(other), inode), device.major == 0);
        assert!(Names::Own.is_file(path, Some(Device { major: 0, minor: 7 }), inode));
    }
}
