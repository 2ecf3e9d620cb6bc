//! The memory of a module, from folio.

use crate::chunk::{Chunk, Chunks};
use cranelift_jit::{BranchProtection, JITMemoryKind, JITMemoryProvider};
use cranelift_module::{ModuleError, ModuleResult};
use folio::{
    CodeDraft, CodeMemory, CodeOptions, CodePiece, CodeStrategy, Mmap, MmapMut, MmapOptions, ReservedMut,
    page,
};
use std::{fmt, io, mem};

/// How far from the next instruction code reaches by 32 bits, less some for offsets into what is reached.
const REACH: usize = (i32::MAX as usize) - (1 << 20);

/// Memory for [`JITModule`](cranelift_jit::JITModule) from [`CodeMemory`] and [`MmapMut`].
///
/// No page can be written and executed at once. Code and data are within 2 GiB of each other, whatever else the process has mapped, as
/// relocations relative to the instruction need it.
///
/// As with the providers of `cranelift-jit`, what was finalized stays for ever unless it is
/// [freed](cranelift_jit::JITModule::free_memory): functions of it may be called at any time.
///
/// # Cost
///
/// Making it: three system calls and a listing of the mappings nearby. Chunks begin with one page after each finalize and double up to 64 KiB;
/// each is a system call. Finalize: one for all code that lies side by side, mostly all, with the flush of the instruction cache; one
/// for each chunk of data that cannot be written.
pub struct FolioMemoryProvider {
    /// None when it was freed.
    memory: Option<Memory>,
}

struct Memory {
    code: CodeMemory,
    /// What is left of the addresses for data.
    data: ReservedMut,
    drafts: Chunks<CodeDraft>,
    writable: Chunks<MmapMut>,
    constants: Chunks<MmapMut>,
    /// Whether somebody may call, or look at, what is here.
    finalized: bool,
    branch_targets: bool,
    /// Closed, and to be finalized.
    unpublished: Vec<CodeDraft>,
    writable_still: Vec<MmapMut>,
    pieces: Vec<CodePiece>,
    read_only: Vec<Mmap>,
}

impl FolioMemoryProvider {
    /// For `capacity` bytes of code and as many of data, up to whole pages: addresses, that have no memory until they are used.
    ///
    /// # Errors
    ///
    /// No such addresses are free, `capacity` is 0 or so much that not all of it can reach all of it, or the system forbids to execute
    /// what was written.
    pub fn new(capacity: usize) -> io::Result<Self> {
        Self::by(capacity, false)
    }

    /// As [`new`](Self::new), for a module that is compiled with `use_bti`: see [`CodeOptions::branch_targets`].
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); and on systems and processors that do not protect branch targets. There, compile without.
    pub fn with_branch_targets(capacity: usize) -> io::Result<Self> {
        Self::by(capacity, true)
    }

    fn by(capacity: usize, branch_targets: bool) -> io::Result<Self> {
        // Cranelift writes where code is going to be executed, which can be done with this strategy only.
        let mut options = CodeOptions::new(capacity).strategy(CodeStrategy::Toggle);
        if branch_targets {
            options = options.branch_targets();
        }
        let code = options.map()?;
        let range = code.as_range();
        let distance =
            REACH.checked_sub(range.len()).filter(|&distance| distance > range.len()).ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "not all of so much code and data can reach all of it",
                )
            })?;
        // So far from the first byte of the code that it is no further than `REACH` from the last. The last page is not used: of what
        // is reserved, something has to be left.
        let data = MmapOptions::new(range.len().saturating_add(page::size()))
            .near(range.start, distance)
            .reserve_mut()?;
        Ok(Self {
            memory: Some(Memory {
                code,
                data,
                drafts: Chunks::default(),
                writable: Chunks::default(),
                constants: Chunks::default(),
                finalized: false,
                branch_targets,
                unpublished: Vec::new(),
                writable_still: Vec::new(),
                pieces: Vec::new(),
                read_only: Vec::new(),
            }),
        })
    }

    /// The memory in which its code is; `None` when it was freed. How full it is can be [asked](CodeMemory::usage) then; of what others draft there,
    /// it knows nothing.
    pub fn code(&self) -> Option<&CodeMemory> {
        self.memory.as_ref().map(|memory| &memory.code)
    }
}

fn freed() -> io::Error {
    io::Error::other("the memory of this provider was freed")
}

