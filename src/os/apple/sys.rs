//! The calls used here, each through the failure-injection point, and what their codes mean.
//!
//! Calls of Mach answer with a `kern_return_t`; those of the BSD side leave an `errno`, which is read directly after the call.

use crate::error::{ErrorKind, Failure};
use crate::os::inject;
use crate::os::unix::errno::Errno;
use crate::range::wide;
use core::ffi::{CStr, c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use libc::pid_t;
use mach2::kern_return::{
    KERN_DENIED, KERN_INVALID_ADDRESS, KERN_INVALID_ARGUMENT, KERN_INVALID_TASK, KERN_NO_ACCESS,
    KERN_NO_SPACE, KERN_NOT_SUPPORTED, KERN_PROTECTION_FAILURE, KERN_RESOURCE_SHORTAGE, KERN_SUCCESS,
    KERN_TERMINATED, kern_return_t,
};
use mach2::mach_port::mach_port_deallocate;
use mach2::message::{MACH_SEND_INVALID_DEST, MACH_SEND_MSG_FILTERED, mach_msg_type_number_t};
use mach2::port::{MACH_PORT_NULL, mach_port_name_t, mach_port_t};
use mach2::task::task_info;
use mach2::task_info::{TASK_VM_INFO, task_vm_info};
use mach2::traps::mach_task_self;
use mach2::vm::{mach_vm_map, mach_vm_page_info, mach_vm_region_recurse};
use mach2::vm_inherit::VM_INHERIT_DEFAULT;
use mach2::vm_prot::{VM_PROT_ALL, VM_PROT_EXECUTE, VM_PROT_READ, VM_PROT_WRITE, vm_prot_t};
use mach2::vm_region::{
    VM_PAGE_INFO_BASIC, vm_page_info_basic, vm_region_submap_info_64, vm_region_submap_short_info_64,
};
use mach2::vm_statistics::{VM_FLAGS_FIXED, VM_PAGE_QUERY_PAGE_EXTERNAL};
use mach2::vm_types::natural_t;

/// `MIG_SERVER_DIED` in `mach/mig_errors.h`: the task ended while it was being asked about.
const MIG_SERVER_DIED: kern_return_t = -308;

/// The size of what messages count their contents in.
const WORD: usize = 4;
const _: () = assert!(size_of::<natural_t>() == WORD);

const REMEDY: &str = if cfg!(target_os = "macos") {
    "run as root, or sign the program with the entitlement com.apple.security.cs.debugger; a process with the hardened \
     runtime must also have com.apple.security.get-task-allow, and those of the system admit nobody while System Integrity \
     Protection is on"
} else {
    "only macOS lets a program look into other processes"
};

/// What a code of Mach means. Of another process, `other` is true.
pub(super) fn failure(code: kern_return_t, other: bool) -> Failure {
    let kind = match code {
        // The port of a task that has ended is dead; while it ends, it has no address map.
        KERN_INVALID_ARGUMENT
        | KERN_INVALID_TASK
        | KERN_TERMINATED
        | MACH_SEND_INVALID_DEST
        | MIG_SERVER_DIED
            if other =>
        {
            ErrorKind::ProcessEnded
        }
        KERN_PROTECTION_FAILURE | KERN_NO_ACCESS | KERN_DENIED | MACH_SEND_MSG_FILTERED => {
            return Failure::mach(ErrorKind::NotPermitted, code).remedy(REMEDY);
        }
        KERN_NO_SPACE | KERN_RESOURCE_SHORTAGE => ErrorKind::Exhausted,
        KERN_NOT_SUPPORTED => ErrorKind::Unsupported,
        _ => ErrorKind::System,
    };
    Failure::mach(kind, code)
}

fn injected(call: &'static str) -> Result<(), c_int> {
    match inject::point(call) {
        Some(code) => Err(code),
        None => Ok(()),
    }
}

fn errno() -> c_int {
    Errno::last().0
}

/// The identifier of this process.
pub(super) fn own_pid() -> pid_t {
    // SAFETY: no precondition, and never fails (getpid(2)).
    unsafe { libc::getpid() }
}

/// The port of this process.
///
/// Read anew each time: in the child of a `fork`, `_mach_fork_child` (libsyscall/mach/mach_init.c) writes the child's own
/// there, before `fork` returns.
fn own_port() -> mach_port_t {
    // SAFETY: reads a number that is written before `main` and in the child of a `fork`, when there is one thread only.
    unsafe { mach_task_self() }
}

/// A right to a task's port: a control port of our own task, a read port, or a control port, whichever was to be had.
///
/// A port is bound to the task. When the process ends, or runs another program (which has a new task), the port is dead, and
/// stays so whoever gets the process's identifier.
pub(super) struct Port {
    name: mach_port_name_t,
    /// The process whose name for the port this is: the child of a `fork` has none of its parent's rights, and the same
    /// number may be the name of something else there.
    holder: pid_t,
    /// Whether the right was made for this value. Else it is the one that every process has to its own task.
    owned: bool,
}

impl Drop for Port {
    fn drop(&mut self) {
        if self.owned && self.holder == own_pid() {
            // SAFETY: the name came from `open`, in this very process, and this value gives up the one reference that it
            // stands for, once (mach_port_deallocate: send rights and dead names).
            let _freed = unsafe { mach_port_deallocate(own_port(), self.name) };
        }
    }
}

/// A function of the system's library that not every version of it has, or that is not published.
fn symbol(name: &CStr) -> Option<NonNull<c_void>> {
    // SAFETY: the name ends in NUL, and the default handle needs no opening (dlsym(3)).
    NonNull::new(unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) })
}

