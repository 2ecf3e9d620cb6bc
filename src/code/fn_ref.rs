//! Functions inside pages.

use super::{FnPointer, SafeFnPointer, UnsafeFnPointer};
use crate::error::{Error, ErrorKind, Failure, Operation};
use crate::pages::{AllowExec, Pages, ReadAccess, Together, WriteAccess};
use crate::range::PageRange;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;

/// A function inside executable pages, that cannot be called when they are gone, or are executable no more.
///
/// It borrows the pages: whoever wants to change what they grant, or what is in them, has to let go of it first. It is as large as a
/// pointer, and calling it is calling that pointer. Made by [`Pages::get_fn`].
///
/// # Examples
///
/// Two numbers, added by code that was assembled while the program runs:
///
/// ```
/// use folio::{FnRef, Pages};
///
/// let add: &[u8] = if cfg!(all(target_arch = "x86_64", windows)) {
///     &[0x48, 0x8d, 0x04, 0x11, 0xc3] // lea rax, [rcx+rdx]; ret
/// } else if cfg!(target_arch = "x86_64") {
///     &[0x48, 0x8d, 0x04, 0x37, 0xc3] // lea rax, [rdi+rsi]; ret
/// } else if cfg!(target_arch = "aarch64") {
///     &[0x00, 0x00, 0x01, 0x8b, 0xc0, 0x03, 0x5f, 0xd6] // add x0, x0, x1; ret
/// } else {
///     return Ok(());
/// };
/// let mut pages = Pages::new(add.len())?;
/// pages[..add.len()].copy_from_slice(add);
/// // To be executed from now on, and written no more.
/// let pages = match pages.set_protected_exec() {
///     Ok(pages) => pages,
///     Err((_, error)) => return Ok(println!("not here: {error}")),
/// };
/// // SAFETY: the bytes are a function of this type.
/// let add: FnRef<'_, extern "C" fn(u64, u64) -> u64> = unsafe { pages.get_fn(0)? };
/// assert_eq!(add.call((43, 57)), 100);
/// # Ok::<(), folio::Error>(())
/// ```
///
/// It ends with the right to execute:
///
/// ```compile_fail,E0505
/// let pages = folio::MmapOptions::new(1).map_exec()?;
/// // SAFETY: never called.
/// let function = unsafe { pages.get_fn::<unsafe extern "C" fn()>(0)? };
/// let pages = pages.make_mut()?;
/// function.address();
/// # Ok::<(), folio::Error>(())
/// ```
///
/// … and with the pages:
///
/// ```compile_fail,E0597
/// let function = {
///     let pages = folio::MmapOptions::new(1).map_exec()?;
///     // SAFETY: never called.
///     unsafe { pages.get_fn::<unsafe extern "C" fn()>(0)? }
/// };
/// function.address();
/// # Ok::<(), folio::Error>(())
/// ```
///
/// Functions of convention `Rust` are none that anybody could assemble:
///
/// ```compile_fail,E0277
/// let pages = folio::MmapOptions::new(1).map_exec()?;
/// // SAFETY: never called.
/// let function = unsafe { pages.get_fn::<fn()>(0)? };
/// # Ok::<(), folio::Error>(())
/// ```
#[cfg_attr(docsrs, doc(cfg(feature = "allow_exec")))]
#[derive(Clone, Copy)]
pub struct FnRef<'pages, F> {
    function: F,
    pages: PhantomData<&'pages ()>,
}

