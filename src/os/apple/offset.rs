//! How a private mapping lies over its file: arithmetic alone, which is tested on other systems, too.

/// The offset of a region's first byte in its file, by a page of it that is still the file's. Tries the first, the last and
/// the middle one: pages that were written to no longer tell.
pub(super) fn offset_by_a_page(
    base: u64,
    len: u64,
    page: u64,
    mut offset_of: impl FnMut(u64) -> Option<u64>,
) -> Option<u64> {
    let pages = len.checked_div(page)?;
    let last = pages.checked_sub(1)?;
    [Some(0), Some(last).filter(|&last| last > 0), Some(last / 2).filter(|&middle| middle > 0)]
        .into_iter()
        .flatten()
        .find_map(|index| {
            let inside = index.checked_mul(page)?;
            offset_of(base.checked_add(inside)?)?.checked_sub(inside)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A private mapping's own offset is not that in the file once it was written to: found by reading
    /// `vm_object_copy_delayed` and `vm_object_shadow`, after every program's code had been without an offset.
    #[test]
    fn an_offset_is_found_by_any_page_that_is_still_the_files() {
        let file = |written: &'static [u64]| {
            move |address: u64| (!written.contains(&address)).then_some(address - 0x10_0000 + 0x8000)
        };
        let of = |pages: u64, written| offset_by_a_page(0x10_0000, pages * 0x4000, 0x4000, file(written));
        assert_eq!(of(1, &[]), Some(0x8000));
        assert_eq!(of(1, &[0x10_0000]), None);
        assert_eq!(of(2, &[0x10_0000]), Some(0x8000));
        assert_eq!(of(8, &[0x10_0000, 0x11_c000]), Some(0x8000));
        assert_eq!(of(8, &[0x10_0000, 0x11_c000, 0x10_c000]), None);
        assert_eq!(of(0, &[]), None);
        let all = |_| Some(0);
        assert_eq!(offset_by_a_page(u64::MAX - 0xfff, 0x1000, 0x1000, all), Some(0));
        assert_eq!(offset_by_a_page(u64::MAX, u64::MAX, 0x1000, |_| None), None);
        assert_eq!(offset_by_a_page(0, 0x1000, 0, all), None);
    }
}
