//! Which process of a line of forks this is.
//!
//! The process's identifier would not do: that of an ancestor that has ended may be given to a descendant.

/// Not 0; another number in the child of a `fork`.
pub(crate) fn life() -> u64 {
    #[cfg(any(target_os = "freebsd", target_os = "netbsd", target_os = "openbsd"))]
    return wiped::life();
    #[cfg(not(any(target_os = "freebsd", target_os = "netbsd", target_os = "openbsd")))]
    return counted::life();
}

/// Where neither of the two ways can be gone.
fn by_identifier() -> u64 {
    u64::from(crate::os::process_id()) | 1 << 63
}

/// By a page that the system clears in the child, whichever way it was forked: FreeBSD, NetBSD, OpenBSD (minherit(2)).
#[cfg(any(test, target_os = "freebsd", target_os = "netbsd", target_os = "openbsd"))]
pub(super) mod wiped {
    use super::super::sys;
    use crate::page;
    use crate::protection::Protection;
    use crate::range::{PageLen, PageRange};
    use core::ptr;
    use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

    /// Where the page is; null until it is made. Never unmapped, so that a reference to it may live for ever.
    static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

    /// How many numbers were given.
    static LIVES: AtomicU64 = AtomicU64::new(0);

    /// Stands in where no such page is to be had; never written to.
    static NO_PAGE: AtomicU64 = AtomicU64::new(0);

    pub(in super::super) fn life() -> u64 {
        let page = page();
        if ptr::eq(page, &NO_PAGE) {
            return super::by_identifier();
        }
        match page.load(Ordering::Relaxed) {
            0 => {
                // A parent's number was taken from the same counter before the fork, so that ours is another.
                let new = LIVES.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
                match page.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => new,
                    Err(first) => first,
                }
            }
            life => life,
        }
    }

    fn page() -> &'static AtomicU64 {
        let page = PAGE.load(Ordering::Acquire);
        // SAFETY: either null or a page that `make` has mapped, zeroed, readable and writable, for ever; or `NO_PAGE`.
        unsafe { page.as_ref() }.unwrap_or_else(make)
    }

    #[cold]
    fn make() -> &'static AtomicU64 {
        let made = PageLen::covering(page::size()).ok().and_then(|len| {
            // SAFETY: a new mapping at a place of the system's choice touches nobody's memory (mmap(2)).
            let place = unsafe { sys::mmap(0, len, Protection::READ_WRITE, 0) }.ok()?;
            let range = PageRange::starting_at(place.addr(), len)?;
            if is_cleared_in_children(range) {
                return Some(place.cast::<AtomicU64>());
            }
            // SAFETY: just mapped, and nobody was told.
            let _unmapped = unsafe { sys::munmap(range) };
            None
        });
        // (Not to be had for now, or never: the answer stays the same, so that the numbers do.)
        let new = made.unwrap_or_else(|| ptr::from_ref(&NO_PAGE).cast_mut());
        let kept = match PAGE.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => new,
            Err(first) => {
                if let (Some(ours), Ok(len)) = (made, PageLen::covering(page::size())) {
                    if let Some(range) = PageRange::starting_at(ours.addr(), len) {
                        // SAFETY: mapped above, and nobody was told.
                        let _unmapped = unsafe { sys::munmap(range) };
                    }
                }
                first
            }
        };
        // SAFETY: as in `page`, and not null.
        unsafe { &*kept }
    }

    /// `INHERIT_ZERO`, as FreeBSD (12) calls it, and `MAP_INHERIT_ZERO`, as NetBSD and OpenBSD do.
    #[cfg(any(target_os = "freebsd", target_os = "netbsd", target_os = "openbsd"))]
    fn is_cleared_in_children(range: PageRange) -> bool {
        use super::super::errno::Errno;
        #[cfg(target_os = "freebsd")]
        use libc::INHERIT_ZERO as ZERO;
        #[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
        use libc::MAP_INHERIT_ZERO as ZERO;
        if Errno::injected("minherit").is_err() {
            return false;
        }
        // SAFETY: a page just mapped; changes nothing in this process (minherit(2)).
        let answer = unsafe { libc::minherit(sys::pointer(range), range.len(), ZERO) };
        answer == 0
    }

    /// Linux has another call for it, by which this is tested.
    #[cfg(not(any(target_os = "freebsd", target_os = "netbsd", target_os = "openbsd")))]
    fn is_cleared_in_children(range: PageRange) -> bool {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            // SAFETY: a page just mapped; changes nothing in this process (madvise(2)).
            let answer = unsafe { libc::madvise(sys::pointer(range), range.len(), libc::MADV_WIPEONFORK) };
            answer == 0
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        {
            let _ = range;
            false
        }
    }
}

/// By a function that the system calls in the child of a `fork` (pthread_atfork(3)): Apple's systems, whose minherit(2) cannot
/// clear pages, and illumos, which has none. A child made without them being called (`vfork`, `posix_spawn`) runs another program
/// at once.
#[cfg(any(test, target_vendor = "apple", target_os = "illumos"))]
pub(super) mod counted {
    use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

    static LIFE: AtomicU64 = AtomicU64::new(1);

    const REGISTERED: u8 = 1;
    const IMPOSSIBLE: u8 = 2;
    static STATE: AtomicU8 = AtomicU8::new(0);

    pub(in super::super) fn life() -> u64 {
        match STATE.load(Ordering::Acquire) {
            REGISTERED => LIFE.load(Ordering::Relaxed),
            IMPOSSIBLE => super::by_identifier(),
            _ => register(),
        }
    }

    /// Two threads may come here at once, and a child that was forked meanwhile comes again: registered twice, the function is
    /// called twice, and the number still is another. Nobody was told a number before.
    #[cold]
    fn register() -> u64 {
        // SAFETY: the function is there as long as this code is, and does nothing but add to a number (pthread_atfork(3)).
        let registered = unsafe { libc::pthread_atfork(None, None, Some(in_child)) } == 0;
        STATE.store(if registered { REGISTERED } else { IMPOSSIBLE }, Ordering::Release);
        life()
    }

    unsafe extern "C" fn in_child() {
        LIFE.fetch_add(1, Ordering::Relaxed);
    }
}
