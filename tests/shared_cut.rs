//! Shared pages whose file is cut short, full, or has no huge pages left; descriptors of all kinds.
#![cfg(all(unix, feature = "std"))]

mod common;

use common::{cuts, rounds, skipped};
use folio::{MmapOptions, fault, page};

fn file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![1; cuts::PAGES * page::size()]).unwrap();
    file
}

#[test]
fn copies_are_cut_in_the_midst_by_another_thread() {
    if let Err(error) = fault::install() {
        return skipped("copies_are_cut_in_the_midst_by_another_thread", &error.to_string());
    }
    let file = file();
    let pages = MmapOptions::whole().map_shared_mut(file.as_file()).unwrap();
    cuts::by_a_thread(file.as_file(), pages.part_mut(0, pages.len()).unwrap(), rounds(200));
}

#[test]
fn copies_are_cut_in_the_midst_by_another_process() {
    let test = "copies_are_cut_in_the_midst_by_another_process";
    if cuts::is_the_process() {
        return;
    }
    if let Err(error) = fault::install() {
        return skipped(test, &error.to_string());
    }
    let file = file();
    let pages = MmapOptions::whole().map_shared_mut(file.as_file()).unwrap();
    cuts::by_a_process(test, file.path(), pages.part_mut(0, pages.len()).unwrap(), rounds(200));
}

#[cfg(target_os = "linux")]
mod linux {
    use super::*;
    use folio::fault::FaultKind;
    use folio::{ErrorKind, SharedPages, SharedPagesMut, WriteAccess};
    use std::ffi::c_int;
    use std::fs::File;
    use std::os::fd::{AsRawFd, FromRawFd};
    use std::os::unix::fs::MetadataExt;

    fn owned(number: c_int) -> Option<File> {
        // SAFETY: just opened, and nobody else's.
        (number >= 0).then(|| unsafe { File::from_raw_fd(number) })
    }

    fn memfd(flags: libc::c_uint) -> Option<File> {
        // SAFETY: a name that ends.
        owned(unsafe { libc::memfd_create(c"folio".as_ptr(), flags | libc::MFD_CLOEXEC) })
    }

    fn seal(file: &File, seals: c_int) -> bool {
        // SAFETY: numbers only.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) == 0 }
    }

    fn at<W: WriteAccess>(pages: &SharedPages<W>, offset: usize) -> (usize, bool, FaultKind) {
        let fault = pages.try_read::<u8>(offset).unwrap_err().fault().unwrap();
        (fault.offset(), fault.is_write(), fault.kind())
    }

    /// Trap: `ftruncate` makes a file longer without storage behind it, and who writes there dies of `SIGBUS`.
    #[test]
    fn a_hole_in_a_full_file_system_is_an_error() {
        let test = "linux::a_hole_in_a_full_file_system_is_an_error";
        if let Err(error) = fault::install() {
            return skipped(test, &error.to_string());
        }
        common::small::in_small_tmpfs(test, |folder| {
            let len = 2 << 20;
            let file =
                File::options().read(true).write(true).create_new(true).open(folder.join("full")).unwrap();
            file.set_len(len as u64).unwrap();
            let pages = MmapOptions::whole().map_shared_mut(&file).unwrap();
            let error = pages.try_fill(5, len - 5, 1).unwrap_err();
            let fault = error.fault().unwrap();
            assert_eq!(
                (fault.offset(), fault.is_write(), fault.kind()),
                (1 << 20, true, FaultKind::NoBacking)
            );
            assert_eq!(error.kind(), ErrorKind::Fault);
            let fault = pages.try_write(len - 8, 1_u64).unwrap_err().fault().unwrap();
            assert_eq!(
                (fault.offset(), fault.is_write(), fault.kind()),
                (len - 8, true, FaultKind::NoBacking)
            );
            if cfg!(not(target_arch = "powerpc64")) {
                let fault = pages.try_store(len - 8, 1_u32).unwrap_err().fault().unwrap();
                assert_eq!((fault.offset(), fault.is_write()), (len - 8, true));
            }
            // What is there stays, and can be written to; and once there is room, all can.
            pages.try_fill(0, 1 << 20, 2).unwrap();
            assert_eq!(pages.try_read::<u8>((1 << 20) - 1).unwrap(), 2);
            // SAFETY: numbers only.
            let punched = unsafe {
                libc::fallocate(
                    file.as_raw_fd(),
                    libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
                    0,
                    1 << 20,
                )
            };
            assert_eq!(punched, 0);
            pages.try_write(len - 8, 1_u64).unwrap();
        });
    }

    /// Without a reservation, pages of hugetlb are had when they are touched, or not; with one, there is no mapping without them.
    #[test]
    fn no_huge_page_left_is_an_error() {
        let test = "linux::no_huge_page_left_is_an_error";
        if let Err(error) = fault::install() {
            return skipped(test, &error.to_string());
        }
        let Some(file) = memfd(libc::MFD_HUGETLB) else {
            return skipped(test, &format!("memfd_create: {}", std::io::Error::last_os_error()));
        };
        // Of huge pages of the usual size.
        let size = usize::try_from(file.metadata().unwrap().blksize()).unwrap();
        let free = std::fs::read_to_string("/proc/meminfo").unwrap();
        let free = free.lines().find_map(|line| line.strip_prefix("HugePages_Free:"));
        let free: usize = free.unwrap().trim().parse().unwrap();
        if free > 16 {
            return skipped(test, &format!("{free} free huge pages are too many to use them all up"));
        }
        let len = (free + 1) * size;
        file.set_len(len as u64).unwrap();
        match MmapOptions::whole().map_shared_mut(&file) {
            Ok(_) => {
                return skipped(
                    test,
                    "the kernel makes huge pages when they are asked for (nr_overcommit_hugepages)",
                );
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
                assert!(error.to_string().contains("nr_hugepages"), "{error}");
            }
        }
        let pages = MmapOptions::whole().no_reserve().map_shared_mut(&file).unwrap();
        let error = pages.try_fill(0, len, 1).unwrap_err();
        let fault = error.fault().unwrap();
        assert!(fault.is_write() && fault.offset() % size == 0, "{fault}");
        assert_eq!(fault.kind(), FaultKind::NoBacking, "{fault}");
        assert_eq!(at(&pages, fault.offset() + 7), (fault.offset() + 7, false, FaultKind::NoBacking));
    }

