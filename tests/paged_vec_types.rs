//! What vectors in pages are to others, and to the compiler: the same as `Vec`.
#![cfg(feature = "collections")]

use folio::{Drain, ExtractIf, IntoIter, PagedVec, Splice};
use std::cell::Cell;
use std::collections::HashSet;
use std::io::Write;
use std::marker::PhantomData;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;
use std::sync::MutexGuard;
use std::vec;

/// Whether a type implements a trait, without asking for it.
macro_rules! implements {
    ($type:ty: $bound:path) => {{
        struct Asked<T>(PhantomData<T>);

        #[allow(dead_code, reason = "one of the two")]
        trait Otherwise {
            const ANSWER: bool = false;
        }

        #[allow(dead_code, reason = "one of the two")]
        impl<T: $bound> Asked<T> {
            const ANSWER: bool = true;
        }

        impl<T> Otherwise for T {}

        <Asked<$type>>::ANSWER
    }};
}

macro_rules! same {
    ($($element:ty),*) => {$(
        same!($element: Send);
        same!($element: Sync);
        same!($element: UnwindSafe, RefUnwindSafe);
    )*};
    ($element:ty: $($bound:path),*) => {
        $(assert_eq!(implements!(PagedVec<$element>: $bound), implements!(Vec<$element>: $bound));)*
        // (Before some Rust behind 1.85, that of `Vec` was less unwind safe than the vector.)
        $(assert!(
            implements!(IntoIter<$element>: $bound) == implements!(vec::IntoIter<$element>: $bound)
                || implements!(IntoIter<$element>: $bound) == implements!(Vec<$element>: $bound)
        );)*
        $(assert_eq!(
            implements!(Drain<'static, $element>: $bound),
            implements!(vec::Drain<'static, $element>: $bound)
        );)*
        $(assert_eq!(
            implements!(ExtractIf<'static, $element, fn(&mut $element) -> bool>: $bound),
            implements!(&'static mut Vec<$element>: $bound)
        );)*
        // (More cautious about panics than that of `Vec`.)
        $(assert!(
            implements!(vec::Splice<'static, vec::IntoIter<$element>>: $bound)
                || !implements!(Splice<'static, vec::IntoIter<$element>>: $bound)
        );)*
    };
}

#[test]
fn automatic_traits_are_those_of_vec() {
    assert!(implements!(u8: Send) && !implements!(Rc<u8>: Send));
    assert!(implements!(PagedVec<u8>: Unpin));
    same!(u8, Rc<u8>, Cell<u8>, MutexGuard<'static, u8>, *mut u8, &'static mut u8, &'static Cell<u8>);
}

/// A vector of what lives long is one of what lives less long.
#[test]
fn types_are_covariant() {
    fn vec<'a>(values: PagedVec<&'static str>, _: &'a str) -> PagedVec<&'a str> {
        values
    }
    fn values<'a>(values: IntoIter<&'static str>, _: &'a str) -> IntoIter<&'a str> {
        values
    }
    fn drain<'a>(values: Drain<'a, &'static str>, _: &'a str) -> Drain<'a, &'a str> {
        values
    }
    #[cfg(feature = "zerocopy")]
    fn frozen<'a>(values: folio::FrozenVec<&'static str>, _: &'a str) -> folio::FrozenVec<&'a str> {
        values
    }

    let short = String::from("short");
    let mut both = vec(PagedVec::from(["long"]), &short);
    both.push(&short);
    assert_eq!(both, ["long", "short"]);
    assert_eq!(values(PagedVec::from(["long"]).into_iter(), &short).next(), Some("long"));
    let mut long = PagedVec::from(["long"]);
    assert_eq!(drain(long.drain(..), &short).next(), Some("long"));
    #[cfg(feature = "zerocopy")]
    assert_eq!(frozen(PagedVec::from(["long"]).freeze().unwrap(), &short), ["long"]);
}

#[test]
fn it_is_what_a_vec_is_to_others() {
    let vec: PagedVec<i32> = (1..=3).collect();
    assert_eq!(vec, [1, 2, 3]);
    assert_eq!(vec, vec![1, 2, 3]);
    assert_eq!(vec, &[1, 2, 3]);
    assert_eq!(vec, [1, 2, 3][..]);
    assert_eq!([1, 2, 3], vec);
    assert_eq!(vec![1, 2, 3], vec);
    assert_eq!(&[1, 2, 3][..], vec);
    assert_ne!(vec, vec[..2]);
    assert_eq!(vec, vec.clone());
    let larger = PagedVec::from([1, 2, 4]);
    assert!(vec < larger && vec.cmp(&vec).is_eq());
    assert_eq!(format!("{vec:?}"), "[1, 2, 3]");
    assert_eq!(Vec::from(vec.clone()), [1, 2, 3]);
    assert_eq!(<[i32; 3]>::try_from(vec.clone()), Ok([1, 2, 3]));
    assert_eq!(<[i32; 2]>::try_from(vec.clone()), Err(vec.clone()));
    assert_eq!(PagedVec::from(vec![1, 2, 3].into_boxed_slice()), vec);
    assert_eq!(PagedVec::from("ab"), *b"ab");
    assert_eq!(PagedVec::from(&[1, 2, 3]), PagedVec::from(&[1, 2, 3][..]));

    let set = HashSet::from([vec.clone()]);
    assert!(set.contains(&[1, 2, 3][..]));

    let mut vec = vec;
    vec.extend(&[4, 5]);
    vec.extend([6]);
    for number in &mut vec {
        *number *= 2;
    }
    assert_eq!((&vec).into_iter().sum::<i32>(), 42);
    vec.reverse();
    vec[1..].sort();
    assert_eq!(vec, [12, 2, 4, 6, 8, 10]);
    assert_eq!(vec.drain(1..3).rev().collect::<Vec<_>>(), [4, 2]);
    assert_eq!(vec.leak(), [12, 6, 8, 10]);

    let mut bytes = PagedVec::default();
    write!(bytes, "{}-{}", 1, 2).unwrap();
    assert_eq!(
        bytes.write_vectored(&[std::io::IoSlice::new(b"ab"), std::io::IoSlice::new(b"c")]).unwrap(),
        3
    );
    bytes.flush().unwrap();
    assert_eq!(bytes, *b"1-2abc");
}
