//! What the kernel says of both mappings.

use rustix::mm::MapFlags;
use std::format;

/// Trap: memory that was promised to nobody: where the kernel promises no more than it has, both views of code are accounted for at once.
#[test]
fn a_double_is_promised_where_wanted() {
    let len = crate::range::PageLen::covering(1 << 16).unwrap();
    for (flags, promised) in [(MapFlags::empty(), true), (MapFlags::NORESERVE, false)] {
        let views = super::by_copy(len, crate::os::Place::Anywhere, flags).unwrap();
        // Also of a neighbour that is joined with it, which is none: it is shared memory of its own.
        let first = views.data.addr().get();
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let at = smaps.find(&format!("\n{first:x}-")).unwrap();
        let marks = smaps[at..].lines().find(|line| line.starts_with("VmFlags:")).unwrap();
        assert_eq!(marks.split_whitespace().any(|mark| mark == "nr"), !promised, "{marks}");
        for view in [views.code, views.data] {
            let range = crate::range::PageRange::starting_at(view.addr().get(), len).unwrap();
            // SAFETY: just mapped, and used no more.
            unsafe { super::super::unmap(range) }.unwrap();
        }
    }
}
