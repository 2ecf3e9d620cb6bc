//! Random sequences of everything that changes pages, in several threads, against a map from page to its state; compared with
//! what the system reports after each step.

mod common;

use common::{Helper, protections, role, rounds};
use folio::{
    Allocation, ErrorKind, LockGuard, ProtectGuard, Protection, alloc_at, lock, page, protect,
    protect_with_handle, query, query_range, unlock,
};
use proptest::prelude::*;
use std::ops::Range;
use std::ptr::without_provenance;

const PAGES: usize = 24;
const THREADS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Alloc(Protection),
    Drop(usize),
    Protect(Protection),
    Guard(Protection),
    EndGuard { which: usize, how: End },
    Lock,
    EndLock(usize),
    Unlock,
    Write(u8),
}

#[derive(Clone, Copy, Debug)]
enum End {
    Drop,
    Restore,
    Forget,
}

fn steps() -> impl Strategy<Value = Vec<(Step, usize, usize)>> {
    let protection = || prop::sample::select(protections());
    let step = prop_oneof![
        4 => protection().prop_map(Step::Alloc),
        2 => (0_usize..8).prop_map(Step::Drop),
        4 => protection().prop_map(Step::Protect),
        4 => protection().prop_map(Step::Guard),
        4 => (0_usize..8, prop::sample::select(vec![End::Drop, End::Restore, End::Forget]))
            .prop_map(|(which, how)| Step::EndGuard { which, how }),
        3 => Just(Step::Lock),
        2 => (0_usize..8).prop_map(Step::EndLock),
        2 => Just(Step::Unlock),
        4 => (1_u8..).prop_map(Step::Write),
    ];
    prop::collection::vec((step, 0..PAGES, 1..PAGES), 1..40)
}

/// One mapped page.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Page {
    protection: Protection,
    content: u8,
    /// Whether the system has been told to keep it.
    locked: bool,
}

/// What the system is believed to have.
struct Model {
    base: usize,
    pages: [Option<Page>; PAGES],
    /// How many locks of folio's each page has; they outlive the page.
    locks: [u32; PAGES],
    allocations: Vec<(Range<usize>, Allocation)>,
    guards: Vec<(Range<usize>, Vec<Protection>, ProtectGuard)>,
    lock_guards: Vec<(Range<usize>, LockGuard)>,
}

impl Model {
    fn address(&self, index: usize) -> usize {
        self.base + index * page::size()
    }

    /// Somewhere in the first of the pages, and a length that ends somewhere in the last one.
    fn bytes(&self, pages: &Range<usize>) -> (*const u8, usize) {
        let start = self.address(pages.start) + 5;
        (without_provenance(start), self.address(pages.end) - 9 - start)
    }

    fn is_mapped(&self, pages: &Range<usize>) -> bool {
        self.pages[pages.clone()].iter().all(Option::is_some)
    }

    fn set(&mut self, pages: Range<usize>, protection: impl Fn(usize) -> Protection) {
        for index in pages {
            if let Some(page) = &mut self.pages[index] {
                page.protection = protection(index);
            }
        }
    }

    fn unlock(&mut self, pages: Range<usize>) {
        for index in pages {
            self.locks[index] = self.locks[index].saturating_sub(1);
            if let (0, Some(page)) = (self.locks[index], &mut self.pages[index]) {
                page.locked = false;
            }
        }
    }

