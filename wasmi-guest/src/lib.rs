//! An example: folio's process buffers for a kind of process that is not folio's own: a program in a wasm machine
//! ([wasmi](https://docs.rs/wasmi)), whose linear memory is the machine's, grows, and lies elsewhere then.
//!
//! What an embedder has to see to:
//!
//! - *The memory stays while a closure runs in it.* It moves only when the program grows it, and so only while the program runs. So a
//!   closure is let in while the program **rests**: between two calls of its functions, and while it waits in a call of ours (its system
//!   call). Before it runs on, everybody has left. And when the process ends, its machine is given back by the last one to leave.
//! - *A buffer names bytes by offset*, not by address. Wasm memory never becomes shorter: what was in it once stays in it.
//! - *Nobody has references to the bytes* while slices of them are used: the machine has them as a pointer ([`Memory::data_ptr`]), and does not
//!   touch them while the program rests.
//! - *`NoSuchApp`* from the moment on when the process is dropped.
//!
//! See `tests/guest.rs` for a program and its host.

use folio::process::{
    Error, ReadableProcessBuffer, ReadableProcessSlice, WriteableProcessBuffer, WriteableProcessSlice,
};
use std::collections::HashMap;
use std::ptr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use wasmi::{AsContext, Caller, Engine, Instance, Linker, Memory, Module, Store};

/// What a program asks of us: its third system call, after the two by which it allows ranges.
pub type Command = Box<dyn FnMut(&Allowed, u32) -> u32 + Send>;

/// A program in a wasm machine. Dropping it ends it.
///
/// It imports, from `host`, `allow_read_only(number, offset, len) -> error`, `allow_read_write(number, offset, len) -> error` (0, or 1 for bytes that are not
/// in its memory) and `command(argument) -> answer`, and exports its `memory`.
pub struct WasmProcess {
    instance: Instance,
    linear: Arc<Linear>,
    /// `None` when it is dropped.
    store: Option<Store<Data>>,
}

/// What the machine keeps for us.
struct Data {
    linear: Arc<Linear>,
    /// `None` for a moment, when the program is not started yet.
    memory: Option<Memory>,
    allowed: Allowed,
    command: Command,
}

/// What a program has allowed, by number.
#[derive(Default)]
pub struct Allowed {
    read_only: HashMap<u32, WasmReadOnly>,
    read_write: HashMap<u32, WasmReadWrite>,
}

impl Allowed {
    /// What may be read under this number: a buffer of nobody where nothing may.
    pub fn read_only(&self, number: u32) -> WasmReadOnly {
        self.read_only.get(&number).cloned().unwrap_or_default()
    }

    /// What may be read and written under this number.
    pub fn read_write(&self, number: u32) -> WasmReadWrite {
        self.read_write.get(&number).cloned().unwrap_or_default()
    }
}

/// How many numbers a program may use, of each kind.
const NUMBERS: usize = 16;

/// A program's memory, as we know it.
#[derive(Default)]
struct Linear {
    state: Mutex<State>,
    /// Something has changed that somebody may wait for.
    changed: Condvar,
}

struct State {
    /// Where the memory lies while the program rests, or lay when it last did.
    start: *mut u8,
    len: usize,
    resting: bool,
    /// How many closures are in it: none unless it rests, or is over.
    inside: usize,
    over: bool,
    /// The machine, once it is over: whoever leaves last drops it.
    left: Option<Store<Data>>,
}

// SAFETY: a pointer is an address; all else may be sent.
unsafe impl Send for State {}

impl Default for State {
    fn default() -> Self {
        Self { start: ptr::null_mut(), len: 0, resting: false, inside: 0, over: false, left: None }
    }
}

impl Linear {
    /// (Nothing panics while it is locked.)
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the program rests: closures are let in.
    fn rest(&self, memory: Memory, store: impl AsContext) {
        let mut state = self.lock();
        (state.start, state.len) = (memory.data_ptr(&store), memory.data_size(&store));
        state.resting = true;
        self.changed.notify_all();
    }

    /// It is about to run, when everybody has left.
    fn run(&self) {
        let mut state = self.lock();
        while state.inside > 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.resting = false;
    }

