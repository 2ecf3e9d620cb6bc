//! Whole files, read by way of their pages and by the system: what programs that search and hash do.

use crate::measure::{Bench, Contender};
use folio::MappedFile;
use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What `read` is given, here as in programs that do without mappings.
const BUFFER: usize = 256 << 10;

pub(crate) fn run(bench: &mut Bench) {
    let long = if bench.is_short() { 16 << 20 } else { 1 << 30 };
    let name = if bench.is_short() { "16 MiB" } else { "1 GiB" };
    stream(bench, &format!("search {name}"), long, count);
    stream(bench, &format!("hash {name}"), long, hash);
    small(bench, if bench.is_short() { 100 } else { 100_000 });
    pieces(bench, long);
}

/// How many bytes are of a kind: what a search does that finds little.
fn count(bytes: &[u8]) -> u64 {
    bytes.iter().map(|&byte| u64::from(byte == b'\n')).sum()
}

/// A sum of words and their places, so that each byte counts.
fn hash(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8);
    let rest: u64 = words.remainder().iter().map(|&byte| u64::from(byte)).sum();
    words.fold(rest, |sum, word| {
        (sum.rotate_left(5) ^ u64::from_le_bytes(word.try_into().unwrap()))
            .wrapping_mul(0x517c_c1b7_2722_0a95)
    })
}

fn chunks(mut from: impl BufRead, work: fn(&[u8]) -> u64) -> u64 {
    let mut sum = 0_u64;
    loop {
        let chunk = from.fill_buf().unwrap();
        if chunk.is_empty() {
            return sum;
        }
        sum = sum.wrapping_add(work(chunk));
        let len = chunk.len();
        from.consume(len);
    }
}

fn read(mut file: File, buffer: &mut [u8], work: fn(&[u8]) -> u64) -> u64 {
    let mut sum = 0_u64;
    loop {
        match file.read(buffer).unwrap() {
            0 => return sum,
            done => sum = sum.wrapping_add(work(&buffer[..done])),
        }
    }
}

fn fill(path: &Path, len: usize) {
    let mut file = File::create(path).unwrap();
    let block: Vec<u8> =
        (0..len.min(1 << 20)).map(|at: usize| (at.wrapping_mul(2_654_435_761) >> 9) as u8).collect();
    for _ in 0..len / block.len() {
        file.write_all(&block).unwrap();
    }
}

fn stream(bench: &mut Bench, what: &str, len: usize, work: fn(&[u8]) -> u64) {
    let group = format!("{what}, a file in memory");
    if !bench.wants(&group) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long");
    fill(&path, len);
    let mut buffer = vec![0; BUFFER];
    bench.group(
        group,
        vec![
            Contender::new("read, 256 KiB at a time", || read(File::open(&path).unwrap(), &mut buffer, work)),
            Contender::aiming("folio::MappedFile", 1.0, || chunks(MappedFile::open(&path).unwrap(), work)),
            Contender::new("memmap2", || {
                // SAFETY: nobody changes the file.
                work(&unsafe { memmap2::Mmap::map(&File::open(&path).unwrap()) }.unwrap())
            }),
            Contender::new("folio::Mmap", || {
                // SAFETY: nobody changes the file.
                work(&unsafe { folio::Mmap::map(&File::open(&path).unwrap()) }.unwrap())
            }),
            Contender::new("BufReader, 8 KiB", || chunks(BufReader::new(File::open(&path).unwrap()), work)),
        ],
    );
}

/// Of 1 to 16 KiB, as sources are.
fn small(bench: &mut Bench, number: usize) {
    let group = format!("search files of 1 to 16 KiB, 1,000 at a time of {number}");
    if !bench.wants(&group) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = (0..number)
        .map(|at| {
            let within = folder.path().join((at / 1000).to_string());
            std::fs::create_dir_all(&within).unwrap();
            let path = within.join(at.to_string());
            fill(&path, 1024 + at * 977 % 15_000);
            path
        })
        .collect();
    // A thousand at a time, each contender by itself through all of them; from another place each, so that none finds in the
    // processor's caches what one before it brought there.
    let each = |next: &mut usize, work: &mut dyn FnMut(&Path) -> u64| {
        let from = *next % paths.len();
        *next = from + 1000;
        let part = &paths[from..paths.len().min(from + 1000)];
        part.iter().map(|path| work(path)).fold(0, u64::wrapping_add)
    };
    let third_of = paths.len() / 3000 * 1000;
    let [mut first, mut second, mut third] = [0, third_of, 2 * third_of];
    let mut buffer = vec![0; BUFFER];
    bench.group(
        group,
        vec![
            Contender::new("read, 256 KiB at a time", || {
                each(&mut first, &mut |path| read(File::open(path).unwrap(), &mut buffer, count))
            }),
            Contender::aiming("folio::MappedFile", 1.0, || {
                each(&mut second, &mut |path| chunks(MappedFile::open(path).unwrap(), count))
            }),
            Contender::new("memmap2", || {
                each(&mut third, &mut |path| {
                    // SAFETY: nobody changes the file.
                    count(&unsafe { memmap2::Mmap::map(&File::open(path).unwrap()) }.unwrap())
                })
            }),
        ],
    );
}

/// Here and there in a long file.
fn pieces(bench: &mut Bench, len: usize) {
    for size in [64, 4096, 64 << 10] {
        let group = format!("{size} bytes here and there in a long file");
        if !bench.wants(&group) {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        fill(&path, len.min(64 << 20));
        let len = len.min(64 << 20);
        // Others for each, as above.
        let mut seed = 0;
        let mut places = || {
            seed += 1;
            let mut at = seed * 0x1234_5677_usize;
            move || {
                at = at.wrapping_mul(1_103_515_245).wrapping_add(12_345);
                (at >> 8) % (len - size)
            }
        };
        let mut file = File::open(&path).unwrap();
        let mapped = MappedFile::open(&path).unwrap();
        // SAFETY: nobody changes the file.
        let map = unsafe { memmap2::Mmap::map(&file) }.unwrap();
        let shared = folio::MmapOptions::whole().map_shared(&file).unwrap();
        let pread = File::open(&path).unwrap();
        let (mut one, mut two, mut three, mut four, mut five) =
            (places(), places(), places(), places(), places());
        let buffers: [_; 5] = std::array::from_fn(|_| vec![0; size]);
        let [mut first, mut second, mut third, mut fourth, mut fifth] = buffers;
        bench.group(
            group,
            vec![
                Contender::new("pread", || {
                    use std::os::unix::fs::FileExt;
                    pread.read_exact_at(black_box(&mut first), one() as u64).unwrap();
                }),
                Contender::new("seek and read", || {
                    file.seek(SeekFrom::Start(two() as u64)).unwrap();
                    file.read_exact(black_box(&mut second)).unwrap();
                }),
                Contender::aiming("folio::MappedFile::read_at", 1.05, || {
                    mapped.read_exact_at(three() as u64, black_box(&mut third)).unwrap();
                }),
                Contender::new("folio::SharedPages::try_copy_to", || {
                    shared.try_copy_to(four(), black_box(&mut fourth)).unwrap();
                }),
                Contender::new("memmap2", || {
                    let at = five();
                    black_box(&mut fifth).copy_from_slice(&map[at..at + size]);
                }),
            ],
        );
    }
}
