//! Iterators of a vector's own: those that take elements away.

mod drain;
mod extract_if;
mod into_iter;
mod splice;

pub use drain::Drain;
pub use extract_if::ExtractIf;
pub use into_iter::IntoIter;
pub use splice::Splice;