    /// Waits until the program rests, and goes in.
    fn enter(&self) -> Result<Inside<'_>, Error> {
        let mut state = self.lock();
        loop {
            match (state.over, state.resting) {
                (true, _) => return Err(Error::NoSuchApp),
                (false, true) => break,
                (false, false) => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
        state.inside += 1;
        Ok(Inside { linear: self, start: state.start })
    }
}

/// Somebody is in the memory, which begins here and stays until this is dropped: by a panic, too.
struct Inside<'a> {
    linear: &'a Linear,
    start: *mut u8,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let mut state = self.linear.lock();
        state.inside -= 1;
        let machine = if state.inside == 0 { state.left.take() } else { None };
        self.linear.changed.notify_all();
        drop(state);
        // (Not while it is locked: what the machine keeps has buffers.)
        drop(machine);
    }
}

/// The program runs. If this is dropped, a system call of ours has panicked, and nobody knows where the memory lies: it is over.
struct Running<'a>(&'a Linear);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.lock().over = true;
        self.0.changed.notify_all();
    }
}

/// The program rests until this is dropped: while it waits for us in a system call.
struct Resting<'a>(&'a Linear);

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        self.0.run();
    }
}

/// Bytes of a program's memory; or, by default, none of nobody.
#[derive(Clone, Default)]
struct Part {
    linear: Option<Arc<Linear>>,
    offset: usize,
    len: usize,
}

impl Part {
    fn len(&self) -> usize {
        match &self.linear {
            Some(linear) if !linear.lock().over => self.len,
            _ => 0,
        }
    }

    fn ptr(&self) -> *mut u8 {
        match &self.linear {
            // Of nothing, no address.
            Some(linear) if self.len > 0 => linear.lock().start.wrapping_add(self.offset),
            _ => ptr::null_mut(),
        }
    }

    fn enter<R>(&self, fun: impl FnOnce(*mut u8, usize) -> R) -> Result<R, Error> {
        let linear = self.linear.as_ref().ok_or(Error::NoSuchApp)?;
        let inside = linear.enter()?;
        Ok(fun(inside.start.wrapping_add(self.offset), self.len))
    }
}

/// Memory that a program has allowed to be read.
#[derive(Clone, Default)]
pub struct WasmReadOnly(Part);

/// Memory that a program has allowed to be read and written.
#[derive(Clone, Default)]
pub struct WasmReadWrite(Part);

macro_rules! readable {
    ($buffer:ident) => {
        // SAFETY: `Part` names bytes that were in the program's memory once (`allow`), and therefore still are. While somebody is inside,
        // the program rests, or is over: so the memory stays where it is, and the machine, which has no references to it, does not
        // touch it. `len` is 0 when it is over.
        unsafe impl ReadableProcessBuffer for $buffer {
            fn len(&self) -> usize {
                self.0.len()
            }

            fn ptr(&self) -> *const u8 {
                self.0.ptr()
            }

            fn enter<F, R>(&self, fun: F) -> Result<R, Error>
            where
                F: FnOnce(&ReadableProcessSlice) -> R,
            {
                self.0.enter(|start, len| {
                    // SAFETY: as above; bytes of a vector that are all initialized.
                    fun(unsafe { ReadableProcessSlice::from_raw_parts(start, len) })
                })
            }
        }
    };
}

readable! { WasmReadOnly }
readable! { WasmReadWrite }

// SAFETY: as for `ReadableProcessBuffer`; the memory can be written to, and the pointer is one for that.
unsafe impl WriteableProcessBuffer for WasmReadWrite {
    fn mut_enter<F, R>(&self, fun: F) -> Result<R, Error>
    where
        F: FnOnce(&WriteableProcessSlice) -> R,
    {
        self.0.enter(|start, len| {
            // SAFETY: as above.
            fun(unsafe { WriteableProcessSlice::from_raw_parts(start, len) })
        })
    }
}