    fn step(&mut self, step: Step, first: usize, count: usize) {
        let pages = first..(first + count).min(PAGES);
        let (at, len) = self.bytes(&pages);
        match step {
            Step::Alloc(protection) => {
                let granule = page::granularity() / page::size();
                let first = first / granule * granule;
                let pages = first..pages.end;
                let (at, len) = self.bytes(&pages);
                let free = self.pages[pages.clone()].iter().all(Option::is_none);
                match alloc_at(at, len, protection) {
                    Ok(allocation) => {
                        assert!(free, "{pages:?} were taken");
                        assert_eq!(allocation.as_range(), self.address(pages.start)..self.address(pages.end));
                        self.pages[pages.clone()].fill(Some(Page { protection, content: 0, locked: false }));
                        self.allocations.push((pages, allocation));
                    }
                    Err(error) => assert!(!free && error.kind() == ErrorKind::Occupied, "{pages:?}: {error}"),
                }
            }
            Step::Drop(which) => {
                if !self.allocations.is_empty() {
                    let (pages, allocation) = self.allocations.swap_remove(which % self.allocations.len());
                    self.pages[pages].fill(None);
                    allocation.free().map_err(|(_, error)| error).unwrap();
                }
            }
            Step::Protect(protection) => {
                // SAFETY: pages of this test's own, to which nobody has references.
                match unsafe { protect(at, len, protection) } {
                    Ok(()) => {
                        assert!(self.is_mapped(&pages));
                        self.set(pages, |_| protection);
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Unmapped, "{error}");
                        assert!(!self.is_mapped(&pages), "{error}");
                        if let Some(changed) = error.changed() {
                            let number = |address| (address - self.base) / page::size();
                            let changed = number(changed.start)..number(changed.end);
                            assert!(changed.start == pages.start && changed.end < pages.end);
                            assert!(self.is_mapped(&changed) && self.pages[changed.end].is_none());
                            self.set(changed, |_| protection);
                        }
                    }
                }
            }
            Step::Guard(protection) => {
                let before: Vec<_> =
                    self.pages[pages.clone()].iter().flatten().map(|page| page.protection).collect();
                // SAFETY: as above.
                match unsafe { protect_with_handle(at, len, protection) } {
                    Ok(guard) => {
                        assert!(self.is_mapped(&pages));
                        assert_eq!(guard.as_range(), self.address(pages.start)..self.address(pages.end));
                        self.guards.push((pages.clone(), before, guard));
                        self.set(pages, |_| protection);
                    }
                    Err(error) => {
                        assert_eq!((error.kind(), error.changed()), (ErrorKind::Unmapped, None), "{error}");
                        assert!(!self.is_mapped(&pages), "{error}");
                    }
                }
            }
            Step::EndGuard { which, how } => {
                if self.guards.is_empty() {
                    return;
                }
                let (pages, before, guard) = self.guards.swap_remove(which % self.guards.len());
                let whole = self.is_mapped(&pages);
                match how {
                    // A drop reports pages that are gone; this is not the place to see that.
                    End::Drop if whole => drop(guard),
                    End::Drop | End::Restore => match guard.restore() {
                        Ok(()) => assert!(whole),
                        Err(error) => {
                            assert!(!whole && error.kind() == ErrorKind::Unmapped, "{error}");
                        }
                    },
                    End::Forget => return guard.forget(),
                }
                let first = pages.start;
                self.set(pages, |index| before[index - first]);
            }
            Step::Lock => {
                // What cannot be read cannot be read in everywhere.
                let readable = |page: &Page| page.protection.contains(Protection::READ);
                if self.pages[pages.clone()].iter().flatten().all(readable) {
                    match lock(at, len) {
                        Ok(guard) => {
                            assert!(self.is_mapped(&pages));
                            for index in pages.clone() {
                                self.locks[index] += 1;
                                self.pages[index].as_mut().unwrap().locked = true;
                            }
                            self.lock_guards.push((pages, guard));
                        }
                        Err(error) => {
                            assert!(!self.is_mapped(&pages), "{error}");
                            assert_eq!(error.kind(), ErrorKind::Unmapped, "{error}");
                            // The system has locked the pages before the hole, of which those stay locked that the counts say
                            // are wanted: by guards made for other pages at this place, that is. The others do not.
                            let hole = pages.clone().find(|&index| self.pages[index].is_none()).unwrap();
                            for index in pages {
                                if let Some(page) = &mut self.pages[index] {
                                    page.locked = self.locks[index] > 0 && (page.locked || index < hole);
                                }
                            }
                        }
                    }
                }
            }
            Step::EndLock(which) => {
                if !self.lock_guards.is_empty() {
                    let (pages, guard) = self.lock_guards.swap_remove(which % self.lock_guards.len());
                    guard.unlock().unwrap();
                    self.unlock(pages);
                }
            }
            Step::Unlock => {
                unlock(at, len).unwrap();
                self.unlock(pages);
            }
            Step::Write(value) => {
                for index in pages {
                    let address = self.address(index);
                    if let Some(page) = &mut self.pages[index] {
                        if page.protection.contains(Protection::READ_WRITE) {
                            let place = std::ptr::with_exposed_provenance_mut::<u8>(address);
                            // SAFETY: a writable page of this test's own.
                            unsafe { place.write(value) };
                            page.content = value;
                        }
                    }
                }
            }
        }
    }

    fn compare(&self) {
        let mut listed = [None; PAGES];
        for region in query_range(without_provenance::<u8>(self.base), PAGES * page::size()).unwrap() {
            let region = region.unwrap();
            for (index, listed) in listed.iter_mut().enumerate() {
                if region.contains(self.address(index)) {
                    *listed = Some(region.protection());
                }
            }
        }
        let expected = self.pages.map(|page| page.map(|page| page.protection));
        assert_eq!(listed, expected);
        for (index, page) in self.pages.iter().enumerate() {
            let Some(page) = page else { continue };
            if page.protection.contains(Protection::READ) {
                // SAFETY: a readable page of this test's own.
                let content =
                    unsafe { std::ptr::with_exposed_provenance::<u8>(self.address(index)).read_volatile() };
                assert_eq!(content, page.content, "page {index}");
            }
        }
        #[cfg(target_os = "linux")]
        {
            let locked = locked_regions();
            for (index, page) in self.pages.iter().enumerate() {
                let Some(page) = page else { continue };
                let found = locked.iter().any(|region| region.contains(&self.address(index)));
                assert_eq!(found, page.locked, "page {index}");
            }
        }
    }
}

