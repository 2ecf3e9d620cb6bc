//! What the tests look at.

use folio::{Process, Region};

/// No page of this process can be written and executed at once, as the system tells.
pub(crate) fn assert_nothing_writable_is_executable() {
    let bad: Vec<Region> = Process::current()
        .regions()
        .expect("a listing")
        .map(|region| region.expect("a region"))
        .filter(|region| region.is_writable() && region.is_executable())
        .collect();
    assert!(bad.is_empty(), "{bad:?}");
}

/// What a byte's page grants: read, write, execute.
pub(crate) fn grants<T>(address: *const T) -> [bool; 3] {
    let region = folio::query(address).expect("a region");
    [region.is_readable(), region.is_writable(), region.is_executable()]
}
