//! The look wing: one address, all regions, a snapshot; at several numbers of mappings.

use crate::measure::{Bench, Contender};
use folio::{Process, Region};
use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::ptr;

/// `struct procmap_query` of `linux/fs.h`.
#[repr(C)]
#[derive(Default)]
struct Query {
    size: u64,
    flags: u64,
    address: u64,
    start: u64,
    end: u64,
    vma_flags: u64,
    page_size: u64,
    offset: u64,
    inode: u64,
    major: u32,
    minor: u32,
    name_size: u32,
    build_id_size: u32,
    name: u64,
    build_id: u64,
}

/// The bare ioctl: false when there is no such region, or no such ioctl.
fn bare(maps: &File, address: usize, next: bool, found: &mut Query) -> bool {
    *found =
        Query { size: 104, flags: if next { 0x10 } else { 0 }, address: address as u64, ..Query::default() };
    // SAFETY: PROCMAP_QUERY writes to the struct given and nothing else, as no buffers are named in it.
    unsafe { libc::ioctl(maps.as_raw_fd(), 0xC068_6611, ptr::from_mut(found)) == 0 }
}

/// The text, read to its end and not looked at.
fn unparsed(buffer: &mut [u8]) -> usize {
    let mut file = File::open("/proc/self/maps").unwrap();
    let mut bytes = 0;
    loop {
        match file.read(buffer).unwrap() {
            0 => return bytes,
            read => bytes += read,
        }
    }
}

/// Pages without access of which every other can be read: each a region of its own.
struct Mappings {
    base: usize,
    len: usize,
}

impl Mappings {
    /// As many as are missing to `total`, in this process.
    fn up_to(total: usize) -> Self {
        let now = Process::current().regions().unwrap().count();
        let more = total.saturating_sub(now).max(3);
        let page = folio::page::size();
        let len = more * page;
        // SAFETY: a new mapping at a place of the kernel's choice.
        let base = unsafe {
            libc::mmap(ptr::null_mut(), len, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
        };
        assert_ne!(base, libc::MAP_FAILED);
        for index in (1..more).step_by(2) {
            let at = base.wrapping_byte_add(index * page);
            // SAFETY: a page of the mapping just made.
            let done = unsafe { libc::mprotect(at, page, libc::PROT_READ) };
            assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        }
        Self { base: base.addr(), len }
    }

    fn middle(&self) -> *const u8 {
        let page = folio::page::size();
        ptr::without_provenance(self.base + self.len / 2 / page * page + 8)
    }
}

impl Drop for Mappings {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `up_to`, to which nobody has references.
        unsafe { libc::munmap(ptr::without_provenance_mut(self.base), self.len) };
    }
}

fn everything() -> impl Iterator<Item = Region> {
    folio::query_range(ptr::null::<u8>(), usize::MAX).unwrap().map(Result::unwrap)
}

pub(crate) fn run(bench: &mut Bench) {
    for total in [30, 1_000, 10_000, 60_000] {
        let mappings = Mappings::up_to(total);
        let count = everything().count();
        query_one(bench, &mappings, count);
        list_all(bench, count);
        look_up(bench, &mappings, count);
    }
}

fn query_one(bench: &mut Bench, mappings: &Mappings, count: usize) {
    let name = format!("query one address, {count} mappings");
    if !bench.wants(&name) {
        return;
    }
    let address = mappings.middle();
    let maps = File::open("/proc/self/maps").unwrap();
    let mut found = Query::default();
    let ioctl = bare(&maps, address.addr(), false, &mut found);
    let mut contenders = Vec::new();
    if ioctl {
        contenders.push(Contender::new("limit: bare PROCMAP_QUERY on a kept descriptor", || {
            assert!(bare(&maps, black_box(address).addr(), false, &mut found));
            found.end
        }));
    } else {
        contenders.push(Contender::new("limit: the text unparsed (no PROCMAP_QUERY here)", || {
            unparsed(&mut [0; 8192])
        }));
    }
    contenders.push(Contender::aiming("folio::query", 1.10, || folio::query(black_box(address)).unwrap()));
    let other = Process::open(std::process::id()).unwrap();
    contenders.push(Contender::new("folio::Process::query, another process", move || {
        other.query(black_box(address).addr()).unwrap()
    }));
    contenders.push(Contender::new("region::query", || region::query(black_box(address)).unwrap()));
    contenders.push(Contender::new("mmap_rs, MemoryAreas::query", || {
        mmap_rs::MemoryAreas::<std::io::BufReader<File>>::query(black_box(address).addr()).unwrap()
    }));
    contenders.push(Contender::new("procfs, maps() and a search", || {
        let maps = procfs::process::Process::myself().unwrap().maps().unwrap();
        let wanted = black_box(address).addr() as u64;
        maps.iter().find(|map| map.address.0 <= wanted && wanted < map.address.1).unwrap().address
    }));
    bench.group(name, contenders);
}

