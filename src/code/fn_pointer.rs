//! Which types are pointers to functions, and how they are called with a tuple.

mod sealed {
    pub trait Sealed {}
}

/// A type of pointers to functions: `extern "C" fn(u64, u64) -> u64`, say.
///
/// Those of up to 16 arguments, `unsafe` or not, of these conventions:
///
/// | processor | conventions |
/// |---|---|
/// | every one | `C`, `system`; and `C-unwind`, `system-unwind`, of functions that unwind |
/// | x86-64 | `sysv64`, `win64`, and those with `-unwind`; `efiapi` |
/// | x86 | `cdecl`, `stdcall`, `fastcall`, `thiscall`, and those with `-unwind`; `efiapi` |
/// | aarch64, riscv | `efiapi` |
/// | 32-bit Arm | `aapcs`, `aapcs-unwind`, `efiapi` |
///
/// Not `extern "Rust"` (plain `fn`), whose convention is nobody's to know. Not those that are generic over lifetimes, as `extern "C" fn(&u8) ->
/// &u8` is (for each lifetime), nor those with `...`: see [`FnRef::as_fn`](super::FnRef::as_fn).
///
/// Nobody else can implement it: [`FnRef`](super::FnRef) relies on it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a type of functions that generated code can be",
    note = "these are function pointers of up to 16 arguments, of a stable convention: `extern \"C\" fn(u64) -> u64`, say",
    note = "a reference among the arguments needs a lifetime with a name, or a raw pointer in its place"
)]
pub trait FnPointer: Copy + sealed::Sealed {
    /// What the function takes, as a tuple: `(u64, u64)`, or `()`.
    type Arguments;
    /// What it returns.
    type Output;

    /// The pointer to what lies at an address.
    ///
    /// # Safety
    ///
    /// There is a function of this type.
    #[doc(hidden)]
    unsafe fn from_code(code: core::ptr::NonNull<u8>) -> Self;

    /// Where the function begins.
    #[doc(hidden)]
    fn code(self) -> *const u8;
}

/// A [`FnPointer`] whose functions may be called with whatever arguments.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a type of functions that are safe to call",
    note = "of `unsafe` functions there is `call_unsafe`"
)]
pub trait SafeFnPointer: FnPointer {
    #[doc(hidden)]
    fn call_with(self, arguments: Self::Arguments) -> Self::Output;
}

/// A [`FnPointer`] whose functions are `unsafe`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a type of `unsafe` functions",
    note = "of others there is `call`"
)]
pub trait UnsafeFnPointer: FnPointer {
    /// # Safety
    ///
    /// The function's own.
    #[doc(hidden)]
    unsafe fn call_with(self, arguments: Self::Arguments) -> Self::Output;
}

macro_rules! pointers {
    ($convention:literal: $($name:ident)*) => {
        pointers!(each $convention:);
        pointers!(some $convention: $($name)*);
    };
    (some $convention:literal: $first:ident $($name:ident)*) => {
        pointers!(each $convention: $first $($name)*);
        pointers!(some $convention: $($name)*);
    };
    (some $convention:literal:) => {};
    (each $convention:literal: $($name:ident)*) => {
        impl<R, $($name),*> sealed::Sealed for extern $convention fn($($name),*) -> R {}
        impl<R, $($name),*> sealed::Sealed for unsafe extern $convention fn($($name),*) -> R {}

        #[doc(hidden)]
        impl<R, $($name),*> FnPointer for extern $convention fn($($name),*) -> R {
            type Arguments = ($($name,)*);
            type Output = R;

            unsafe fn from_code(code: core::ptr::NonNull<u8>) -> Self {
                // SAFETY: of one size, not null, and there is such a function (the caller's promise).
                unsafe { core::mem::transmute::<*mut u8, Self>(code.as_ptr()) }
            }

            #[allow(clippy::as_conversions, reason = "the only way from a function to its address")]
            fn code(self) -> *const u8 {
                self as *const u8
            }
        }

        #[doc(hidden)]
        impl<R, $($name),*> FnPointer for unsafe extern $convention fn($($name),*) -> R {
            type Arguments = ($($name,)*);
            type Output = R;

            unsafe fn from_code(code: core::ptr::NonNull<u8>) -> Self {
                // SAFETY: as above.
                unsafe { core::mem::transmute::<*mut u8, Self>(code.as_ptr()) }
            }

            #[allow(clippy::as_conversions, reason = "the only way from a function to its address")]
            fn code(self) -> *const u8 {
                self as *const u8
            }
        }

        #[doc(hidden)]
        impl<R, $($name),*> SafeFnPointer for extern $convention fn($($name),*) -> R {
            #[inline]
            #[allow(non_snake_case, reason = "the arguments have the names of their types")]
            fn call_with(self, ($($name,)*): Self::Arguments) -> R {
                self($($name),*)
            }
        }

        #[doc(hidden)]
        impl<R, $($name),*> UnsafeFnPointer for unsafe extern $convention fn($($name),*) -> R {
            #[inline]
            #[allow(non_snake_case, reason = "the arguments have the names of their types")]
            unsafe fn call_with(self, ($($name,)*): Self::Arguments) -> R {
                // SAFETY: the caller's promise.
                unsafe { self($($name),*) }
            }
        }
    };
}

macro_rules! conventions {
    ($($convention:literal)*) => {
        $(pointers!($convention: A B C D E F G H I J K L M N O P);)*
    };
}

conventions!("C" "C-unwind" "system" "system-unwind");

#[cfg(target_arch = "x86_64")]
conventions!("sysv64" "sysv64-unwind" "win64" "win64-unwind" "efiapi");

#[cfg(target_arch = "x86")]
conventions!("cdecl" "cdecl-unwind" "stdcall" "stdcall-unwind" "fastcall" "fastcall-unwind" "thiscall" "thiscall-unwind" "efiapi");

#[cfg(target_arch = "arm")]
conventions!("aapcs" "aapcs-unwind" "efiapi");

#[cfg(any(target_arch = "aarch64", target_arch = "riscv32", target_arch = "riscv64"))]
conventions!("efiapi");