/// The regions that the system marks as locked.
#[cfg(target_os = "linux")]
fn locked_regions() -> Vec<Range<usize>> {
    let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut regions = Vec::new();
    let mut region = 0..0;
    for line in text.lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            if flags.split_whitespace().any(|flag| flag == "lo") {
                regions.push(region.clone());
            }
        } else if let Some((start, end)) = line.split_once(' ').and_then(|(range, _)| range.split_once('-')) {
            let number = |digits| usize::from_str_radix(digits, 16).unwrap();
            region = number(start)..number(end);
        }
    }
    regions
}

/// Address space in which nothing is mapped, nor will be by itself: kernels look for room from the top or the bottom, the
/// middle stays free.
fn free_space(thread: usize) -> usize {
    let first = if usize::BITS == 64 { 1_usize << 36 } else { 0x6000_0000 };
    let stride = (2 * PAGES * page::size()).next_multiple_of(1 << 22);
    let candidates = (0..64).map(|slot| first + (slot * THREADS + thread) * stride);
    let free = |&base: &usize| {
        alloc_at(without_provenance::<u8>(base), PAGES * page::size(), Protection::NONE).is_ok()
    };
    candidates.into_iter().find(free).unwrap()
}

#[test]
fn whatever_is_done_the_system_has_what_the_model_has() {
    let test = "whatever_is_done_the_system_has_what_the_model_has";
    if role().is_none() {
        return Helper::start(test, "model").finish();
    }
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            std::thread::spawn(move || {
                let config =
                    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(rounds(60)) };
                let base = free_space(thread);
                proptest!(config, |(steps in steps())| {
                    let mut model = Model {
                        base,
                        pages: [None; PAGES],
                        locks: [0; PAGES],
                        allocations: Vec::new(),
                        guards: Vec::new(),
                        lock_guards: Vec::new(),
                    };
                    for (step, first, count) in steps {
                        model.step(step, first, count);
                        model.compare();
                    }
                    for (.., guard) in model.guards.drain(..) {
                        guard.forget();
                    }
                    drop(model);
                    let left = query(without_provenance::<u8>(base)).map(|region| region.as_range());
                    prop_assert!(left.is_err(), "{left:x?}");
                    // Locks of pages that are gone are given up by their guards; unmatched ones were taken from others.
                    let space = PAGES * page::size();
                    for _ in 0..PAGES {
                        unlock(without_provenance::<u8>(base), space).unwrap();
                    }
                });
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}
