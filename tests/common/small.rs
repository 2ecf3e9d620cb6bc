//! A file system that is soon full, seen by a child process only.
#![cfg(target_os = "linux")]

use super::{Helper, role, say, skipped};
use std::ffi::{CStr, CString, c_ulong};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

fn done(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Mounts of one's own, which end with the process: as root, or as one who is root for himself.
fn own_mounts(maps: &[(&str, String)]) -> io::Result<()> {
    // SAFETY: numbers only.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } == 0 {
        return Ok(());
    }
    // SAFETY: numbers only.
    done(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) })?;
    maps.iter().try_for_each(|(path, text)| std::fs::write(path, text))
}

fn mount(what: &CStr, place: &CStr, how: c_ulong, options: &CStr) -> io::Result<()> {
    let (name, kind) = (what.as_ptr(), what.as_ptr());
    // SAFETY: strings that end.
    done(unsafe { libc::mount(name, place.as_ptr(), kind, how, options.as_ptr().cast()) })
}

/// Runs the test in a folder on a `tmpfs` of 1 MiB: in a child process, whose mounts nobody else sees and which are gone with it.
pub fn in_small_tmpfs(test: &str, run: impl FnOnce(&Path)) {
    if let Some(folder) = role() {
        let path = CString::new(folder.as_bytes()).unwrap();
        // (What is mounted below a shared mount is mounted for all.)
        let mounted = mount(c"none", c"/", libc::MS_REC | libc::MS_PRIVATE, c"")
            .and_then(|()| mount(c"tmpfs", &path, 0, c"size=1m"));
        match mounted {
            Ok(()) => {
                run(Path::new(&folder));
                say("done");
            }
            Err(error) => say(format!("mount: {error}")),
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // SAFETY: numbers only.
    let user = unsafe { libc::geteuid() };
    // SAFETY: numbers only.
    let group = unsafe { libc::getegid() };
    let maps = [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {user} 1")),
        ("/proc/self/gid_map", format!("0 {group} 1")),
    ];
    let child = Helper::try_start(test, folder.path(), |command| {
        // SAFETY: system calls only: paths as short as these are not copied to the heap.
        unsafe { command.pre_exec(move || own_mounts(&maps)) };
    });
    match child.map(|mut child| (child.line(), child)) {
        Ok((said, child)) if said == "done" => child.finish(),
        Ok((said, _)) => skipped(test, &said),
        Err(error) => skipped(test, &format!("no mounts of one's own: {error}")),
    }
}
