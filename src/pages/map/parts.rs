//! One mapping in two, and two in one.

use super::Map;
use crate::error::{Error, Failure, Operation};
use crate::os;
use crate::pages::origin::{self, Origin};
use alloc::sync::Arc;
use core::mem::{self, ManuallyDrop};
use core::ptr;

impl Map {
    /// The offset as one between two pages inside the mapping.
    fn boundary(&self, at: usize, operation: Operation) -> Result<usize, Error> {
        let mask = self.unit().saturating_sub(1);
        let odd = self.start().checked_add(at).is_none_or(|boundary| boundary & mask != 0);
        if odd || at == 0 || at >= self.len {
            let why = match at {
                _ if odd => "the offset is not between two pages of the mapping (see Pages::page_size)",
                0 => "the first half would have no pages",
                _ => "the offset is not before the end of the mapping",
            };
            return Err(Failure::invalid(why).during(operation, self.pages(), None));
        }
        Ok(at)
    }

    /// Cuts the mapping in two; `self` keeps the pages below `at`.
    pub(in crate::pages) fn split_off(&mut self, at: usize) -> Result<Self, Error> {
        let at = self.boundary(at, Operation::Split)?;
        let Some(whole) = self.extent() else { return Err(self.nothing(Operation::Split)) };
        // SAFETY: `at` is less than the length (just checked), so that the place lies inside the mapping.
        let base = unsafe { self.base.add(at) };
        let origin = self.origin.get_or_insert_with(|| Arc::new(Origin::whole(whole, os::Attached::NOTHING)));
        let origin = Some(Arc::clone(origin));
        let len = self.len.saturating_sub(at);
        let rest = Self { base, len, before: 0, after: self.after, origin, ..*self };
        self.len = at;
        self.after = 0;
        Ok(rest)
    }

    /// Cuts the mapping in two; `self` keeps the pages from `at` on.
    pub(in crate::pages) fn split_to(&mut self, at: usize) -> Result<Self, Error> {
        let rest = self.split_off(at)?;
        Ok(mem::replace(self, rest))
    }

    /// Adds the pages of `other`, which come directly behind, and were once of the same mapping.
    pub(in crate::pages) fn merge(&mut self, other: Self) -> Result<(), (Self, Error)> {
        let refuse = |other: Self, why| {
            let error = Failure::invalid(why).during(Operation::Merge, other.pages(), None);
            Err((other, error))
        };
        let same_origin = match (&self.origin, &other.origin) {
            (Some(own), Some(others)) => origin::are_one(own, others),
            _ => false,
        };
        if !same_origin {
            return refuse(
                other,
                "the mappings were never one: memory of two mappings is not one piece of memory to Rust",
            );
        }
        if self.base.addr().get().checked_add(self.len) != Some(other.base.addr().get()) {
            return refuse(other, "the other mapping does not begin where this one ends");
        }
        if self.after != 0 || other.before != 0 {
            return refuse(other, "there are guard pages between the two");
        }
        if self.locks != other.locks {
            return refuse(other, "one of them is locked more often than the other");
        }
        if let (Some(own), Some(others)) = (&mut self.origin, &other.origin) {
            if let Err(failure) = origin::unite(own, others) {
                let pages = other.pages();
                return Err((other, failure.during(Operation::Merge, pages, None)));
            }
        }
        self.len = self.len.saturating_add(other.len);
        self.after = other.after;
        self.marks = self.marks.beside(other.marks);
        // The pages are counted as this mapping's; of the other, its share of the origin alone ends.
        let other = ManuallyDrop::new(other);
        // SAFETY: `other` is not used after this, nor dropped: the field is read out once.
        drop(unsafe { ptr::read(&raw const other.origin) });
        Ok(())
    }
}
