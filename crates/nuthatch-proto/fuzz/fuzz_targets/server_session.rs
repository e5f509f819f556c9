//! Any bytes, cut in any way, are answered as in one piece, and nothing panics.
//!
//! The first sixteen bytes say how to cut, the rest is what the client sends.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/model.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod model;
#[path = "../../tests/it/rig.rs"]
#[allow(dead_code, reason = "shared with the tests, which use all of it")]
mod rig;

use model::Model;
use rig::{Cuts, run};

fuzz_target!(|data: &[u8]| {
    let Some((how, input)) = data.split_at_checked(16) else {
        return;
    };
    // Small cuts are the interesting ones; a byte above 200 is a large one.
    let size = |byte: &u8| match *byte {
        small @ ..200 => usize::from(small) + 1,
        large => usize::from(large - 199) * 300,
    };
    let cuts = Cuts {
        reads: how[..6].iter().map(size).collect(),
        writes: how[6..12].iter().map(size).collect(),
        n_slices: usize::from(how[12] % 8) + 1,
        budget: usize::from(how[13]),
        late_every: usize::from(how[14] % 8) + 1,
    };
    let (mut whole, mut cut) = (Model::default(), Model::default());
    let expected = run(&mut whole, input, &Cuts::none());
    let got = run(&mut cut, input, &cuts);
    assert_eq!(
        got.output.escape_ascii().to_string(),
        expected.output.escape_ascii().to_string()
    );
    assert_eq!(got.end, expected.end);
});
