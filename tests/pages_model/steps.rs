//! What is done, at random.

use crate::any::How;
use folio::{Advice, Protection, page};
use proptest::prelude::*;
use std::ops::Range;

/// Bytes of a mapping: on page boundaries, one byte before or one behind; also beyond its end, or the wrong way round.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    pages: (usize, usize),
    nudges: (usize, usize),
}

impl Part {
    /// Seen from the first byte of the page that the mapping begins in the middle of, `hidden` bytes before it.
    pub fn bytes(self, hidden: usize) -> Range<usize> {
        let at = |page: usize, nudge: usize| {
            let at = (page * page::size() + nudge).saturating_sub(1);
            at.saturating_sub(hidden)
        };
        at(self.pages.0, self.nudges.0)..at(self.pages.1, self.nudges.1)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    Anonymous,
    /// A word to the system that changes nothing.
    Named,
    NoReserve,
    Transparent,
    Largest,
    Populated,
    Shared,
    Copied,
    Reserved,
}

#[derive(Clone, Copy, Debug)]
pub enum Where {
    Anywhere,
    Hint(usize),
    At(usize),
    Near(usize),
    /// Directly behind another mapping.
    Behind(usize),
    Aligned(u32),
}

#[derive(Clone, Debug)]
pub struct New {
    pub what: What,
    pub place: Where,
    pub pages: usize,
    pub before: usize,
    pub after: usize,
    pub room: usize,
    /// Of a file.
    pub offset: usize,
    /// And how many bytes it is shorter than whole pages.
    pub short: usize,
    pub grants: Protection,
    pub locked: bool,
}

#[derive(Clone, Debug)]
pub enum Step {
    New(New),
    Convert(usize, How),
    Write(usize, Part, u8),
    SplitOff(usize, usize, usize),
    SplitTo(usize, usize, usize),
    /// With the mapping that begins where it ends, if there is one.
    MergeNext(usize),
    Merge(usize, usize),
    Grow(usize, usize),
    Remap(usize, usize),
    Shrink(usize, usize),
    Decommit(usize, Part),
    FreeLazily(usize),
    Reuse(usize),
    Advise(usize, Part, Advice),
    KeepOut(usize, Part, bool),
    Prefault(usize, Part),
    PrefaultMut(usize, Part),
    Resident(usize, Part),
    Lock(usize),
    Unlock(usize),
    Hold(usize),
    Flush(usize, Part, bool),
    Rebuild(usize),
    IntoReserved(usize),
    Commit(usize),
    Drop(usize),
    Room(usize),
    RoomCommit(usize, Part, Protection),
    RoomDecommit(usize, Part),
    RoomProtect(usize, Part, Protection),
    RoomWrite(usize, Part, u8),
    Carve(usize, Part, Protection),
    TakeBack(usize, usize),
    RoomDrop(usize),
}

fn part() -> impl Strategy<Value = Part> {
    let nudge = || prop_oneof![6 => Just(1_usize), 1 => Just(0), 1 => Just(2)];
    ((0..7_usize, 0..7_usize), (nudge(), nudge())).prop_map(|((a, b), nudges)| {
        // Seldom the wrong way round.
        let pages = if (a + 3 * b) % 8 == 0 { (a, b) } else { (a.min(b), a.max(b) + usize::from(a == b)) };
        Part { pages, nudges }
    })
}

fn grants() -> impl Strategy<Value = Protection> {
    prop_oneof![
        1 => Just(Protection::NONE),
        2 => Just(Protection::READ),
        5 => Just(Protection::READ_WRITE),
        1 => Just(if cfg!(feature = "allow_exec") { Protection::READ_EXECUTE } else { Protection::READ }),
    ]
}

fn of_reservation() -> impl Strategy<Value = Protection> {
    prop_oneof![1 => Just(Protection::NONE), 1 => Just(Protection::READ), 3 => Just(Protection::READ_WRITE)]
}

fn how() -> impl Strategy<Value = How> {
    let basic = prop_oneof![
        1 => Just(How::MakeNone),
        1 => Just(How::MakeReadOnly),
        3 => Just(How::MakeMut),
        2 => Just(How::AllowRead),
        2 => Just(How::DenyRead),
        2 => Just(How::AllowWrite),
        2 => Just(How::DenyWrite),
        2 => Just(How::AllowWriteNoExec),
        3 => grants().prop_map(How::TryInto),
    ];
    #[cfg(feature = "allow_exec")]
    let basic = prop_oneof![
        8 => basic,
        1 => Just(How::MakeExec),
        1 => Just(How::AllowExec),
        1 => Just(How::DenyExec),
        1 => Just(How::SetProtectedExec),
    ];
    basic
}

fn advice() -> impl Strategy<Value = Advice> {
    prop::sample::select(vec![
        Advice::Normal,
        Advice::WillNeed,
        Advice::Sequential,
        Advice::Random,
        Advice::HugePages,
        Advice::NoHugePages,
        Advice::Cold,
        Advice::PageOut,
        Advice::Collapse,
        Advice::Mergeable,
        Advice::Unmergeable,
    ])
}

fn new() -> impl Strategy<Value = New> {
    let what = prop_oneof![
        6 => Just(What::Anonymous),
        1 => Just(What::Named),
        1 => Just(What::NoReserve),
        1 => Just(What::Transparent),
        1 => Just(What::Largest),
        1 => Just(What::Populated),
        3 => Just(What::Shared),
        3 => Just(What::Copied),
        2 => Just(What::Reserved),
    ];
    let any = 0..64_usize;
    let place = prop_oneof![
        2 => Just(Where::Anywhere),
        1 => any.clone().prop_map(Where::Hint),
        5 => any.clone().prop_map(Where::At),
        1 => any.clone().prop_map(Where::Near),
        2 => any.prop_map(Where::Behind),
        1 => (12..21_u32).prop_map(Where::Aligned),
    ];
    let few = || prop_oneof![3 => Just(0_usize), 1 => 1..3_usize];
    let sizes = (1..6_usize, few(), few(), prop_oneof![2 => Just(0_usize), 1 => 1..6_usize]);
    let bytes = (prop_oneof![Just(0_usize), 0..200_000_usize], prop_oneof![Just(0_usize), 0..5000_usize]);
    let locked = prop_oneof![9 => Just(false), 1 => Just(true)];
    (what, place, sizes, bytes, grants(), locked).prop_map(|(what, place, sizes, bytes, grants, locked)| {
        New {
            what,
            place,
            pages: sizes.0,
            before: sizes.1,
            after: sizes.2,
            room: sizes.3,
            offset: bytes.0,
            short: bytes.1,
            grants,
            locked,
        }
    })
}

/// So that there is something to do with.
pub fn begin() -> impl Strategy<Value = Step> {
    prop_oneof![4 => new().prop_map(Step::New), 1 => (0..64_usize).prop_map(Step::Room)]
}

pub fn step() -> impl Strategy<Value = Step> {
    let any = || 0..64_usize;
    let flag = || prop::bool::ANY;
    let count = || 0..12_usize;
    let nudge = || prop_oneof![5 => Just(0_usize), 1 => Just(1)];
    let value = || 1..=255_u8;
    let making = prop_oneof![
        8 => new().prop_map(Step::New),
        3 => any().prop_map(Step::Drop),
        2 => any().prop_map(Step::Room),
        1 => any().prop_map(Step::RoomDrop),
        6 => (any(), part(), of_reservation()).prop_map(|(room, part, grants)| Step::Carve(room, part, grants)),
        3 => (any(), any()).prop_map(|(room, which)| Step::TakeBack(room, which)),
        2 => (any(), part(), of_reservation()).prop_map(|(room, part, to)| Step::RoomCommit(room, part, to)),
        1 => (any(), part()).prop_map(|(room, part)| Step::RoomDecommit(room, part)),
        1 => (any(), part(), of_reservation()).prop_map(|(room, part, to)| Step::RoomProtect(room, part, to)),
        2 => (any(), part(), value()).prop_map(|(room, part, value)| Step::RoomWrite(room, part, value)),
    ];
    let changing = prop_oneof![
        8 => (any(), how()).prop_map(|(which, how)| Step::Convert(which, how)),
        5 => (any(), 1..6_usize, nudge()).prop_map(|(which, at, nudge)| Step::SplitOff(which, at, nudge)),
        3 => (any(), 1..6_usize, nudge()).prop_map(|(which, at, nudge)| Step::SplitTo(which, at, nudge)),
        10 => any().prop_map(Step::MergeNext),
        3 => (any(), any()).prop_map(|(low, high)| Step::Merge(low, high)),
        4 => (any(), count()).prop_map(|(which, pages)| Step::Grow(which, pages)),
        3 => (any(), count()).prop_map(|(which, pages)| Step::Remap(which, pages)),
        2 => (any(), count()).prop_map(|(which, pages)| Step::Shrink(which, pages)),
        1 => any().prop_map(Step::Rebuild),
        2 => any().prop_map(Step::IntoReserved),
        3 => any().prop_map(Step::Commit),
    ];
    let using = prop_oneof![
        8 => (any(), part(), value()).prop_map(|(which, part, value)| Step::Write(which, part, value)),
        3 => (any(), part()).prop_map(|(which, part)| Step::Decommit(which, part)),
        2 => any().prop_map(Step::FreeLazily),
        3 => any().prop_map(Step::Reuse),
        3 => (any(), part(), advice()).prop_map(|(which, part, advice)| Step::Advise(which, part, advice)),
        1 => (any(), part(), flag()).prop_map(|(which, part, out)| Step::KeepOut(which, part, out)),
        1 => (any(), part()).prop_map(|(which, part)| Step::Prefault(which, part)),
        1 => (any(), part()).prop_map(|(which, part)| Step::PrefaultMut(which, part)),
        2 => (any(), part()).prop_map(|(which, part)| Step::Resident(which, part)),
        2 => any().prop_map(Step::Lock),
        2 => any().prop_map(Step::Unlock),
        1 => any().prop_map(Step::Hold),
        2 => (any(), part(), flag()).prop_map(|(which, part, wait)| Step::Flush(which, part, wait)),
    ];
    prop_oneof![3 => making, 5 => changing, 4 => using]
}
