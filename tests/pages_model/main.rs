//! Random sequences of all that typed mappings can do, against a plain model and, after each step, the system's own view.
#![cfg(feature = "std")]
#![allow(unreachable_pub, reason = "the modules of one test binary")]
#![allow(clippy::result_large_err, reason = "what fails gives the mapping back, as in the library")]
#![allow(clippy::assertions_on_constants, reason = "what only some systems may answer")]

#[path = "../common/mod.rs"]
mod common;

mod act;
mod any;
mod make;
mod room;
mod steps;
mod system;
mod using;
mod world;

use common::{Helper, role, rounds};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use world::World;

/// In a process of its own, where nobody else maps, locks or unmaps anything meanwhile.
#[test]
fn random_sequences_agree_with_the_model_and_the_system() {
    const TEST: &str = "random_sequences_agree_with_the_model_and_the_system";
    if role().is_none() {
        return Helper::start(TEST, "alone").finish();
    }
    let files = world::Files::new();
    let run = |cases| {
        let config = ProptestConfig {
            cases,
            failure_persistence: None,
            max_shrink_iters: 2000,
            ..ProptestConfig::default()
        };
        let begin = proptest::collection::vec(steps::begin(), 3..6);
        let sequences = (begin, proptest::collection::vec(steps::step(), 10..100));
        let done = TestRunner::new(config).run(&sequences, |(begin, steps)| {
            let mut world = World::new(&files);
            for step in begin.into_iter().chain(steps) {
                world.act(step.clone());
                world.check(&step);
            }
            world.end();
            Ok(())
        });
        done.unwrap_or_else(|failed| panic!("{failed}"));
    };
    // Until the allocator, the test runner and folio have what they keep.
    run(rounds(20));
    let before = system::Held::now();
    run(rounds(60));
    before.compare(&system::Held::now());
}