impl Port {
    pub(super) fn open(pid: u32) -> Result<Self, Failure> {
        if pid == 0 {
            return Err(Failure::new(ErrorKind::NoSuchProcess)
                .detail("0 is the kernel, which admits nobody; Process::current is this one"));
        }
        let Ok(pid) = pid_t::try_from(pid) else { return Err(Failure::new(ErrorKind::NoSuchProcess)) };
        if pid == own_pid() {
            return Ok(Self { name: own_port(), holder: pid, owned: false });
        }
        Ok(Self { name: right_to(pid)?, holder: own_pid(), owned: true })
    }

    fn name(&self) -> Result<mach_port_name_t, Failure> {
        if self.holder != own_pid() {
            return Err(Failure::new(ErrorKind::Unsupported).detail(
                "a handle to a process does not outlive fork on this system; open the process anew",
            ));
        }
        Ok(self.name)
    }
}

/// `task_read_for_pid` as `bsd/kern/syscalls.master` has it: like `task_for_pid`, but -1 and `errno` tell of a failure.
#[cfg(target_os = "macos")]
type TaskForPid = unsafe extern "C" fn(mach_port_name_t, c_int, *mut mach_port_name_t) -> kern_return_t;

/// Since macOS 11 (XNU 7195) there is a port for reading alone, which suffices for `mach_vm_region_recurse` (it takes a
/// `vm_map_read_t` there, `osfmk/mach/mach_vm.defs`). One for inspecting would not (`convert_port_to_map_inspect`).
#[cfg(target_os = "macos")]
fn task_read_for_pid() -> Option<TaskForPid> {
    let found = symbol(c"task_read_for_pid")?;
    // SAFETY: the system's library exports under this name the function of this type, and is never unloaded.
    Some(unsafe { core::mem::transmute::<NonNull<c_void>, TaskForPid>(found) })
}

/// A new right to the port of another process's task.
#[cfg(target_os = "macos")]
fn right_to(pid: pid_t) -> Result<mach_port_name_t, Failure> {
    use mach2::port::MACH_PORT_DEAD;
    let mut name = MACH_PORT_NULL;
    match task_read_for_pid() {
        Some(ask) => loop {
            let asked = injected("task_read_for_pid").and_then(|()| {
                // SAFETY: takes numbers, and `name` is writable (task_read_for_pid in bsd/vm/vm_unix.c).
                let code = unsafe { ask(own_port(), pid, &raw mut name) };
                if code == KERN_SUCCESS { Ok(()) } else { Err(errno()) }
            });
            match asked {
                Ok(()) => break,
                // It waits for a daemon's decision.
                Err(libc::EINTR) => {}
                Err(code @ (libc::EPERM | libc::EACCES)) => {
                    return Err(Failure::system(ErrorKind::NotPermitted, code).remedy(REMEDY));
                }
                Err(code @ libc::ESRCH) => return Err(Failure::system(absent(pid), code)),
                Err(code) => return Err(Failure::system(ErrorKind::System, code)),
            }
        },
        None => {
            let asked = injected("task_for_pid").and_then(|()| {
                // SAFETY: takes numbers, and `name` is writable (task_for_pid in bsd/vm/vm_unix.c).
                let code = unsafe { mach2::traps::task_for_pid(own_port(), pid, &raw mut name) };
                if code == KERN_SUCCESS { Ok(()) } else { Err(code) }
            });
            if let Err(code) = asked {
                // The same code for "there is none" and "you may not".
                return Err(if is_there(pid) {
                    Failure::mach(ErrorKind::NotPermitted, code).remedy(REMEDY)
                } else {
                    Failure::mach(ErrorKind::NoSuchProcess, code)
                });
            }
        }
    }
    // A process that ends has no task any more, which is no error of the call.
    if name == MACH_PORT_NULL || name == MACH_PORT_DEAD {
        return Err(Failure::new(ErrorKind::ProcessEnded));
    }
    Ok(name)
}

