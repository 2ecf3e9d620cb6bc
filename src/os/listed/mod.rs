//! What the systems share that give all mappings of a process at once: FreeBSD, NetBSD, OpenBSD, illumos.
//!
//! Such a list is a buffer of entries of the kernel's. Here it is taken apart, by code without a system call in it: the
//! layouts ([`freebsd`], [`netbsd`], [`openbsd`], [`illumos`]), the walking ([`walk`]), growing buffers ([`buffer`]) and
//! telling processes apart ([`started`]) are tested on every host. What the layouts say of the kernel's structures is checked against those of `libc` where the system is compiled for.

pub(super) mod buffer;
#[allow(dead_code, reason = "each layout has use for some of them")]
pub(super) mod fields;
pub(super) mod walk;

#[cfg(any(test, target_os = "freebsd"))]
pub(super) mod freebsd;
#[cfg(any(test, target_os = "illumos"))]
pub(super) mod illumos;
#[cfg(any(test, target_os = "netbsd"))]
pub(super) mod netbsd;
#[cfg(any(test, target_os = "openbsd"))]
pub(super) mod openbsd;

#[cfg(any(test, target_os = "freebsd", target_os = "netbsd", target_os = "openbsd"))]
mod started;

#[cfg(any(target_os = "freebsd", target_os = "netbsd", target_os = "openbsd", target_os = "illumos"))]
pub(super) mod sys;

#[cfg(any(target_os = "freebsd", target_os = "netbsd", target_os = "openbsd"))]
pub(super) mod sysctl;
