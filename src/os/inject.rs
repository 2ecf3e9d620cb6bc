//! Failure injection: compiled for tests only, where it lets the n-th system call of a thread fail.
//!
//! Each backend passes every system call that can fail through [`point`]. Interposing libc would not do: the calls are raw.

/// A system call that can fail is about to be made. In tests: gives the code to fail with instead, if one was ordered.
#[cfg(not(test))]
#[inline(always)]
#[allow(dead_code, reason = "a backend that makes no calls has no use for it")]
pub(crate) const fn point(_call: &'static str) -> Option<i32> {
    None
}

#[cfg(test)]
pub(crate) use active::*;

#[cfg(test)]
#[allow(dead_code, reason = "a backend that makes no calls has no use for it")]
mod active {
    use core::cell::{Cell, RefCell};
    use std::boxed::Box;
    use std::thread_local;
    use std::vec::Vec;

    thread_local! {
        static ORDER: Cell<Option<Order>> = const { Cell::new(None) };
        static CALLS: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
        static RECORDING: Cell<bool> = const { Cell::new(false) };
        static ACTION: RefCell<Option<Action>> = const { RefCell::new(None) };
    }

    /// Before which call, and what.
    type Action = (&'static str, Box<dyn FnOnce()>);

    #[derive(Clone, Copy)]
    struct Order {
        /// Only calls of this name count; all if `None`.
        call: Option<&'static str>,
        skip: usize,
        code: i32,
        /// All from there on, not one.
        lasting: bool,
        failed: bool,
    }

    pub(crate) fn point(call: &'static str) -> Option<i32> {
        if RECORDING.get() {
            CALLS.with_borrow_mut(|calls| calls.push(call));
        }
        let due = ACTION.with_borrow_mut(|action| action.take_if(|(name, _)| *name == call));
        if let Some((_, act)) = due {
            act();
        }
        let mut order = ORDER.get()?;
        if order.call.is_some_and(|name| name != call) {
            return None;
        }
        if order.skip > 0 {
            order.skip -= 1;
            ORDER.set(Some(order));
            return None;
        }
        ORDER.set(order.lasting.then_some(Order { failed: true, ..order }));
        Some(order.code)
    }

    /// Runs `body` with the `n`-th call (from 0) of this thread failing, once, with `code`. Says whether it came so far.
    pub(crate) fn fail_nth<T>(
        call: Option<&'static str>,
        n: usize,
        code: i32,
        body: impl FnOnce() -> T,
    ) -> (T, bool) {
        ORDER.set(Some(Order { call, skip: n, code, lasting: false, failed: false }));
        let result = body();
        (result, ORDER.take().is_none())
    }

    /// Runs `body` with all calls of this thread failing from the `n`-th on (from 0). Says whether it came so far.
    pub(crate) fn fail_from<T>(
        call: Option<&'static str>,
        n: usize,
        code: i32,
        body: impl FnOnce() -> T,
    ) -> (T, bool) {
        ORDER.set(Some(Order { call, skip: n, code, lasting: true, failed: false }));
        let result = body();
        (result, ORDER.take().is_some_and(|order| order.failed))
    }

    /// Lets this thread's next call of a name fail: from what [`just_before`] runs, say, where another order is done with.
    pub(crate) fn order(call: &'static str, code: i32) {
        ORDER.set(Some(Order { call: Some(call), skip: 0, code, lasting: false, failed: false }));
    }

    /// Lets something happen just before this thread's next call of a name: what a signal handler or another thread could do.
    pub(crate) fn just_before(call: &'static str, act: impl FnOnce() + 'static) {
        ACTION.set(Some((call, Box::new(act))));
    }

    /// Runs `body` and gives the names of the system calls it made on this thread.
    pub(crate) fn calls_of<T>(body: impl FnOnce() -> T) -> (T, Vec<&'static str>) {
        RECORDING.set(true);
        let result = body();
        RECORDING.set(false);
        (result, CALLS.take())
    }

    /// Whether it matters which calls this thread makes.
    pub(crate) fn is_counting() -> bool {
        RECORDING.get() || ORDER.get().is_some()
    }

    /// A number that no other thread has.
    pub(crate) fn this_thread() -> usize {
        RECORDING.with(|recording| core::ptr::from_ref(recording).addr())
    }
}
