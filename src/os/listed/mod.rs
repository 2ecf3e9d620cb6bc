//! What the systems share that give all mappings of a process at once: FreeBSD, NetBSD, OpenBSD, illumos.
//!
//! Such a list is a buffer of entries of the kernel's. Here it is taken apart, by code without a system call in it: the
//! layouts ([`freebsd`], [`netbsd`], [`openbsd`], [`illumos`]) and the walking ([`walk`]) are tested on every host. What
//! the layouts say of the kernel's structures is checked against those of `libc` where the system is compiled for.

#[allow(dead_code, reason = "each layout has use for some of them")]
mod fields;
mod walk;

#[cfg(any(test, target_os = "freebsd"))]
pub(super) mod freebsd;
#[cfg(any(test, target_os = "illumos"))]
pub(super) mod illumos;
#[cfg(any(test, target_os = "netbsd"))]
pub(super) mod netbsd;
#[cfg(any(test, target_os = "openbsd"))]
pub(super) mod openbsd;

#[cfg(any(target_os = "freebsd", target_os = "netbsd", target_os = "openbsd", target_os = "illumos"))]
pub(super) use walk::{Entry, System, Walk, backing, query, usage};

#[cfg(target_os = "illumos")]
pub(super) use walk::Scratch;

#[cfg(any(target_os = "freebsd", target_os = "netbsd", target_os = "openbsd", target_os = "illumos"))]
pub(super) mod sys;

#[cfg(any(target_os = "freebsd", target_os = "netbsd", target_os = "openbsd"))]
pub(super) mod sysctl;
