//! The same memory at two places: two views of a section that is in no file.

use super::change::{not_mapped, not_mapped_at};
use super::sys::{self, Code};
use crate::error::{ErrorKind, Failure};
use crate::os::{Place, Twice};
use crate::range::{PageLen, PageRange};
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_DYNAMIC_CODE_BLOCKED, ERROR_INVALID_ADDRESS, ERROR_INVALID_PARAMETER,
};
use windows_sys::Win32::System::Memory::{
    FILE_MAP_EXECUTE, FILE_MAP_READ, FILE_MAP_WRITE, PAGE_EXECUTE_READWRITE,
};

fn refused(code: Code) -> Failure {
    match code {
        Code(ERROR_ACCESS_DENIED | ERROR_DYNAMIC_CODE_BLOCKED) => code
            .of_kind(ErrorKind::NotPermitted)
            .detail("a policy forbids this program to execute what it has written")
            .remedy("see which one it is: arbitrary code guard (SetProcessMitigationPolicy, ProcessDynamicCodePolicy)"),
        code => not_mapped(code),
    }
}

/// Zeroed memory, all of it promised by the system: readable and executable at the place, readable and writable where the system
/// likes.
pub(crate) fn map_twice(len: PageLen, place: Place) -> Result<Twice, Failure> {
    let there = match place {
        Place::Anywhere => 0,
        Place::At(first) => first,
        Place::Hint(_) | Place::Over(_) => return Err(Failure::new(ErrorKind::Unsupported)),
    };
    let section = sys::create_memory(len.bytes(), PAGE_EXECUTE_READWRITE).map_err(refused)?;
    // The section lives as long as it has views (MSDN, CreateFileMapping): its handle is closed at the end of this function.
    let view = |access, place| sys::map_view(&section, access, 0, len.bytes(), place, None);
    let code = view(FILE_MAP_READ | FILE_MAP_EXECUTE, there).map_err(|code| {
        match (code, PageRange::starting_at(there, len)) {
            (Code(ERROR_INVALID_ADDRESS | ERROR_INVALID_PARAMETER), Some(range)) if there != 0 => {
                not_mapped_at(range, code)
            }
            _ => refused(code),
        }
    })?;
    match view(FILE_MAP_READ | FILE_MAP_WRITE, 0) {
        Ok(data) => Ok(Twice { code, data }),
        Err(failed) => {
            // SAFETY: just mapped, and nobody was told.
            let _unmapped = unsafe { sys::unmap_view(code.addr().get()) };
            Err(not_mapped(failed))
        }
    }
}

/// A section keeps its memory as long as it is there.
///
/// # Safety
///
/// None: nothing is done.
#[expect(clippy::unnecessary_wraps, reason = "on other systems it can fail")]
pub(crate) unsafe fn empty_twice(_data: PageRange) -> Result<usize, Failure> {
    Ok(0)
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use crate::os;
    use crate::os::inject::{calls_of, fail_from, fail_nth};
    use crate::protection::Protection;
    use core::ptr::NonNull;
    use windows_sys::Win32::Foundation::{ERROR_COMMITMENT_LIMIT, ERROR_INVALID_HANDLE};

    fn len() -> PageLen {
        PageLen::covering(3 * crate::page::size()).unwrap()
    }

    fn give_back(twice: Twice) {
        for view in [twice.code, twice.data] {
            let range = PageRange::starting_at(view.as_ptr().expose_provenance(), len()).unwrap();
            // SAFETY: the whole of a view of the test's own.
            unsafe { os::unmap(range) }.unwrap();
        }
    }

    #[test]
    fn what_is_written_at_one_place_is_read_at_the_other() {
        let twice = map_twice(len(), Place::Anywhere).unwrap();
        let grants = |view: NonNull<u8>| crate::query(view.as_ptr()).unwrap().protection();
        assert_eq!(grants(twice.code), Protection::READ_EXECUTE);
        assert_eq!(grants(twice.data), Protection::READ_WRITE);
        for offset in [0, len().bytes() / 2, len().bytes() - 1] {
            // SAFETY: within the view, which can be written.
            unsafe { twice.data.as_ptr().wrapping_add(offset).write_volatile(9) };
            // SAFETY: within the other one, which can be read.
            assert_eq!(unsafe { twice.code.as_ptr().wrapping_add(offset).read_volatile() }, 9);
        }
        let first = twice.code.addr().get();
        let taken = map_twice(len(), Place::At(first)).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::Occupied);
        give_back(twice);
        // A place of this test's own.
        let there = 0x3d_usize.wrapping_shl(if usize::BITS == 64 { 37 } else { 24 });
        let at = map_twice(len(), Place::At(there)).unwrap();
        assert_eq!(at.code.addr().get(), there);
        give_back(at);
        assert!(crate::query(core::ptr::without_provenance::<u8>(there)).is_err());
    }

    /// Trap: a section handle or a view leaked.
    #[test]
    fn a_refused_view_leaves_none() {
        for (code, kind) in [
            (ERROR_DYNAMIC_CODE_BLOCKED, ErrorKind::NotPermitted),
            (ERROR_COMMITMENT_LIMIT, ErrorKind::Exhausted),
            (ERROR_INVALID_HANDLE, ErrorKind::System),
        ] {
            let code = i32::try_from(code).unwrap();
            for nth in 0.. {
                let make = || calls_of(|| map_twice(len(), Place::Anywhere));
                let ((made, calls), came) = fail_nth(None, nth, code, make);
                let count = |name| calls.iter().filter(|&&call| call == name).count();
                assert_eq!(count("CreateFileMapping"), 1);
                match made {
                    Ok(twice) => give_back(twice),
                    Err(failure) => {
                        assert_eq!(failure.kind(), kind, "call {nth}");
                        let views = count("MapViewOfFile").saturating_sub(1);
                        assert_eq!(count("UnmapViewOfFile"), views, "{calls:?}");
                    }
                }
                if !came {
                    break;
                }
            }
        }
        // What is refused everywhere is a policy's doing.
        let denied = i32::try_from(ERROR_ACCESS_DENIED).unwrap();
        let (made, _) = fail_from(None, 0, denied, || map_twice(len(), Place::Anywhere));
        assert_eq!(made.unwrap_err().kind(), ErrorKind::NotPermitted);
    }
}
