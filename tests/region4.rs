//! A program for `region` 4, with nothing changed but the crate's name: every item of its documentation, by the same name and with
//! a signature that takes and gives the same.
#![allow(unused_unsafe, reason = "what is unsafe there need not be so here")]

use folio as region;

use region::{Allocation, LockGuard, ProtectGuard, Protection, QueryIter, Region};

#[test]
fn a_program_for_region_does_the_same() -> region::Result<()> {
    let data = [0xDE_u8, 0xAD, 0xBE, 0xEF];

    let size: usize = region::page::size();
    let above: *const u8 = region::page::ceil(data.as_ptr());
    let below: *const u8 = region::page::floor(data.as_ptr());
    assert!(below <= data.as_ptr() && data.as_ptr() <= above && above.addr() - below.addr() <= size);

    let found: Region = region::query(data.as_ptr())?;
    assert!(found.is_committed() && found.is_readable() && found.is_writable());
    assert!(!found.is_executable() && !found.is_guarded() && !found.is_shared());
    assert_eq!(found.protection(), Protection::READ_WRITE);
    let _most: Protection = found.max_protection();
    assert!(found.as_range().contains(&data.as_ptr().addr()));
    assert_eq!(found.as_ptr::<u8>().addr(), found.as_range().start);
    assert_eq!(found.as_ptr_range::<u8>().end.addr(), found.as_range().end);
    assert_eq!(found.len(), found.as_range().len());

    let regions: QueryIter = region::query_range(data.as_ptr(), data.len())?;
    assert_eq!(regions.collect::<region::Result<Vec<_>>>()?.len(), 1);

    let mut memory: Allocation = region::alloc(100, Protection::READ_WRITE)?;
    assert_eq!(memory.len(), size);
    assert!(!memory.is_empty());
    let first: *mut u8 = memory.as_mut_ptr::<u8>();
    assert_eq!(memory.as_ptr::<u8>(), first.cast_const());
    assert_eq!(memory.as_ptr_range::<u8>().start.addr(), memory.as_range().start);
    assert_eq!(memory.as_mut_ptr_range::<u8>().end.addr(), memory.as_range().end);

    // SAFETY: pages of this test's own, to which nobody has references.
    unsafe { region::protect(first, size, Protection::READ)? };
    assert_eq!(region::query(first)?.protection(), Protection::READ);
    {
        // SAFETY: as above.
        let _guard: ProtectGuard =
            unsafe { region::protect_with_handle(first, size, Protection::READ_WRITE)? };
        assert_eq!(region::query(first)?.protection(), Protection::READ_WRITE);
    }
    assert_eq!(region::query(first)?.protection(), Protection::READ);

    let guard: LockGuard = region::lock(first, size)?;
    std::mem::forget(guard);
    // SAFETY: nothing is asked for here.
    unsafe { region::unlock(first, size)? };

    let (address, length) = memory.into_raw_parts::<u8>();
    // SAFETY: just taken apart.
    drop(unsafe { Allocation::from_raw_parts(address, length) });

    // What is mapped by then is left alone, where `region` would have replaced it.
    let place = region::alloc(64 << 10, Protection::NONE)?;
    assert!(region::alloc_at(place.as_ptr::<u8>(), 1, Protection::READ).is_err());

    let error: region::Error = region::query(std::ptr::null::<u8>()).unwrap_err();
    assert!(error.raw_os_error().is_none_or(|code| code != 0));
    let _io: Option<std::io::Error> = error.as_io_error();
    let _io: std::io::Error = error.into_io_error();

    assert_eq!(Protection::NONE.bits(), 0);
    assert_eq!(Protection::READ_WRITE_EXECUTE, Protection::all());
    assert_eq!(Protection::WRITE_EXECUTE, Protection::WRITE | Protection::EXECUTE);
    assert_eq!(Protection::READ.to_string(), "r--");
    Ok(())
}
