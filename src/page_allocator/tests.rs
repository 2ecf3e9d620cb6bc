//! What can only be tested from inside.