/// A system call: the bytes, if they are in the memory.
fn part(caller: &Caller<'_, Data>, offset: u32, len: u32) -> Option<Part> {
    let data = caller.data();
    let (offset, len) = (usize::try_from(offset).ok()?, usize::try_from(len).ok()?);
    // (What is nothing may lie anywhere.)
    let end = offset.checked_add(len)?;
    (len == 0 || end <= data.memory?.data_size(caller)).then(|| Part {
        linear: Some(Arc::clone(&data.linear)),
        offset,
        len,
    })
}

/// Puts a buffer under a number, if the program does not use too many.
fn allow<B>(under: &mut HashMap<u32, B>, number: u32, buffer: B) -> u32 {
    if under.len() >= NUMBERS && !under.contains_key(&number) {
        return 1;
    }
    let _before = under.insert(number, buffer);
    0
}

fn allow_read_only(mut caller: Caller<'_, Data>, number: u32, offset: u32, len: u32) -> u32 {
    let Some(part) = part(&caller, offset, len) else { return 1 };
    allow(&mut caller.data_mut().allowed.read_only, number, WasmReadOnly(part))
}

fn allow_read_write(mut caller: Caller<'_, Data>, number: u32, offset: u32, len: u32) -> u32 {
    let Some(part) = part(&caller, offset, len) else { return 1 };
    allow(&mut caller.data_mut().allowed.read_write, number, WasmReadWrite(part))
}

fn command(mut caller: Caller<'_, Data>, argument: u32) -> u32 {
    let linear = Arc::clone(&caller.data().linear);
    let Some(memory) = caller.data().memory else { return 0 };
    linear.rest(memory, &caller);
    let _resting = Resting(&linear);
    let Data { allowed, command, .. } = caller.data_mut();
    command(allowed, argument)
}

impl WasmProcess {
    /// Makes a process of a program, which does not run yet; `command` is what it can ask of us.
    pub fn new(
        program: &[u8],
        command: impl FnMut(&Allowed, u32) -> u32 + Send + 'static,
    ) -> Result<Self, wasmi::Error> {
        let engine = Engine::default();
        let module = Module::new(&engine, program)?;
        let linear = Arc::<Linear>::default();
        let (allowed, command) = (Allowed::default(), Box::new(command));
        let data = Data { linear: Arc::clone(&linear), memory: None, allowed, command };
        let mut store = Store::new(&engine, data);
        let mut linker = Linker::new(&engine);
        linker.func_wrap("host", "allow_read_only", allow_read_only)?;
        linker.func_wrap("host", "allow_read_write", allow_read_write)?;
        linker.func_wrap("host", "command", self::command)?;
        let instance = linker.instantiate_and_start(&mut store, &module)?;
        let memory = instance.get_memory(&store, "memory").ok_or_else(|| wasmi::Error::new("no memory"))?;
        store.data_mut().memory = Some(memory);
        linear.rest(memory, &store);
        Ok(Self { instance, linear, store: Some(store) })
    }

    /// Lets the program run a function of its own. Waits until nobody is in its memory: not to be called by who is.
    ///
    /// A panic in a system call ends the process.
    pub fn call(&mut self, function: &str, argument: u32) -> Result<u32, wasmi::Error> {
        let ended = self.linear.lock().over;
        let store =
            self.store.as_mut().filter(|_| !ended).ok_or_else(|| wasmi::Error::new("it has ended"))?;
        let function = self.instance.get_typed_func::<u32, u32>(&*store, function)?;
        let memory = store.data().memory.ok_or_else(|| wasmi::Error::new("no memory"))?;
        self.linear.run();
        let running = Running(&self.linear);
        let answer = function.call(&mut *store, argument);
        std::mem::forget(running);
        self.linear.rest(memory, &*store);
        answer
    }

    /// What it has allowed by now.
    pub fn allowed(&self) -> Option<&Allowed> {
        self.store.as_ref().map(|store| &store.data().allowed)
    }
}

impl Drop for WasmProcess {
    fn drop(&mut self) {
        let machine = self.store.take();
        let mut state = self.linear.lock();
        state.over = true;
        // Never waits: whoever is inside drops it when he leaves.
        let now = if state.inside == 0 {
            machine
        } else {
            state.left = machine;
            None
        };
        self.linear.changed.notify_all();
        drop(state);
        drop(now);
    }
}
