//! A vector as a sequence.

use super::PagedVec;
use core::fmt;
use core::marker::PhantomData;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

#[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
impl<T: Serialize> Serialize for PagedVec<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

/// Where there is no memory, that is an error of the deserializer.
#[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
impl<'de, T: Deserialize<'de>> Deserialize<'de> for PagedVec<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Sequence(PhantomData))
    }
}

struct Sequence<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Sequence<T> {
    type Value = PagedVec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<PagedVec<T>, A::Error> {
        /// What a sequence says of itself may be a lie: no more than this many bytes are got upon its word.
        const TRUSTED: usize = 1 << 20;
        let most = TRUSTED.checked_div(size_of::<T>()).unwrap_or(0);
        let hint = sequence.size_hint().unwrap_or(0).min(most);
        let mut vec = PagedVec::try_with_capacity(hint).map_err(A::Error::custom)?;
        while let Some(value) = sequence.next_element()? {
            vec.try_push(value).map_err(|(_, error)| A::Error::custom(error))?;
        }
        Ok(vec)
    }
}
