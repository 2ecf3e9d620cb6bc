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
