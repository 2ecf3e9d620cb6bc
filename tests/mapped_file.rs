//! Files that are read by way of their pages, and change meanwhile.
#![cfg(feature = "std")]

mod common;

#[cfg(unix)]
use common::{Helper, role, say};
use common::{rounds, skipped};
use folio::MappedFile;
use proptest::prelude::*;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Long enough to be mapped.
const LONG: usize = 3 << 20;

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0] ^ at.to_le_bytes()[0]).collect()
}

fn file(content: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    file
}

/// Whether long files are mapped here at all.
fn skips(test: &str, file: &MappedFile) -> bool {
    file.read_exact_at(0, &mut [0; 5000]).unwrap();
    if !file.is_mapped() {
        skipped(test, "files are not mapped: there are no copies here");
    }
    !file.is_mapped()
}

/// Lets the other thread end, also when this one panics.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn it_can_be_sent_and_shared() {
    fn check<T: Send + Sync + Unpin + 'static>() {}
    check::<MappedFile>();
}

/// Not the buffer.
#[test]
fn its_debug_output_is_short() {
    let named = file(&bytes(LONG));
    let mut mapped = MappedFile::open(named.path()).unwrap();
    mapped.fill_buf().unwrap();
    mapped.consume(5);
    mapped.read_exact_at(0, &mut [0; 5000]).unwrap();
    let shown = format!("{mapped:?}");
    assert!(shown.len() < 1000 && shown.contains("position: 5"), "{shown}");
    assert_eq!(shown.contains("SharedPages("), mapped.is_mapped(), "{shown}");
}

#[test]
fn a_file_is_its_bytes() {
    for len in [0, 1, 100, 4096, 65_535, 65_536, 65_537, 1 << 20, LONG + 7] {
        let content = bytes(len);
        let named = file(&content);
        let mut mapped = MappedFile::open(named.path()).unwrap();
        assert_eq!((mapped.len().unwrap(), mapped.is_empty().unwrap()), (len as u64, len == 0));
        let mut all = vec![0; len];
        mapped.read_exact_at(0, &mut all).unwrap();
        assert!(all == content);
        assert!(len >= 1 << 20 || !mapped.is_mapped());
        let mut all = Vec::new();
        assert_eq!(mapped.read_to_end(&mut all).unwrap(), len);
        assert!(all == content);
        assert_eq!((mapped.read(&mut [0; 9]).unwrap(), mapped.fill_buf().unwrap().len()), (0, 0));
        mapped.rewind().unwrap();
        let mut lines = 0;
        loop {
            let mut line = Vec::new();
            if mapped.read_until(b'\n', &mut line).unwrap() == 0 {
                break;
            }
            lines += 1;
        }
        assert_eq!(lines, BufReader::new(&content[..]).split(b'\n').count());
        assert_eq!(mapped.as_file().metadata().unwrap().len(), len as u64);
        assert_eq!(mapped.into_file().metadata().unwrap().len(), len as u64);
    }
}

