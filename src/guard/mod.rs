//! Floor 3: changing what pages grant, and holding them in memory, with guards that undo it.

mod keyed;
mod lock;
mod protect;
