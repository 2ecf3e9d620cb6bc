//! What can only be tested from inside: a system that refuses at each of its calls.