/// Nobody is let in here, and the calls that would ask are not published for these systems: a program that names them may
/// be refused by the shop. So they are not named.
#[cfg(not(target_os = "macos"))]
fn right_to(pid: pid_t) -> Result<mach_port_name_t, Failure> {
    Err(match is_there(pid) {
        true => Failure::new(ErrorKind::NotPermitted).remedy(REMEDY),
        false => Failure::new(ErrorKind::NoSuchProcess),
    })
}

/// Whether the identifier belongs to a process, if only to one that has ended and waits for its parent.
fn is_there(pid: pid_t) -> bool {
    // SAFETY: signal 0 is not sent (kill(2)).
    let done = unsafe { libc::kill(pid, 0) };
    done == 0 || errno() != libc::ESRCH
}

/// What to call a process that the system says is not there.
#[cfg(target_os = "macos")]
fn absent(pid: pid_t) -> ErrorKind {
    if is_there(pid) { ErrorKind::ProcessEnded } else { ErrorKind::NoSuchProcess }
}

/// The process that a call is about: this one if `None`.
pub(super) type Of<'a> = Option<&'a Port>;

fn port_of(process: Of<'_>) -> Result<mach_port_t, Failure> {
    match process {
        Some(port) => port.name(),
        None => Ok(own_port()),
    }
}

/// What `mach_vm_region_recurse` fills in. Which of its forms is wanted, it knows by the length.
///
/// # Safety
///
/// The type consists of integers of 4 or 8 bytes and has an alignment of 4 or more.
pub(super) unsafe trait Info: Default {
    const WORDS: mach_msg_type_number_t;
}

// SAFETY: as the type is declared: integers, packed to 4 bytes, as `mach/vm_region.h` has them.
unsafe impl Info for vm_region_submap_short_info_64 {
    /// `VM_REGION_SUBMAP_SHORT_INFO_COUNT_64`
    const WORDS: mach_msg_type_number_t = 12;
}

// SAFETY: as the type is declared: integers, packed to 4 bytes, as `mach/vm_region.h` has them.
unsafe impl Info for vm_region_submap_info_64 {
    /// `VM_REGION_SUBMAP_INFO_COUNT_64`
    const WORDS: mach_msg_type_number_t = 19;
}

const _: () = assert!(size_of::<vm_region_submap_short_info_64>() == 12 * WORD);
const _: () = assert!(size_of::<vm_region_submap_info_64>() == 19 * WORD);

/// An answer of `mach_vm_region_recurse`.
pub(super) struct Found<I> {
    pub(super) address: u64,
    pub(super) size: u64,
    /// How many maps within maps lie above.
    pub(super) depth: natural_t,
    pub(super) info: I,
}

/// Deeper than maps are ever nested in one another: the shared region is one map within that of the task.
const DEEPEST: natural_t = 1024;

