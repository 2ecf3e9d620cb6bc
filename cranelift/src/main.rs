//! Times of the providers beside each other: the same functions, compiled, finalized and called.

use folio_cranelift::{Jit, Provider, mixed};
use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// So much address space each module has for its code.
const CAPACITY: usize = 64 << 20;

/// What is done with functions as they are compiled.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// All of a module are finalized at once.
    Together,
    /// Each is finalized and called before the next is compiled, as where functions are compiled when they are first called.
    OneByOne,
}

/// How long it takes to compile, finalize, call and free `count` functions; and how much of that is not compiling.
fn run(provider: Provider, way: Way, count: u64) -> Result<[Duration; 2], Box<dyn Error>> {
    let begin = Instant::now();
    let mut jit = Jit::new(provider.make(CAPACITY)?)?;
    let mut ids = Vec::new();
    let mut compiling = Duration::ZERO;
    for number in 0..count {
        let compiled = Instant::now();
        let id = jit.mix(number)?;
        compiling += compiled.elapsed();
        match way {
            Way::Together => ids.push((number, id)),
            Way::OneByOne => {
                jit.finalize()?;
                check(&jit, number, id)?;
            }
        }
    }
    if let Way::Together = way {
        jit.finalize()?;
        for (number, id) in ids {
            check(&jit, number, id)?;
        }
    }
    // SAFETY: nothing of it is called any more.
    unsafe { jit.free() };
    let all = begin.elapsed();
    Ok([all, all.saturating_sub(compiling)])
}

/// Calls a function of this module, and looks whether it gives what it ought to.
fn check(jit: &Jit, number: u64, id: cranelift_module::FuncId) -> Result<(), Box<dyn Error>> {
    // SAFETY: made by this value.
    let function = unsafe { jit.mixing(id) };
    let value = black_box(0x1234_5678);
    let (given, expected) = (function(value), mixed(number, value));
    if given != expected {
        return Err(format!("function {number} gives {given:#x}, not {expected:#x}").into());
    }
    Ok(())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() -> Result<(), Box<dyn Error>> {
    // `--short`: that it runs, no more.
    let (count, rounds) =
        if std::env::args().any(|argument| argument == "--short") { (20, 1) } else { (1000, 15) };
    println!("{count} functions, compiled, finalized, called and freed; medians of {rounds} rounds");
    println!(
        "{:<12} {:<8} {:>12} {:>8} {:>16} {:>8}",
        "finalized", "provider", "ns/function", "ratio", "but compiling", "ratio"
    );
    for way in [Way::Together, Way::OneByOne] {
        // A round of each in turn, so that what the machine does meanwhile falls on all alike.
        let mut times = vec![Vec::new(); Provider::ALL.len()];
        for _ in 0..rounds {
            for (times, provider) in times.iter_mut().zip(Provider::ALL) {
                let nanoseconds =
                    run(provider, way, count)?.map(|time| time.as_nanos() as f64 / count as f64);
                times.push(nanoseconds);
            }
        }
        // By what `cranelift-jit` takes by itself, in the same round.
        let limit = times[1].clone();
        for (times, provider) in times.into_iter().zip(Provider::ALL) {
            let [all, rest] = [0, 1].map(|what| median(times.iter().map(|time| time[what]).collect()));
            let [all_ratio, rest_ratio] = [0, 1].map(|what| {
                median(times.iter().zip(&limit).map(|(time, limit)| time[what] / limit[what]).collect())
            });
            println!(
                "{:<12} {:<8} {all:>12.0} {all_ratio:>8.2} {rest:>16.0} {rest_ratio:>8.2}",
                format!("{way:?}"),
                format!("{provider:?}"),
            );
        }
    }
    Ok(())
}