#[test]
fn offsets_behind_the_end_give_nothing() {
    for len in [0, 10, LONG] {
        let mapped = MappedFile::open(file(&bytes(len)).path()).unwrap();
        for offset in [len as u64, len as u64 + 1, 1 << 40, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
            assert_eq!(mapped.read_at(offset, &mut [0; 5]).unwrap(), 0, "{len} {offset}");
            mapped.read_exact_at(offset, &mut []).unwrap();
            let error = mapped.read_exact_at(offset, &mut [0; 5]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        }
        if len > 0 {
            assert_eq!(mapped.read_at(len as u64 - 3, &mut [0; 5]).unwrap(), 3);
            let error = mapped.read_exact_at(len as u64 - 3, &mut [0; 5]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        }
    }
}

#[test]
fn seeking_is_as_in_files() {
    for len in [100, LONG] {
        let content = bytes(len);
        let named = file(&content);
        let mut mapped = MappedFile::open(named.path()).unwrap();
        assert_eq!(mapped.seek(SeekFrom::End(-10)).unwrap(), len as u64 - 10);
        assert_eq!(mapped.fill_buf().unwrap(), &content[len - 10..]);
        mapped.consume(4);
        assert_eq!(mapped.stream_position().unwrap(), len as u64 - 6);
        for before in
            [SeekFrom::Current(-(len as i64)), SeekFrom::End(-(len as i64) - 1), SeekFrom::Current(i64::MIN)]
        {
            assert_eq!(mapped.seek(before).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        // Where it was.
        assert_eq!(mapped.fill_buf().unwrap(), &content[len - 6..]);
        mapped.consume(1000);
        assert_eq!(mapped.stream_position().unwrap(), len as u64);
        for behind in [SeekFrom::End(5), SeekFrom::Start(u64::MAX), SeekFrom::Start(1 << 45)] {
            mapped.seek(behind).unwrap();
            assert_eq!(mapped.read(&mut [0; 10]).unwrap(), 0);
            assert!(mapped.fill_buf().unwrap().is_empty());
        }
        assert_eq!(mapped.seek(SeekFrom::Start(3)).unwrap(), 3);
        assert_eq!(mapped.seek(SeekFrom::Current(2)).unwrap(), 5);
        let mut some = [0; 7];
        mapped.read_exact(&mut some).unwrap();
        assert_eq!(some, content[5..12]);
        mapped.seek(SeekFrom::Start(u64::MAX)).unwrap();
        assert_eq!(mapped.seek(SeekFrom::Current(1)).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

/// What is consumed is gone, what is not is given again.
#[test]
fn the_buffer_keeps_its_contract() {
    for len in [1000, LONG] {
        let content = bytes(len);
        let mut mapped = MappedFile::open(file(&content).path()).unwrap();
        let first = mapped.fill_buf().unwrap().to_vec();
        assert_eq!(mapped.fill_buf().unwrap(), first);
        mapped.consume(0);
        assert_eq!(mapped.fill_buf().unwrap(), first);
        mapped.consume(10);
        assert_eq!(mapped.fill_buf().unwrap(), &first[10..]);
        let mut some = [0; 5];
        mapped.read_exact(&mut some).unwrap();
        assert_eq!(some, content[10..15]);
        // A large read takes what is there first.
        let mut large = vec![0; len];
        let done = mapped.read(&mut large).unwrap();
        assert_eq!(large[..done], content[15..15 + done]);
        // `read_at` is another matter.
        let mut some = [0; 5];
        mapped.read_exact_at(3, &mut some).unwrap();
        assert_eq!(some, content[3..8]);
        assert_eq!(mapped.stream_position().unwrap(), 15 + done as u64);
        mapped.consume(usize::MAX);
        let mut rest = Vec::new();
        mapped.read_to_end(&mut rest).unwrap();
        assert!(content.ends_with(&rest));
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_refused() {
    for path in ["/", "/dev/zero", "/dev/null"] {
        let error = MappedFile::open(path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path}");
        assert!(error.get_ref().is_some_and(|inner| inner.is::<folio::Error>()));
    }
    assert_eq!(MappedFile::open("/there is no such file").unwrap_err().kind(), ErrorKind::NotFound);
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let socket = File::from(std::os::fd::OwnedFd::from(socket));
    assert_eq!(MappedFile::new(socket).unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// Files whose length the system does not say are read as they are.
#[cfg(target_os = "linux")]
#[test]
fn files_without_a_length_are_read() {
    let mut mapped = MappedFile::open("/proc/self/status").unwrap();
    let mut text = String::new();
    mapped.read_to_string(&mut text).unwrap();
    assert!(text.contains("VmPeak"), "{text}");
}

#[test]
fn a_file_that_was_not_opened_for_reading_is_an_error() {
    let named = file(&bytes(LONG));
    let file = File::options().write(true).open(named.path()).unwrap();
    let mut mapped = MappedFile::new(file).unwrap();
    assert!(mapped.read(&mut [0; 10]).is_err() && mapped.fill_buf().is_err());
}

#[test]
fn growth_is_seen() {
    for len in [10, LONG + 10] {
        let mut content = bytes(len);
        let named = file(&content);
        let mut mapped = MappedFile::open(named.path()).unwrap();
        let mut all = Vec::new();
        mapped.read_to_end(&mut all).unwrap();
        File::options().append(true).open(named.path()).unwrap().write_all(&[3; 100_000]).unwrap();
        content.extend_from_slice(&[3; 100_000]);
        assert_eq!(mapped.len().unwrap(), content.len() as u64);
        mapped.read_to_end(&mut all).unwrap();
        assert!(all == content);
        // Across the end of what is mapped.
        let mut some = vec![0; 10_000];
        mapped.read_exact_at(len as u64 - 5, &mut some).unwrap();
        assert_eq!(some, content[len - 5..][..10_000]);
        mapped.rewind().unwrap();
        all.clear();
        mapped.read_to_end(&mut all).unwrap();
        assert!(all == content);
    }
}

/// Trap: zeroes behind the end of a file, in its last page, are none of its bytes.
#[test]
fn a_file_cut_short_ends_where_it_ends() {
    let content: Vec<u8> = bytes(LONG).into_iter().map(|byte| byte | 1).collect();
    let named = file(&content);
    let mut mapped = MappedFile::open(named.path()).unwrap();
    if skips("a_file_cut_short_ends_where_it_ends", &mapped) {
        return;
    }
    if let Err(error) = named.as_file().set_len(100_003) {
        // Nobody cuts a mapped file short there.
        let refused = if cfg!(windows) { error.raw_os_error() } else { None };
        assert_eq!(refused, Some(1224), "{error}");
        return skipped("a_file_cut_short_ends_where_it_ends", &error.to_string());
    }
    let mut all = Vec::new();
    mapped.read_to_end(&mut all).unwrap();
    assert!(all == content[..100_003]);
    let mut long = vec![0; LONG];
    assert_eq!(mapped.read_at(50_000, &mut long).unwrap(), 50_003);
    assert!(long[..50_003] == content[50_000..100_003]);
    let mut some = vec![0; 5000];
    assert_eq!(mapped.read_at(100_000, &mut some).unwrap(), 3);
    assert_eq!(mapped.read_at(100_003, &mut some).unwrap(), 0);
    assert_eq!(mapped.read_at(LONG as u64 - 1, &mut some).unwrap(), 0);
    assert_eq!(mapped.read_exact_at(99_990, &mut some[..14]).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    // Longer again: zeroes there, which are bytes of the file now.
    named.as_file().set_len(LONG as u64).unwrap();
    assert_eq!(mapped.read_at(100_003, &mut some).unwrap(), 5000);
    assert!(some.iter().all(|&byte| byte == 0));
    all.clear();
    mapped.rewind().unwrap();
    mapped.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), LONG);
}

/// Reads of a file of ones that somebody cuts and makes longer: each gives ones, and then zeroes.
fn read_while_it_changes(mapped: &mut MappedFile) {
    let mut some = vec![0; 300_000];
    for round in 0..rounds(300) {
        let done = mapped.read_at(u64::from(round) * 977, &mut some).unwrap();
        assert!(some[..done].iter().all(|&byte| byte <= 1));
        mapped.rewind().unwrap();
        for _ in 0..4 {
            let chunk = mapped.fill_buf().unwrap();
            assert!(chunk.iter().all(|&byte| byte <= 1));
            let len = chunk.len();
            mapped.consume(len);
        }
    }
}

#[test]
fn a_file_is_cut_by_another_thread_meanwhile() {
    let named = file(&vec![1; LONG]);
    let mut mapped = MappedFile::open(named.path()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0;
            while !done.load(Relaxed) {
                round = (round + 12_345) % LONG as u64;
                // (Refused on Windows.)
                let _cut = named.as_file().set_len(round);
                let _longer = named.as_file().set_len(LONG as u64);
            }
        });
        let _ends = Ends(&done);
        read_while_it_changes(&mut mapped);
    });
}

#[cfg(unix)]
#[test]
fn a_file_is_cut_by_another_process_meanwhile() {
    let test = "a_file_is_cut_by_another_process_meanwhile";
    if let Some(path) = role() {
        let file = File::options().write(true).open(path).unwrap();
        say("ready");
        let parent = std::os::unix::process::parent_id();
        // Until the parent ends this process, or is gone.
        while std::os::unix::process::parent_id() == parent {
            for round in 0..100 {
                file.set_len(round * 4321).unwrap();
                file.set_len(LONG as u64).unwrap();
            }
        }
        return;
    }
    let named = file(&vec![1; LONG]);
    let mut mapped = MappedFile::open(named.path()).unwrap();
    let mut child = Helper::start(test, named.path());
    assert_eq!(child.line(), "ready");
    read_while_it_changes(&mut mapped);
}

/// Neither pages nor descriptors.
#[cfg(target_os = "linux")]
#[test]
fn nothing_is_left() {
    let named = file(&bytes(LONG));
    let path = named.path().to_owned();
    let mapped = || {
        let mut process = folio::Process::current();
        let mut mappings = process_mappings(&mut process);
        mappings.retain(|name| *name == path);
        mappings.len()
    };
    let opened = || {
        let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        links.filter(|link| std::fs::read_link(link.path()).is_ok_and(|to| to == path)).count()
    };
    let before = (mapped(), opened());
    let mut file = MappedFile::open(&path).unwrap();
    let _read = file.read(&mut [0; 100]).unwrap();
    assert_eq!(mapped(), 0);
    file.read_exact_at(7, &mut [0; 5000]).unwrap();
    assert_eq!((mapped(), opened()), (usize::from(file.is_mapped()), before.1 + 1));
    drop(file);
    assert_eq!((mapped(), opened()), before);
    // Its file outlives the pages.
    let file = MappedFile::open(&path).unwrap().into_file();
    assert_eq!((mapped(), opened()), (0, before.1 + 1));
    drop(file);
}

#[cfg(target_os = "linux")]
fn process_mappings(process: &mut folio::Process) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut mappings = process.mappings().unwrap();
    while let Some(mapping) = mappings.advance().unwrap() {
        found.extend(mapping.backing().path().map(std::path::Path::to_owned));
    }
    found
}

#[derive(Clone, Debug)]
enum Step {
    Read(usize),
    Fill(usize),
    Seek(SeekFrom),
    ReadAt(u64, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let seek = prop_oneof![
        (0_u64..2_000_000).prop_map(SeekFrom::Start),
        (-2_000_000_i64..1_000_000).prop_map(SeekFrom::End),
        (-100_000_i64..100_000).prop_map(SeekFrom::Current),
    ];
    prop_oneof![
        (0_usize..200_000).prop_map(Step::Read),
        (0_usize..200_000).prop_map(Step::Fill),
        seek.prop_map(Step::Seek),
        (0_u64..2_000_000, 0_usize..200_000).prop_map(|(offset, len)| Step::ReadAt(offset, len)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(rounds(60)))]

    /// Beside `std`'s cursor over the same bytes.
    #[test]
    fn beside_a_model(
        len in prop_oneof![0_usize..100_000, 1_000_000_usize..1_700_000],
        steps in prop::collection::vec(step(), 1..30),
    ) {
        let content = bytes(len);
        let named = file(&content);
        let mut mapped = MappedFile::open(named.path()).unwrap();
        let mut model = std::io::Cursor::new(&content[..]);
        for step in steps {
            match step {
                Step::Read(len) => {
                    let mut own = vec![0; len];
                    let done = mapped.read(&mut own).unwrap();
                    let mut other = vec![0; done];
                    model.read_exact(&mut other).unwrap();
                    prop_assert_eq!(&own[..done], &other[..]);
                    let more = (content.len() as u64).saturating_sub(model.position());
                    prop_assert!(done > 0 || len == 0 || more == 0);
                }
                Step::Fill(amount) => {
                    let own = mapped.fill_buf().unwrap();
                    let other = model.fill_buf().unwrap();
                    prop_assert!(other.starts_with(own) && own.is_empty() == other.is_empty());
                    let amount = amount.min(own.len());
                    mapped.consume(amount);
                    model.consume(amount);
                }
                Step::Seek(to) => match (mapped.seek(to), model.seek(to)) {
                    (Ok(own), Ok(other)) => prop_assert_eq!(own, other),
                    (own, other) => prop_assert!(own.is_err() && other.is_err()),
                },
                Step::ReadAt(offset, len) => {
                    let mut own = vec![0; len];
                    let done = mapped.read_at(offset, &mut own).unwrap();
                    let rest = content.get(offset as usize..).unwrap_or_default();
                    prop_assert_eq!(&own[..done], &rest[..len.min(rest.len())]);
                }
            }
            prop_assert_eq!(mapped.stream_position().unwrap(), model.position());
        }
    }
}