/// The region that holds `address`, or the next one above. `None`: there is none.
///
/// One call goes down into the maps within the map by itself, also where there is a hole (`vm_map_region_recurse_64`). Does
/// not allocate; the first call of a thread may have the kernel make a port for the answers.
#[inline]
pub(super) fn region<I: Info>(process: Of<'_>, address: usize) -> Result<Option<Found<I>>, Failure> {
    let task = port_of(process)?;
    let mut found = Found { address: wide(address), size: 0, depth: DEEPEST, info: I::default() };
    let mut words = I::WORDS;
    let code = match injected("mach_vm_region_recurse") {
        Err(code) => code,
        // SAFETY: the five places are writable, the last but one for `words` words, which is the size of an `I`, of which
        // every bit pattern is a value and whose alignment suffices (the promise of `Info`); the address is not followed
        // (mach_vm_region_recurse in osfmk/mach/mach_vm.defs).
        Ok(()) => unsafe {
            mach_vm_region_recurse(
                task,
                &raw mut found.address,
                &raw mut found.size,
                &raw mut found.depth,
                (&raw mut found.info).cast(),
                &raw mut words,
            )
        },
    };
    match code {
        KERN_SUCCESS => Ok(Some(found)),
        KERN_INVALID_ADDRESS => Ok(None),
        code => Err(failure(code, process.is_some())),
    }
}

/// New private memory, zeroed, at exactly this place: `KERN_NO_SPACE` if anything is there, `KERN_INVALID_ADDRESS` if it is not
/// within the map (`vm_map_locate_space_fixed`). The rights are those of `mmap`, whose bits are the same, and as with `mmap`
/// reading comes with the others (`bsd/kern/kern_mman.c`).
pub(super) fn map_fixed(address: usize, len: usize, rights: vm_prot_t) -> Result<usize, kern_return_t> {
    const _: () = assert!(
        VM_PROT_READ == libc::PROT_READ
            && VM_PROT_WRITE == libc::PROT_WRITE
            && VM_PROT_EXECUTE == libc::PROT_EXEC
    );
    injected("mach_vm_map")?;
    let rights = if rights & (VM_PROT_WRITE | VM_PROT_EXECUTE) != 0 { rights | VM_PROT_READ } else { rights };
    let mut place = wide(address);
    // SAFETY: `place` is writable; without VM_FLAGS_OVERWRITE nothing is replaced; there is no object whose pages could be anybody's
    // (mach_vm_map in osfmk/mach/mach_vm.defs).
    let code = unsafe {
        mach_vm_map(
            own_port(),
            &raw mut place,
            wide(len),
            0,
            VM_FLAGS_FIXED,
            MACH_PORT_NULL,
            0,
            0,
            rights,
            VM_PROT_ALL,
            VM_INHERIT_DEFAULT,
        )
    };
    if code == KERN_SUCCESS { usize::try_from(place).map_err(|_| KERN_NO_SPACE) } else { Err(code) }
}

const _: () = assert!(size_of::<vm_page_info_basic>() == 8 * WORD);

/// Where the page at `address` stands in the file (or whatever else a pager brings memory from) that is at the bottom of
/// what is mapped there. `None` if the page is not from there, because it has been written to and so has been copied; also
/// if the system does not say.
///
/// It goes down from the copy to what it is a copy of, and adds up how far the one is shifted against the other, until it
/// finds the page (`vm_map_page_range_info_internal`). Nothing is brought into memory for that.
pub(super) fn offset_in_file(process: Of<'_>, address: u64) -> Option<u64> {
    let task = port_of(process).ok()?;
    injected("mach_vm_page_info").ok()?;
    let mut info = vm_page_info_basic::default();
    let mut words: mach_msg_type_number_t = 8;
    // SAFETY: `info` is writable for `words` words, which is its size, and consists of integers (`mach/vm_region.h`); the
    // address is not followed (mach_vm_page_info in osfmk/mach/mach_vm.defs).
    let code = unsafe {
        mach_vm_page_info(task, address, VM_PAGE_INFO_BASIC, (&raw mut info).cast(), &raw mut words)
    };
    let from_pager = info.disposition & VM_PAGE_QUERY_PAGE_EXTERNAL != 0;
    (code == KERN_SUCCESS && from_pager).then_some(info.offset)
}

/// Figures about the memory of a task, and how many bytes of them this version of the system knows: the structure grew.
pub(super) fn vm_info(process: Of<'_>) -> Result<(task_vm_info, usize), Failure> {
    let task = port_of(process)?;
    let mut info = task_vm_info::default();
    let mut words = mach_msg_type_number_t::try_from(size_of::<task_vm_info>() / WORD).unwrap_or(0);
    let code = match injected("task_info") {
        Err(code) => code,
        // SAFETY: `info` is writable for `words` words, and consists of integers (`mach/task_info.h`).
        Ok(()) => unsafe { task_info(task, TASK_VM_INFO, (&raw mut info).cast(), &raw mut words) },
    };
    if code == KERN_SUCCESS {
        Ok((info, crate::range::index(words).saturating_mul(WORD)))
    } else {
        Err(failure(code, process.is_some()))
    }
}

