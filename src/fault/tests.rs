//! What needs the failures of system calls.