impl<F: FnPointer> FnRef<'_, F> {
    /// # Safety
    ///
    /// A function of this type is there as long as what the lifetime is of.
    pub(super) unsafe fn at(code: NonNull<u8>) -> Self {
        // SAFETY: the caller's promise.
        Self { function: unsafe { F::from_code(code) }, pages: PhantomData }
    }

    /// Calls the function.
    ///
    /// # Cost
    ///
    /// As a call by a function pointer.
    ///
    /// # Examples
    ///
    /// Arguments are a tuple: `add.call((1, 2))`, `now.call(())`, `twice.call((21,))`.
    #[inline]
    pub fn call(self, arguments: F::Arguments) -> F::Output
    where
        F: SafeFnPointer,
    {
        self.function.call_with(arguments)
    }

    /// Calls the function, if it is an `unsafe` one.
    ///
    /// By another name, since Rust lets no method be `unsafe` for some types only.
    ///
    /// # Cost
    ///
    /// As a call by a function pointer.
    ///
    /// # Safety
    ///
    /// What the function itself asks of who calls it.
    ///
    /// # Examples
    ///
    /// ```
    /// # let load: &[u8] = if cfg!(all(target_arch = "x86_64", windows)) {
    /// #     &[0x48, 0x8b, 0x01, 0xc3] // mov rax, [rcx]; ret
    /// # } else if cfg!(target_arch = "x86_64") {
    /// #     &[0x48, 0x8b, 0x07, 0xc3] // mov rax, [rdi]; ret
    /// # } else if cfg!(target_arch = "aarch64") {
    /// #     &[0x00, 0x00, 0x40, 0xf9, 0xc0, 0x03, 0x5f, 0xd6] // ldr x0, [x0]; ret
    /// # } else {
    /// #     return Ok(());
    /// # };
    /// # let mut pages = folio::Pages::new(load.len())?;
    /// # pages[..load.len()].copy_from_slice(load);
    /// # let Ok(pages) = pages.set_protected_exec() else { return Ok(()) };
    /// // SAFETY: the bytes are a function of this type: it loads what the pointer points to.
    /// let load = unsafe { pages.get_fn::<unsafe extern "C" fn(*const u64) -> u64>(0)? };
    /// let number = 7;
    /// // SAFETY: a pointer to a number.
    /// assert_eq!(unsafe { load.call_unsafe((&raw const number,)) }, 7);
    /// # Ok::<(), folio::Error>(())
    /// ```
    #[inline]
    pub unsafe fn call_unsafe(self, arguments: F::Arguments) -> F::Output
    where
        F: UnsafeFnPointer,
    {
        // SAFETY: the caller's promise.
        unsafe { self.function.call_with(arguments) }
    }

    /// The function pointer, without the lifetime that keeps it from being called too late.
    ///
    /// For what takes a plain function pointer, and for functions that are generic over lifetimes or take `...`: their pointers are
    /// of types that [`FnPointer`] cannot name, and are made of one that it can.
    ///
    /// # Safety
    ///
    /// It is called only as long as the pages are there, executable, and hold the function.
    ///
    /// # Examples
    ///
    /// ```
    /// # let first: &[u8] = if cfg!(all(target_arch = "x86_64", windows)) {
    /// #     &[0x48, 0x89, 0xc8, 0xc3] // mov rax, rcx; ret
    /// # } else if cfg!(target_arch = "x86_64") {
    /// #     &[0x48, 0x89, 0xf8, 0xc3] // mov rax, rdi; ret
    /// # } else if cfg!(target_arch = "aarch64") {
    /// #     &[0xc0, 0x03, 0x5f, 0xd6] // ret
    /// # } else {
    /// #     return Ok(());
    /// # };
    /// # let mut pages = folio::Pages::new(first.len())?;
    /// # pages[..first.len()].copy_from_slice(first);
    /// # let Ok(pages) = pages.set_protected_exec() else { return Ok(()) };
    /// type Field = for<'a> unsafe extern "C" fn(&'a (u8, u8)) -> &'a u8;
    ///
    /// // SAFETY: the bytes are a function of this type: it gives back its argument.
    /// let field = unsafe { pages.get_fn::<unsafe extern "C" fn(*const (u8, u8)) -> *const u8>(0)? };
    /// // SAFETY: called below only, where the pages still are.
    /// let field = unsafe { field.as_fn() };
    /// // SAFETY: of the same convention; the place of the first field is that of the whole, and lives as long.
    /// let field: Field = unsafe { core::mem::transmute(field) };
    /// let pair = (7, 8);
    /// // SAFETY: any pair will do.
    /// let _seven: &u8 = unsafe { field(&pair) };
    /// # Ok::<(), folio::Error>(())
    /// ```
    #[inline]
    pub unsafe fn as_fn(self) -> F {
        self.function
    }

    /// Where the function begins.
    #[inline]
    pub fn address(self) -> *const u8 {
        self.function.code()
    }
}

/// The address.
impl<F: FnPointer> fmt::Debug for FnRef<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FnRef").field(&self.address()).finish()
    }
}