/// `PROC_PIDREGIONPATHINFO2` in `bsd/sys/proc_info_private.h`: not published, but what `proc_regionfilename` of the system's
/// library asked with for years.
const PROC_PIDREGIONPATHINFO2: c_int = 22;

/// `struct proc_regioninfo` in `bsd/sys/proc_info.h`.
#[repr(C)]
#[allow(dead_code, reason = "the layout is the system's")]
pub(super) struct RegionInfo {
    protection: u32,
    max_protection: u32,
    inheritance: u32,
    flags: u32,
    pub(super) offset: u64,
    behavior: u32,
    user_wired_count: u32,
    user_tag: u32,
    pages_resident: u32,
    pages_shared_now_private: u32,
    pages_swapped_out: u32,
    pages_dirtied: u32,
    ref_count: u32,
    shadow_depth: u32,
    share_mode: u32,
    private_pages_resident: u32,
    shared_pages_resident: u32,
    obj_id: u32,
    depth: u32,
    pub(super) address: u64,
    pub(super) size: u64,
}

/// `struct proc_regionwithpathinfo` in `bsd/sys/proc_info.h`.
#[repr(C)]
pub(super) struct RegionWithPath {
    pub(super) region: RegionInfo,
    pub(super) file: FileInfo,
}

/// `struct vnode_info_path` in `bsd/sys/proc_info.h`, with the structures in it laid flat. libc has it for macOS alone.
#[repr(C)]
#[allow(dead_code, reason = "the layout is the system's")]
pub(super) struct FileInfo {
    pub(super) device: u32,
    mode: u16,
    pub(super) links: u16,
    pub(super) inode: u64,
    /// From `vst_uid` to `vst_qspare`.
    rest_of_status: [u64; 15],
    kind: c_int,
    pad: c_int,
    file_system: [i32; 2],
    /// Ends in NUL.
    pub(super) path: [u8; 1024],
}

const _: () = assert!(size_of::<RegionInfo>() == 96);
const _: () = assert!(size_of::<FileInfo>() == 1176);
const _: () = assert!(size_of::<RegionWithPath>() == 1272);
#[cfg(target_os = "macos")]
const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<FileInfo>() == size_of::<libc::vnode_info_path>());
    assert!(offset_of!(FileInfo, links) == offset_of!(libc::vnode_info_path, vip_vi.vi_stat.vst_nlink));
    assert!(offset_of!(FileInfo, inode) == offset_of!(libc::vnode_info_path, vip_vi.vi_stat.vst_ino));
    assert!(offset_of!(FileInfo, kind) == offset_of!(libc::vnode_info_path, vip_vi.vi_type));
    assert!(offset_of!(FileInfo, path) == offset_of!(libc::vnode_info_path, vip_path));
};

type ProcPidInfo = unsafe extern "C" fn(c_int, c_int, u64, *mut c_void, c_int) -> c_int;

#[cfg(target_os = "macos")]
#[expect(clippy::unnecessary_wraps, reason = "on other systems it can be missing")]
fn proc_pidinfo() -> Option<ProcPidInfo> {
    Some(libc::proc_pidinfo)
}

/// Where it is not published, it is looked for, so that a program which never asks for files does not name it.
#[cfg(not(target_os = "macos"))]
fn proc_pidinfo() -> Option<ProcPidInfo> {
    let found = symbol(c"proc_pidinfo")?;
    // SAFETY: the system's library exports under this name the function of this type (libproc.h), and is never unloaded.
    Some(unsafe { core::mem::transmute::<NonNull<c_void>, ProcPidInfo>(found) })
}