fn list_all(bench: &mut Bench, count: usize) {
    let name = format!("list all, {count} mappings");
    if !bench.wants(&name) {
        return;
    }
    let pid = std::process::id();
    let (without_names, with_names) = if count < 100 { (0.80, None) } else { (1.15, Some(1.30)) };
    let mut buffer = vec![0; 65536];
    let maps = File::open("/proc/self/maps").unwrap();
    let mut found = Query::default();
    let mut contenders =
        vec![Contender::new("limit: /proc/self/maps read to its end, unparsed", || unparsed(&mut buffer))];
    if bare(&maps, 0, true, &mut found) {
        contenders.push(Contender::new("bare PROCMAP_QUERY for each, no names", || {
            let (mut address, mut regions) = (0, 0);
            while bare(&maps, address, true, &mut found) {
                address = found.end as usize;
                regions += 1;
            }
            regions
        }));
    }
    contenders.push(Contender::aiming("folio::query_range: without names", without_names, || {
        everything().map(|region| region.len()).fold(0_usize, usize::wrapping_add)
    }));
    let all_fields = || {
        let mut mappings = Process::current().mappings().unwrap();
        let mut sum = 0;
        while let Some(mapping) = mappings.advance().unwrap() {
            sum += mapping.backing().name().len() as u64 + mapping.backing().inode().unwrap_or(0);
        }
        sum
    };
    contenders.push(match with_names {
        Some(aim) => Contender::aiming("folio::Process::mappings: all fields", aim, all_fields),
        None => Contender::new("folio::Process::mappings: all fields", all_fields),
    });
    let mut snapshot = Process::current().snapshot().unwrap();
    contenders.push(Contender::new("folio::Snapshot::refresh: all fields, kept", move || {
        snapshot.refresh(&Process::current()).unwrap();
        snapshot.len()
    }));
    contenders.push(Contender::new("region::query_range", || {
        region::query_range(ptr::null::<u8>(), usize::MAX)
            .unwrap()
            .map(|region| region.unwrap().len())
            .fold(0, usize::wrapping_add)
    }));
    contenders.push(Contender::new("mmap_rs::MemoryAreas", || {
        mmap_rs::MemoryAreas::open(None).unwrap().map(|area| area.unwrap().end()).max()
    }));
    contenders.push(Contender::new("proc_maps::get_process_maps", move || {
        proc_maps::get_process_maps(pid as proc_maps::Pid).unwrap().len()
    }));
    contenders.push(Contender::new("procfs::process::Process::maps", || {
        procfs::process::Process::myself().unwrap().maps().unwrap().len()
    }));
    bench.group(name, contenders);
}

fn look_up(bench: &mut Bench, mappings: &Mappings, count: usize) {
    let name = format!("look up in what was listed before, {count} mappings");
    if !bench.wants(&name) {
        return;
    }
    let starts: Vec<(usize, usize)> =
        everything().map(|region| (region.as_range().start, region.as_range().end)).collect();
    let snapshot = Process::current().snapshot().unwrap();
    // Addresses all over the list, in no order.
    let addresses: Vec<usize> =
        (0..1024).map(|index| mappings.base + index * 7919 % 1024 * (mappings.len / 1024).max(1)).collect();
    let next = |index: &mut usize| {
        *index = (*index + 1) % addresses.len();
        addresses[*index]
    };
    let (mut first, mut second, mut third) = (0, 0, 0);
    bench.group(
        name,
        vec![
            Contender::new("limit: binary search in a sorted Vec of ranges", || {
                let address = next(&mut first);
                let after = starts.partition_point(|range| range.0 <= address);
                starts.get(after.wrapping_sub(1)).copied().filter(|range| address < range.1)
            }),
            Contender::new("folio::Snapshot::find_region", || snapshot.find_region(next(&mut second))),
            Contender::new("folio::Snapshot::find: with its backing", || {
                snapshot.find(next(&mut third)).map(|mapping| mapping.backing().inode())
            }),
        ],
    );
}
