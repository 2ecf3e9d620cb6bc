//! What is documented not to allocate does not.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: hands everything on to the system's allocator; the counter is a plain number of the thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _counted = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations_of<T>(body: impl FnOnce() -> T) -> usize {
    let before = ALLOCATIONS.get();
    let _result = std::hint::black_box(body());
    ALLOCATIONS.get() - before
}

#[test]
fn a_query_never_allocates_not_even_the_first_one() {
    if folio::Capabilities::probe().query_method() == folio::QueryMethod::List {
        return eprintln!(
            "skipped: a_query_never_allocates: this system gives lists only, which take a buffer"
        );
    }
    let local = 1_u8;
    assert_eq!(allocations_of(|| folio::query(&local).unwrap()), 0);
    assert_eq!(allocations_of(|| folio::query(&local).unwrap()), 0);
    assert_eq!(allocations_of(|| folio::query(std::ptr::null::<u8>()).is_err()), 0);
    assert_eq!(allocations_of(folio::page::sizes), 0);
}

#[test]
fn a_listing_allocates_a_buffer_and_nothing_for_each_region() {
    let count =
        || folio::query_range(std::ptr::null::<u8>(), usize::MAX).unwrap().map(Result::unwrap).count();
    let regions = count();
    // A list that is growing, or longer than expected, is read again into a larger buffer.
    let most = if folio::Capabilities::probe().query_method() == folio::QueryMethod::List { 12 } else { 2 };
    assert!(allocations_of(count) <= most, "for {regions} regions");
    let snapshot = folio::Process::current().snapshot().unwrap();
    let address = a_listing_allocates_a_buffer_and_nothing_for_each_region as *const () as usize;
    assert_eq!(allocations_of(|| snapshot.find(address).is_some()), 0);
}

#[test]
fn changing_and_holding_pages_allocates_nothing() {
    use folio::{Protection, page};
    if folio::Capabilities::probe().query_method() == folio::QueryMethod::List {
        return eprintln!(
            "skipped: changing_and_holding_pages_allocates_nothing: this system gives lists only, which take a buffer"
        );
    }
    let mut memory = None;
    assert_eq!(
        allocations_of(|| memory = Some(folio::alloc(4 * page::size(), Protection::READ_WRITE).unwrap())),
        0
    );
    let memory = memory.unwrap();
    let place = memory.as_ptr::<u8>();
    for protection in [Protection::READ, Protection::READ_WRITE] {
        // SAFETY: pages of this test's own, to which nobody has references.
        let change = || unsafe { folio::protect(place, page::size(), protection) };
        assert_eq!(allocations_of(change), 0);
    }
    // SAFETY: likewise.
    let for_a_while =
        || unsafe { folio::protect_with_handle(place, page::size(), Protection::READ) }.unwrap().restore();
    assert_eq!(allocations_of(for_a_while), 0);
    // The first lock makes room for the counts.
    let held = || drop(folio::lock(place, memory.len()).unwrap());
    held();
    assert_eq!(allocations_of(held), 0);
    assert_eq!(allocations_of(|| drop(memory)), 0);
}

#[test]
fn pages_go_out_of_a_pool_and_back_without_allocations() {
    let pool = folio::PagePool::new(1, 100);
    let round = || drop([(); 100].map(|()| pool.take().unwrap()));
    // The lists get as long as they will be. (There are two if the stack, by which threads are told apart, crosses a line.)
    let rounds = (0..50).find(|_| allocations_of(round) == 0);
    assert!(rounds.is_some());
    assert_eq!(allocations_of(|| pool.clear()), 0);
    let rounds = (0..50).find(|_| allocations_of(|| pool.prepare(100).unwrap()) == 0);
    assert!(rounds.is_some());
}

#[test]
fn guests_allow_and_buffers_are_entered_without_allocations() {
    use folio::process::{Host, ReadableProcessBuffer, WriteableProcessBuffer};
    let host = Host::new();
    let mut guest = None;
    let pages = folio::Pages::new(1).unwrap();
    // The table of what is allowed, and one life of the guest.
    assert!(allocations_of(|| guest = Some(host.guest(pages).unwrap())) <= 2);
    let guest = guest.unwrap();
    let everything = || {
        let _before = (guest.allow_read_only(0, 0..100).unwrap(), guest.allow_read_write(0, 0..100).unwrap());
        let mut copy = [0; 100];
        let done = guest.read_write(0).mut_enter(|slice| {
            slice.copy_from_slice(&copy);
            slice[..50].copy_from(&slice[20..70]);
            slice.fetch_add(0, 1_u32).unwrap();
            slice.write_le(50, slice.read_be::<u64>(3).unwrap()).unwrap();
            slice.bytes().filter(|&byte| byte == 0).count()
        });
        guest.read_only(0).enter(|slice| slice.copy_to_slice(&mut copy)).unwrap();
        guest.memory().enter(|memory| memory.find(1)).unwrap();
        done.unwrap()
    };
    // (To know its life, the process may note something once.)
    everything();
    assert_eq!(allocations_of(everything), 0);
    assert_eq!(allocations_of(|| guest.terminate()), 0);
}