    /// What is sealed against writing can be read; what is sealed against being cut still can have holes made in it.
    #[test]
    fn sealed_objects() {
        let test = "linux::sealed_objects";
        if let Err(error) = fault::install() {
            return skipped(test, &error.to_string());
        }
        let size = page::size();
        let Some(file) = memfd(libc::MFD_ALLOW_SEALING) else { return skipped(test, "no memfd_create") };
        file.set_len(2 * size as u64).unwrap();
        let writer: SharedPagesMut = MmapOptions::whole().map_shared_mut(&file).unwrap();
        writer.try_fill(0, 2 * size, 7).unwrap();
        assert!(seal(&file, libc::F_SEAL_SHRINK | libc::F_SEAL_GROW));
        assert!(file.set_len(0).is_err());
        if seal(&file, libc::F_SEAL_FUTURE_WRITE) {
            let error = MmapOptions::whole().map_shared_mut(&file).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotPermitted, "{error}");
            assert!(error.to_string().contains("sealed"), "{error}");
            let reader = MmapOptions::whole().map_shared(&file).unwrap();
            // The old one still writes.
            writer.try_write(3, 0x0102_0304_u32).unwrap();
            assert_eq!(reader.try_read::<u32>(3).unwrap(), 0x0102_0304);
        }
        drop(writer);
        assert!(seal(&file, libc::F_SEAL_WRITE));
        assert_eq!(MmapOptions::whole().map_shared_mut(&file).unwrap_err().kind(), ErrorKind::NotPermitted);
        match MmapOptions::whole().map_shared(&file) {
            Ok(pages) => assert_eq!(pages.try_read::<u8>(size).unwrap(), 7),
            // Before Linux 6.7, by a descriptor that could write.
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotPermitted, "{error}");
                let again = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
                let pages = MmapOptions::whole().map_shared(&again).unwrap();
                assert_eq!(pages.try_read::<u8>(size).unwrap(), 7);
            }
        }
    }

    /// None of them gives pages, and none of them anything but an error.
    #[test]
    fn descriptors_that_are_no_storage() {
        // SAFETY: a path that ends.
        let path = owned(unsafe { libc::open(c"/proc/self/exe".as_ptr(), libc::O_PATH | libc::O_CLOEXEC) });
        // SAFETY: numbers only.
        let event = owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) });
        // SAFETY: numbers only.
        let epoll = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) });
        let named = super::file();
        let files = [
            (path, ErrorKind::NotPermitted),
            (event, ErrorKind::InvalidInput),
            (epoll, ErrorKind::InvalidInput),
            (File::open("/proc/self/mem").ok(), ErrorKind::InvalidInput),
            (File::open("/proc/self/maps").ok(), ErrorKind::InvalidInput),
            (File::open("/sys/kernel/mm/transparent_hugepage/enabled").ok(), ErrorKind::Unsupported),
            (File::options().write(true).open(named.path()).ok(), ErrorKind::NotPermitted),
            (File::options().append(true).open(named.path()).ok(), ErrorKind::NotPermitted),
        ];
        for (file, kind) in files {
            let Some(file) = file else { continue };
            let errors = [
                MmapOptions::new(1).map_shared(&file).unwrap_err(),
                MmapOptions::new(1).map_shared_mut(&file).unwrap_err(),
            ];
            for error in errors {
                // (What was opened for less than is asked for is told so.)
                assert!(error.kind() == kind || error.kind() == ErrorKind::NotPermitted, "{file:?}: {error}");
            }
        }
    }

    /// Files as long as files can be, and lengths that no memory has.
    #[test]
    fn lengths_beyond_all_measure() {
        let file = memfd(0).unwrap();
        if file.set_len(i64::MAX as u64).is_err() {
            return skipped("linux::lengths_beyond_all_measure", "no file is so long");
        }
        let refused = |options: MmapOptions<'_>| {
            let errors = [options.map_shared(&file).unwrap_err(), options.map_shared_mut(&file).unwrap_err()];
            errors.map(|error| error.kind())
        };
        for options in [
            MmapOptions::whole(),
            MmapOptions::new(usize::MAX),
            MmapOptions::new(isize::MAX as usize),
            MmapOptions::new(isize::MAX as usize - 1).offset(1),
            MmapOptions::new(1).offset(u64::MAX),
            MmapOptions::new(usize::MAX).offset(u64::MAX),
            MmapOptions::new(0).offset(1),
        ] {
            for kind in refused(options.clone()) {
                assert!(
                    matches!(kind, ErrorKind::InvalidInput | ErrorKind::Exhausted),
                    "{options:?}: {kind:?}"
                );
            }
        }
        // The last byte that a file can have.
        let last = MmapOptions::new(1).offset(i64::MAX as u64 - 1);
        match last.map_shared(&file) {
            Ok(pages) if fault::install().is_ok() => assert_eq!(pages.try_read::<u8>(0).unwrap(), 0),
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}"),
        }
    }
}