/// On a multiple of how many bytes instructions begin; `None` where a function is not where its pointer points.
const fn unit() -> Option<usize> {
    if cfg!(any(target_arch = "x86", target_arch = "x86_64")) {
        Some(1)
    } else if cfg!(any(target_arch = "riscv32", target_arch = "riscv64", target_arch = "s390x")) {
        Some(2)
    } else if cfg!(any(target_arch = "wasm32", target_arch = "wasm64"))
        // Pointers to functions point to a descriptor (ELF ABI version 1).
        || cfg!(all(target_arch = "powerpc64", target_endian = "big"))
    {
        None
    } else {
        Some(4)
    }
}

impl<R, W> Pages<R, W, AllowExec>
where
    R: ReadAccess,
    W: WriteAccess,
    (W, AllowExec): Together,
{
    /// The function that begins `offset` bytes behind the start of the pages.
    ///
    /// It borrows the pages: as long as it is used, they stay executable and as they are.
    ///
    /// # Cost
    ///
    /// A few nanoseconds: no system call.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidInput`]: `offset` is not within the pages, or instructions cannot begin there: on RISC-V and s390x at
    ///   odd addresses, on others but x86 at what is no multiple of 4. (On 32-bit Arm, an odd offset behind an even one is for a
    ///   Thumb function.)
    /// - [`ErrorKind::Unsupported`]: function pointers of this processor do not point to code (64-bit PowerPC, big-endian).
    ///
    /// # Safety
    ///
    /// - At `offset` begins a whole function of type `F`: what it does with arguments as `F` says, and with nothing else, is no undefined
    ///   behaviour, for any arguments if `F` is not `unsafe`, and from any thread. If its convention is not one with `-unwind`, it does
    ///   not unwind.
    /// - The processor has been told of it: the pages were made executable by one of the conversions that
    ///   [flush](Self::flush_icache), and other threads have done what is said there.
    /// - Nobody writes to it as long as it is used, by way of pointers or of another mapping.
    ///
    /// # Examples
    ///
    /// See [`FnRef`].
    #[cfg_attr(docsrs, doc(cfg(feature = "allow_exec")))]
    pub unsafe fn get_fn<F: FnPointer>(&self, offset: usize) -> Result<FnRef<'_, F>, Error> {
        let code = code_at(self.as_ptr(), self.len(), offset)?;
        // SAFETY: the caller's promise; it borrows the pages.
        Ok(unsafe { FnRef::at(code) })
    }

    /// As [`get_fn`](Self::get_fn), but a plain pointer, of no type and no lifetime: for `transmute`, other crates, or an assembler.
    ///
    /// # Errors
    ///
    /// As [`get_fn`](Self::get_fn).
    ///
    /// # Examples
    ///
    /// ```
    /// let pages = folio::MmapOptions::new(1).map_exec()?;
    /// assert_eq!(pages.get_fn_ptr(16)?.addr(), pages.as_ptr().addr() + 16);
    /// assert!(pages.get_fn_ptr(pages.len()).is_err());
    /// # Ok::<(), folio::Error>(())
    /// ```
    #[cfg_attr(docsrs, doc(cfg(feature = "allow_exec")))]
    pub fn get_fn_ptr(&self, offset: usize) -> Result<*const (), Error> {
        code_at(self.as_ptr(), self.len(), offset).map(|code| code.as_ptr().cast_const().cast())
    }
}

/// The function at an offset within bytes of code, if one can begin there.
pub(super) fn code_at(base: *const u8, len: usize, offset: usize) -> Result<NonNull<u8>, Error> {
    let failed = |failure: Failure| {
        let place = base.addr().checked_add(offset).map(PageRange::containing);
        failure.during(Operation::Function, place, None)
    };
    if offset >= len {
        return Err(failed(Failure::invalid("the function would begin behind the end")));
    }
    let Some(unit) = unit() else {
        let failure = Failure::new(ErrorKind::Unsupported);
        return Err(failed(failure.detail("function pointers of this processor do not point to code")));
    };
    let code = base.cast_mut().wrapping_add(offset);
    // The lowest bit says that it is Thumb's, whose instructions begin at even addresses.
    let thumb = cfg!(target_arch = "arm") && code.addr() & 1 == 1;
    if !thumb && code.addr() & unit.saturating_sub(1) != 0 {
        return Err(failed(Failure::invalid("no instruction can begin there: the address is not aligned")));
    }
    NonNull::new(code).ok_or_else(|| failed(Failure::new(ErrorKind::System)))
}
