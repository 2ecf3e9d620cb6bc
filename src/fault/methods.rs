//! The methods of all that can be reached by copies, written once: of [`RawMemory`](super::RawMemory) and
//! [`Pages`](crate::Pages), say.

/// Those that read. `$span` gives a `Span` of `$this`.
macro_rules! reading {
    ($this:ident => $span:expr) => {
        /// Copies `to.len()` bytes from `offset` on.
        ///
        /// # Cost
        ///
        /// That of `memcpy`; no system call. See [`fault`](crate::fault).
        ///
        /// # Errors
        ///
        /// [`ErrorKind::Fault`](crate::ErrorKind::Fault) when a byte cannot be read: [`Error::fault`](crate::Error::fault) tells which
        /// and why; those before it, `fault.offset() - offset` bytes, are in `to`, whose rest is as it was (but see
        /// [`fault`](crate::fault) on what is taken away in the midst of a copy).
        /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput), and nothing is done, when the bytes reach beyond the end.
        /// As [`fault::install`](crate::fault::install) the first time.
        #[inline]
        pub fn try_copy_to(&$this, offset: usize, to: &mut [u8]) -> $crate::error::Result<()> {
            // SAFETY: of the same layout; only initialized bytes are written to it.
            let to = unsafe { ::core::slice::from_raw_parts_mut(to.as_mut_ptr().cast(), to.len()) };
            // SAFETY: the type's promise; a borrowed slice is no part of it.
            unsafe { $span.copy_to(offset, to) }
        }

        /// Copies into memory that need not hold anything yet, and gives it as bytes.
        ///
        /// # Cost, errors
        ///
        /// As [`try_copy_to`](Self::try_copy_to).
        #[inline]
        pub fn try_copy_to_uninit<'to>(
            &$this,
            offset: usize,
            to: &'to mut [::core::mem::MaybeUninit<u8>],
        ) -> $crate::error::Result<&'to mut [u8]> {
            // SAFETY: the type's promise; a borrowed slice is no part of it.
            unsafe { $span.copy_to(offset, to)? };
            // SAFETY: all bytes are written.
            Ok(unsafe { ::core::slice::from_raw_parts_mut(to.as_mut_ptr().cast(), to.len()) })
        }

        /// The value whose bytes lie at `offset`, which may be any.
        ///
        /// # Cost, errors
        ///
        /// As [`try_copy_to`](Self::try_copy_to).
        #[inline]
        pub fn try_read<T: $crate::fault::Plain>(&$this, offset: usize) -> $crate::error::Result<T> {
            // SAFETY: the type's promise.
            unsafe { $span.read(offset) }
        }

        /// The order of the bytes from `offset` on and of as many others, as slices have it.
        ///
        /// # Cost
        ///
        /// A copy and a comparison, 1 KiB at a time.
        ///
        /// # Errors
        ///
        /// As [`try_copy_to`](Self::try_copy_to), if all bytes before the one that cannot be read are equal.
        pub fn try_compare(&$this, offset: usize, with: &[u8]) -> $crate::error::Result<::core::cmp::Ordering> {
            // SAFETY: the type's promise.
            unsafe { $span.compare(offset, with) }
        }

        /// The word at `offset`, read as a whole, sequentially consistent. Nothing is written: memory that can only be read will do.
        ///
        /// # Errors
        ///
        /// As [`try_copy_to`](Self::try_copy_to); [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) also when the
        /// *address* is not a multiple of the word's size; [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) on processors
        /// that have copies by system calls only.
        #[inline]
        pub fn try_load<T: $crate::fault::Word>(&$this, offset: usize) -> $crate::error::Result<T> {
            // SAFETY: the type's promise.
            unsafe { $span.word(offset, $crate::os::copying::Access::Load) }
        }
    };
}

/// Those that write.
macro_rules! writing {
    ($this:ident: $receiver:ty => $span:expr) => {
        /// Copies all of `from` to `offset`.
        ///
        /// # Cost
        ///
        /// That of `memcpy`; no system call. See [`fault`](crate::fault).
        ///
        /// # Errors
        ///
        /// [`ErrorKind::Fault`](crate::ErrorKind::Fault) when a byte cannot be written: [`Error::fault`](crate::Error::fault) tells
        /// which and why; those before it have been, none behind it has (unless memory was taken away in the midst of the copy).
        /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput), and nothing is done, when the bytes reach beyond the end.
        /// As [`fault::install`](crate::fault::install) the first time.
        #[inline]
        pub fn try_copy_from($this: $receiver, offset: usize, from: &[u8]) -> $crate::error::Result<()> {
            // SAFETY: the type's promise; a borrowed slice is no part of it.
            unsafe { $span.copy_from(offset, from) }
        }

        /// Writes `byte` to `len` bytes from `offset` on.
        ///
        /// # Cost, errors
        ///
        /// As [`try_copy_from`](Self::try_copy_from).
        #[inline]
        pub fn try_fill($this: $receiver, offset: usize, len: usize, byte: u8) -> $crate::error::Result<()> {
            // SAFETY: the type's promise.
            unsafe { $span.fill(offset, len, byte) }
        }

        /// Writes the bytes of a value to `offset`, which may be any.
        ///
        /// # Cost, errors
        ///
        /// As [`try_copy_from`](Self::try_copy_from).
        #[inline]
        pub fn try_write<T: $crate::fault::Plain>(
            $this: $receiver,
            offset: usize,
            value: T,
        ) -> $crate::error::Result<()> {
            // SAFETY: the type's promise.
            unsafe { $span.write(offset, value) }
        }

        /// Writes the word at `offset` as a whole, sequentially consistent.
        ///
        /// # Errors
        ///
        /// As [`try_load`](crate::fault::RawMemory::try_load) of readable memory; a fault is one of writing.
        #[inline]
        pub fn try_store<T: $crate::fault::Word>(
            $this: $receiver,
            offset: usize,
            value: T,
        ) -> $crate::error::Result<()> {
            let access = $crate::os::copying::Access::Swap(value.to_wide());
            // SAFETY: the type's promise.
            unsafe { $span.word::<T>(offset, access) }.map(drop)
        }
    };
}

