//! Address space without memory behind it, as a whole and in parts.

mod options;
mod reservation;
mod reserved;
mod runs;
mod space;
#[cfg(test)]
mod tests;

pub use reservation::{PartState, Parts, Reservation, ReservationPart};
#[cfg(feature = "allow_exec")]
pub use reserved::ReservedExec;
pub use reserved::{Reserved, ReservedMut, ReservedNone};
pub(super) use space::Space;
