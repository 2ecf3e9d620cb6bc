//! Guests, and what is asked of all buffers.

use folio::Pages;
use folio::process::{Error, Guest, Host, WriteableProcessBuffer};
use std::cell::Cell;

/// One of a host of its own.
pub fn guest(len: usize) -> Guest {
    Host::new().guest(Pages::new(len).unwrap()).unwrap()
}

/// The closure does not run, whichever way.
pub fn nobody_gets_in(buffer: &impl WriteableProcessBuffer) {
    let ran = Cell::new(false);
    assert_eq!(buffer.enter(|_| ran.set(true)), Err(Error::NoSuchApp));
    assert_eq!(buffer.mut_enter(|_| ran.set(true)), Err(Error::NoSuchApp));
    assert!(!ran.get());
    assert_eq!((buffer.len(), buffer.is_empty()), (0, true));
}
