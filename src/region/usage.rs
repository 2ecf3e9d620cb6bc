//! What memory a region uses.

use core::ops::AddAssign;

/// What memory a region uses, in bytes, when it was asked: made by [`Process::usage`](crate::Process::usage) and
/// [`Process::mappings_with_usage`](crate::Process::mappings_with_usage).
///
/// A figure that the system does not give is `None`, never 0.
///
/// # Platforms
///
/// | figure | Linux, Android (`smaps`) | Windows (`QueryWorkingSetEx`) | Apple (`vm_region_submap_info_64`) | FreeBSD (`kern.proc.vmmap`) | illumos (`xmap`) |
/// |---|---|---|---|---|---|
/// | resident | `Rss` and hugetlb pages | valid pages | `pages_resident` | `kve_resident` | `pr_rss` |
/// | proportional | `Pss` | pages divided by `ShareCount`, which counts to 7 at most | – | – | – |
/// | shared/private clean/dirty, referenced, anonymous | yes | – | `pages_dirtied` as dirty | – | `pr_anon` as anonymous |
/// | private, shared | sums of the above | by the page's `Shared` bit | by `share_mode`; of copy-on-write memory, private is `pages_shared_now_private` | where nobody else refers to the object | – |
/// | swapped | `Swap` | – | `pages_swapped_out`: compressed or on disk | – | – |
/// | huge | `AnonHugePages`, `ShmemPmdMapped`, `FilePmdMapped`, hugetlb pages | pages marked `LargePage` | superpages | – | all of a region with larger pages |
/// | locked | `Locked` | pages marked `Locked` | resident pages of a region that `mlock` was called for | what is resident of a wired region | `pr_locked` |
///
/// NetBSD and OpenBSD do not tell.
///
/// # Examples
///
/// ```
/// let local = 1_u8;
/// let usage = folio::Process::current().usage(&raw const local as usize)?;
/// assert!(usage.resident() > 0 && usage.resident() <= usage.size());
/// # Ok::<(), folio::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Usage {
    pub(crate) size: u64,
    pub(crate) resident: u64,
    pub(crate) proportional: Option<u64>,
    pub(crate) shared: Option<u64>,
    pub(crate) private: Option<u64>,
    pub(crate) dirty: Option<u64>,
    pub(crate) referenced: Option<u64>,
    pub(crate) anonymous: Option<u64>,
    pub(crate) swapped: Option<u64>,
    pub(crate) huge: Option<u64>,
    pub(crate) locked: Option<u64>,
}

impl Usage {
    /// The size of the region: address space, not memory.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What is in memory now.
    pub fn resident(&self) -> u64 {
        self.resident
    }

    /// What is in memory, where a page that n processes use counts as 1/n.
    pub fn proportional(&self) -> Option<u64> {
        self.proportional
    }

    /// What is in memory and mapped by others, too.
    pub fn shared(&self) -> Option<u64> {
        self.shared
    }

    /// What is in memory and mapped by this process alone.
    pub fn private(&self) -> Option<u64> {
        self.private
    }

    /// What is in memory and was changed since it was last written to its file or to swap.
    pub fn dirty(&self) -> Option<u64> {
        self.dirty
    }

    /// What is in memory and was used lately.
    pub fn referenced(&self) -> Option<u64> {
        self.referenced
    }

    /// What is in memory and has no file behind it, changed private pages of a file included.
    pub fn anonymous(&self) -> Option<u64> {
        self.anonymous
    }

    /// What was moved out to swap.
    pub fn swapped(&self) -> Option<u64> {
        self.swapped
    }

    /// What is in memory in huge pages, those given automatically included.
    pub fn huge(&self) -> Option<u64> {
        self.huge
    }

    /// What is locked in memory.
    pub fn locked(&self) -> Option<u64> {
        self.locked
    }
}

/// Adds figure by figure, saturating; a figure that only one of the two has is kept.
impl AddAssign<&Self> for Usage {
    fn add_assign(&mut self, other: &Self) {
        fn both(sum: &mut Option<u64>, more: Option<u64>) {
            if let Some(more) = more {
                *sum = Some(sum.unwrap_or(0).saturating_add(more));
            }
        }
        self.size = self.size.saturating_add(other.size);
        self.resident = self.resident.saturating_add(other.resident);
        both(&mut self.proportional, other.proportional);
        both(&mut self.shared, other.shared);
        both(&mut self.private, other.private);
        both(&mut self.dirty, other.dirty);
        both(&mut self.referenced, other.referenced);
        both(&mut self.anonymous, other.anonymous);
        both(&mut self.swapped, other.swapped);
        both(&mut self.huge, other.huge);
        both(&mut self.locked, other.locked);
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.add_assign(&other);
    }
}

impl<'a> core::iter::Sum<&'a Usage> for Usage {
    fn sum<I: Iterator<Item = &'a Usage>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, one| {
            sum.add_assign(one);
            sum
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_saturate_and_keep_what_one_side_lacks() {
        let mut sum = Usage { size: u64::MAX, resident: 1, swapped: Some(u64::MAX), ..Usage::default() };
        sum += &Usage { size: 1, resident: 2, swapped: Some(5), locked: Some(3), ..Usage::default() };
        assert_eq!((sum.size(), sum.resident()), (u64::MAX, 3));
        assert_eq!((sum.swapped(), sum.locked(), sum.dirty()), (Some(u64::MAX), Some(3), None));
        assert_eq!([sum, Usage::default()].iter().sum::<Usage>(), sum);
    }
}
