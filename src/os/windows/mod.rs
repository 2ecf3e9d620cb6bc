//! Windows: `VirtualQueryEx`, `GetMappedFileName`, `QueryWorkingSetEx`.

mod process;
mod sys;
mod system;
mod walk;

#[cfg(feature = "std")]
pub(crate) use process::os_str;
pub(crate) use process::{Target, process_id};
pub(crate) use system::{
    capabilities, granularity, huge_page_sizes, limits, page_size, transparent_page_sizes,
};
pub(crate) use walk::{Walk, backing, query, usage};

#[cfg(fuzzing)]
pub(crate) mod fuzz {}