/// The first region at or above `address` behind which there is a file, with that file.
///
/// `None`: there is none; or the first one's file is gone for good (its volume was taken away by force), and what comes
/// after it is not told: the kernel has one code for both (`proc_pidregionpathinfo2`).
///
/// By `fill_procregioninfo_onlymappedvnodes`, which looks at the map of the task alone, not at maps within it, and at no pages
/// (the older `PROC_PIDREGIONPATHINFO` counts them all).
pub(super) fn next_file(pid: pid_t, address: usize) -> Result<Option<RegionWithPath>, Failure> {
    let mut answer = MaybeUninit::<RegionWithPath>::zeroed();
    let Some(ask) = proc_pidinfo() else { return Err(Failure::new(ErrorKind::Unsupported)) };
    let asked = injected("proc_pidinfo").and_then(|()| {
        let size = c_int::try_from(size_of::<RegionWithPath>()).unwrap_or(0);
        let to = answer.as_mut_ptr().cast();
        // SAFETY: `to` is writable for `size` bytes; the address is not followed (proc_pidinfo in bsd/kern/proc_info.c).
        let written = unsafe { ask(pid, PROC_PIDREGIONPATHINFO2, wide(address), to, size) };
        if written == size { Ok(()) } else { Err(errno()) }
    });
    match asked {
        // SAFETY: all of it was zero and what was written over it is integers: every bit pattern is a value.
        Ok(()) => Ok(Some(unsafe { answer.assume_init() })),
        // What the kernel answers when it has come to the end of the map, or to a file that it cannot get at.
        Err(libc::EINVAL) => Ok(None),
        Err(code @ libc::ESRCH) => Err(Failure::system(ErrorKind::ProcessEnded, code)),
        Err(code @ (libc::EPERM | libc::EACCES)) => Err(Failure::system(ErrorKind::NotPermitted, code)
            .remedy("run as the same user as the process, or as root; a sandbox may forbid it, too")),
        Err(code) => Err(Failure::system(ErrorKind::System, code)),
    }
}

/// Device and inode of the file that has this name; the error is an `errno`.
pub(super) fn file_status(path: &CStr) -> Result<(libc::dev_t, libc::ino_t), c_int> {
    injected("stat")?;
    let mut status = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the path ends in NUL, and `status` is writable (stat(2)).
    if unsafe { libc::stat(path.as_ptr(), status.as_mut_ptr()) } != 0 {
        return Err(errno());
    }
    // SAFETY: all of it was zero and what was written over it is integers: every bit pattern is a value.
    let status = unsafe { status.assume_init() };
    Ok((status.st_dev, status.st_ino))
}

/// The soft limit of a resource; `None` when there is no limit.
pub(super) fn soft_limit(resource: c_int) -> Option<u64> {
    injected("getrlimit").ok()?;
    let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `limit` is writable (getrlimit(2)).
    let done = unsafe { libc::getrlimit(resource, &raw mut limit) };
    Some(limit.rlim_cur).filter(|&limit| done == 0 && limit != libc::RLIM_INFINITY)
}

/// A number that the system has under this name.
#[cfg(target_arch = "x86_64")]
pub(super) fn system_number(name: &CStr) -> Option<c_int> {
    injected("sysctl").ok()?;
    let mut number: c_int = 0;
    let mut size = size_of::<c_int>();
    // SAFETY: the name ends in NUL, `number` is writable for `size` bytes and `size` itself; nothing is set
    // (sysctlbyname(3)).
    let done = unsafe {
        libc::sysctlbyname(name.as_ptr(), (&raw mut number).cast(), &raw mut size, core::ptr::null_mut(), 0)
    };
    (done == 0 && size == size_of::<c_int>()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_a_dead_task_mean_that_the_process_has_ended() {
        for code in [KERN_INVALID_ARGUMENT, MACH_SEND_INVALID_DEST, MIG_SERVER_DIED, KERN_TERMINATED] {
            assert_eq!(failure(code, true).kind(), ErrorKind::ProcessEnded);
            assert_eq!(failure(code, false).kind(), ErrorKind::System);
        }
        assert_eq!(failure(KERN_PROTECTION_FAILURE, true).kind(), ErrorKind::NotPermitted);
        assert_eq!(failure(KERN_RESOURCE_SHORTAGE, false).kind(), ErrorKind::Exhausted);
    }

    /// Trap: the child of a fork has none of its parent's ports.
    #[test]
    fn a_port_of_another_process_is_not_used_and_not_given_back() {
        let port = Port { name: own_port(), holder: own_pid().wrapping_add(1), owned: true };
        assert_eq!(port.name().unwrap_err().kind(), ErrorKind::Unsupported);
        drop(port);
        assert!(region::<vm_region_submap_short_info_64>(None, 0).unwrap().is_some());
    }
}
