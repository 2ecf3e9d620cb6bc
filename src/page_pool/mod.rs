//! Pages that are used again.
