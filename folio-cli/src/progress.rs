//! A bar for those who wait.

use crate::args::Pid;
use crate::collect;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(100);

/// Shows on standard error how far the reading is, once it has taken a second; goes away when dropped.
///
/// It has a thread of its own, because the system may take long over a single mapping, and does nothing where standard
/// error is no terminal.
pub(crate) struct Progress {
    done: Arc<AtomicU64>,
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    pub(crate) fn start(pid: Pid) -> Self {
        let done = Arc::new(AtomicU64::new(0));
        // Folio itself is never large, and a thread would add mappings to those that are listed.
        if pid == Pid::Current || !std::io::stderr().is_terminal() {
            return Self { done, thread: None };
        }
        let (stop, stopped) = mpsc::channel::<()>();
        let seen = Arc::clone(&done);
        let show = move || {
            if stopped.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let bar = bar(pid);
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                bar.set_position(seen.load(Ordering::Relaxed));
                bar.tick();
            }
            bar.finish_and_clear();
        };
        // Without a thread there is no bar, and the work is done all the same.
        let thread = thread::Builder::new().name("progress".to_owned()).spawn(show).ok();
        Self { done, thread: thread.map(|thread| (stop, thread)) }
    }

    pub(crate) fn step(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            let _ended = thread.join();
        }
    }
}

/// Counting the regions is quick: it is looking at their pages that takes time.
fn bar(pid: Pid) -> ProgressBar {
    let count = || -> Option<u64> {
        let regions = collect::open(pid).ok()?.regions().ok()?;
        u64::try_from(regions.take_while(Result::is_ok).count()).ok()
    };
    let (bar, template) = match count() {
        Some(total) => (ProgressBar::new(total), "{spinner} {pos} of {len} mappings [{bar:30}] {elapsed}"),
        None => (ProgressBar::no_length(), "{spinner} {pos} mappings {elapsed}"),
    };
    let bar = bar.with_elapsed(PATIENCE);
    bar.set_draw_target(ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