/// Those that read and write at once. They give what was there before.
macro_rules! changing {
    ($this:ident: $receiver:ty => $span:expr) => {
        /// Writes the word at `offset` and gives what was there, as one access, sequentially consistent.
        ///
        /// # Errors
        ///
        /// As [`try_load`](crate::fault::RawMemory::try_load); a fault is one of writing, also where reading would have been one.
        #[inline]
        pub fn try_swap<T: $crate::fault::Word>(
            $this: $receiver,
            offset: usize,
            value: T,
        ) -> $crate::error::Result<T> {
            // SAFETY: the type's promise.
            unsafe { $span.word(offset, $crate::os::copying::Access::Swap(value.to_wide())) }
        }

        /// Writes the word at `offset` if it is `current`, as one access, sequentially consistent: `Ok` with what was there if it
        /// was, `Err` with what is there if not.
        ///
        /// Memory that cannot be written to gives a fault in either case.
        ///
        /// # Errors
        ///
        /// As [`try_swap`](Self::try_swap).
        #[inline]
        pub fn try_compare_exchange<T: $crate::fault::Word>(
            $this: $receiver,
            offset: usize,
            current: T,
            new: T,
        ) -> $crate::error::Result<::core::result::Result<T, T>> {
            let access = $crate::os::copying::Access::Exchange(current.to_wide(), new.to_wide());
            // SAFETY: the type's promise.
            let found = unsafe { $span.word::<T>(offset, access)? };
            Ok(if found == current { Ok(found) } else { Err(found) })
        }

        /// Adds to the word at `offset`, wrapping round, as one access, sequentially consistent, and gives what was there.
        ///
        /// # Errors
        ///
        /// As [`try_swap`](Self::try_swap).
        #[inline]
        pub fn try_fetch_add<T: $crate::fault::Word>(
            $this: $receiver,
            offset: usize,
            value: T,
        ) -> $crate::error::Result<T> {
            // SAFETY: the type's promise.
            unsafe { $span.word(offset, $crate::os::copying::Access::Add(value.to_wide())) }
        }

        /// Subtracts from the word at `offset`; otherwise as [`try_fetch_add`](Self::try_fetch_add).
        ///
        /// # Errors
        ///
        /// As [`try_swap`](Self::try_swap).
        #[inline]
        pub fn try_fetch_sub<T: $crate::fault::Word>(
            $this: $receiver,
            offset: usize,
            value: T,
        ) -> $crate::error::Result<T> {
            // SAFETY: the type's promise.
            unsafe { $span.word(offset, $crate::os::copying::Access::Add(value.to_wide().wrapping_neg())) }
        }

        /// Keeps of the word at `offset` those bits that `value` has, and gives what was there; otherwise as
        /// [`try_fetch_add`](Self::try_fetch_add), by compare-exchange: again as often as somebody else changed the word in between.
        ///
        /// # Errors
        ///
        /// As [`try_swap`](Self::try_swap).
        pub fn try_fetch_and<T: $crate::fault::Word>(
            $this: $receiver,
            offset: usize,
            value: T,
        ) -> $crate::error::Result<T> {
            let value = value.to_wide();
            // SAFETY: the type's promise.
            unsafe { $span.update::<T>(offset, |seen| T::from_wide(seen.to_wide() & value)) }
        }

        /// Adds to the word at `offset` those bits that `value` has; otherwise as [`try_fetch_and`](Self::try_fetch_and).
        ///
        /// # Errors
        ///
        /// As [`try_swap`](Self::try_swap).
        pub fn try_fetch_or<T: $crate::fault::Word>(
            $this: $receiver,
            offset: usize,
            value: T,
        ) -> $crate::error::Result<T> {
            let value = value.to_wide();
            // SAFETY: the type's promise.
            unsafe { $span.update::<T>(offset, |seen| T::from_wide(seen.to_wide() | value)) }
        }

        /// Turns those bits of the word at `offset` that `value` has; otherwise as [`try_fetch_and`](Self::try_fetch_and).
        ///
        /// # Errors
        ///
        /// As [`try_swap`](Self::try_swap).
        pub fn try_fetch_xor<T: $crate::fault::Word>(
            $this: $receiver,
            offset: usize,
            value: T,
        ) -> $crate::error::Result<T> {
            let value = value.to_wide();
            // SAFETY: the type's promise.
            unsafe { $span.update::<T>(offset, |seen| T::from_wide(seen.to_wide() ^ value)) }
        }
    };
}