fn draft(code: &CodeMemory, len: usize) -> io::Result<Chunk<CodeDraft>> {
    let mut draft = code.draft_aligned(len, page::size())?;
    // The only pointer by which it is written; the draft is moved from now on, and not looked into any more.
    let first = draft.as_mut_ptr();
    if first.cast_const() != draft.address() {
        return Err(io::Error::other("the draft is not written where it is going to be executed"));
    }
    Ok(Chunk::new(draft, first, len))
}

fn pages(data: &mut ReservedMut, len: usize) -> io::Result<Chunk<MmapMut>> {
    if len >= data.len() {
        return Err(io::Error::new(io::ErrorKind::OutOfMemory, "no more room for data"));
    }
    // (When memory is refused, its addresses are not tried again, and go back to the system.)
    let mut pages = data.split_to(len)?.commit().map_err(|(_, error)| error)?;
    let first = pages.as_mut_ptr();
    Ok(Chunk::new(pages, first, len))
}

impl Memory {
    fn allocate(&mut self, size: usize, align: u64, kind: JITMemoryKind) -> io::Result<*mut u8> {
        // Nothing has the address of something else, also what is empty.
        let size = size.max(1);
        let align =
            usize::try_from(align).ok().filter(|align| align.is_power_of_two() && *align <= page::size());
        let align = align.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "an alignment that is no power of two, or more than a page",
            )
        })?;
        let Self { code, data, .. } = self;
        match kind {
            JITMemoryKind::Executable => self.drafts.take(size, align, |len| draft(code, len)),
            JITMemoryKind::Writable => self.writable.take(size, align, |len| pages(data, len)),
            JITMemoryKind::ReadOnly => self.constants.take(size, align, |len| pages(data, len)),
        }
    }

    /// What is refused is tried again by the next.
    fn finalize(&mut self) -> folio::Result<()> {
        self.finalized = true;
        self.writable_still.extend(self.constants.close());
        while let Some(pages) = self.writable_still.pop() {
            match pages.make_read_only() {
                Ok(pages) => self.read_only.push(pages),
                Err((pages, error)) => {
                    self.writable_still.push(pages);
                    return Err(error);
                }
            }
        }
        self.unpublished.extend(self.drafts.close());
        match self.code.publish(mem::take(&mut self.unpublished)) {
            Ok(pieces) => self.pieces.extend(pieces),
            Err((drafts, error)) => {
                self.unpublished = drafts;
                return Err(error);
            }
        }
        Ok(())
    }
}

impl JITMemoryProvider for FolioMemoryProvider {
    /// # Errors
    ///
    /// The capacity is used up, the alignment is no power of two or more than a page, or the memory was freed.
    fn allocate(&mut self, size: usize, align: u64, kind: JITMemoryKind) -> io::Result<*mut u8> {
        self.memory.as_mut().ok_or_else(freed)?.allocate(size, align, kind)
    }

    /// Gives all of it back to the system. Nothing can be allocated any more.
    unsafe fn free_memory(&mut self) {
        self.memory = None;
    }

    /// Lets what was allocated so far be executed, or no longer be written. What is allocated later is in other pages.
    ///
    /// # Errors
    ///
    /// The system refuses it, or the memory was freed; or branch targets are to be protected and were not asked for
    /// ([`with_branch_targets`](Self::with_branch_targets)), or the other way round: what cannot be honoured is not passed over, and code
    /// without marks would end the process.
    fn finalize(&mut self, branch_protection: BranchProtection) -> ModuleResult<()> {
        let refused = |why: io::Error| ModuleError::Backend(anyhow::Error::new(why));
        let memory = self.memory.as_mut().ok_or_else(|| refused(freed()))?;
        if (branch_protection == BranchProtection::BTI) != memory.branch_targets {
            return Err(refused(io::Error::new(
                io::ErrorKind::Unsupported,
                "the module and its memory provider disagree about the protection of branch targets",
            )));
        }
        memory.finalize().map_err(|error| ModuleError::Backend(anyhow::Error::new(error)))
    }
}

impl Drop for FolioMemoryProvider {
    fn drop(&mut self) {
        // Functions that were finalized may be called without the module.
        mem::forget(self.memory.take().filter(|memory| memory.finalized));
    }
}

impl fmt::Debug for FolioMemoryProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FolioMemoryProvider").field("code", &self.code()).finish_non_exhaustive()
    }
}
