//! Pages that are kept in memory.

use super::Map;
use crate::error::{Error, ErrorKind, Failure, Operation};
use crate::guard::{LockGuard, unlock};
use core::mem;

impl Map {
    /// Locks that outlived their pages would keep those of the next owner locked.
    pub(in crate::pages) fn end_locks(&self, len: usize) {
        for _ in 0..self.locks {
            let _unlocked = unlock(self.base.as_ptr().cast_const(), len);
        }
    }

    pub(in crate::pages) fn lock(&mut self) -> Result<(), Error> {
        let more = self.locks.checked_add(1);
        let Some(more) = more else {
            let failure = Failure::new(ErrorKind::Exhausted).detail("locked 4 billion times");
            return Err(failure.during(Operation::Lock, self.pages(), None));
        };
        mem::forget(self.hold()?);
        self.locks = more;
        Ok(())
    }

    pub(in crate::pages) fn unlock(&mut self) -> Result<(), Error> {
        let Some(fewer) = self.locks.checked_sub(1) else {
            let failure = Failure::invalid("the pages are not locked");
            return Err(failure.during(Operation::Unlock, self.pages(), None));
        };
        unlock(self.base.as_ptr().cast_const(), self.len)?;
        // Not after a failure: it can be tried again, and the drop takes what was not taken.
        self.locks = fewer;
        Ok(())
    }

    pub(in crate::pages) fn hold(&self) -> Result<LockGuard, Error> {
        crate::guard::lock(self.base.as_ptr().cast_const(), self.len)
    }
}
