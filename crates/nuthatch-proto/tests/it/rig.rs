//! Drives a session over a script of input, cut as a test wants it.

use std::io::IoSlice;

use nuthatch_proto::{Session, Want};

use crate::model::Model;

/// How the bytes are cut on their way in and out, and when late answers come.
#[derive(Clone, Debug)]
pub(crate) struct Cuts {
    /// The sizes of the reads, in turn, each at least 1.
    pub(crate) reads: Vec<usize>,
    /// The sizes of the writes, in turn, each at least 1.
    pub(crate) writes: Vec<usize>,
    /// How many slices a write takes.
    pub(crate) n_slices: usize,
    /// The budget of each call.
    pub(crate) budget: usize,
    /// After so many turns of the driver one late answer comes.
    pub(crate) late_every: usize,
}

impl Cuts {
    /// Everything in one piece.
    pub(crate) fn none() -> Self {
        Self {
            reads: vec![usize::MAX],
            writes: vec![usize::MAX],
            n_slices: 64,
            budget: 1000,
            late_every: 1,
        }
    }

    /// Every read and write of `n` bytes.
    pub(crate) fn every(n: usize) -> Self {
        Self { reads: vec![n], writes: vec![n], ..Self::none() }
    }
}

/// How a run ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Run {
    pub(crate) output: Vec<u8>,
    pub(crate) end: Want,
}

/// Feeds `input` to a fresh session before `model` and collects what comes out, until the input is
/// used up, the session closes, or it hands the connection over.
pub(crate) fn run(model: &mut Model, input: &[u8], cuts: &Cuts) -> Run {
    run_session(Session::new(), model, input, cuts)
}

/// As [`run`], with a session of the test's own.
pub(crate) fn run_session(
    mut session: Session<Model>,
    model: &mut Model,
    input: &[u8],
    cuts: &Cuts,
) -> Run {
    let (mut input, mut output) = (input, Vec::new());
    let mut reads = cuts.reads.iter().copied().cycle();
    let mut writes = cuts.writes.iter().copied().cycle();
    let mut turn = 0;
    loop {
        turn += 1;
        if turn % cuts.late_every == 0 && !model.owed.is_empty() {
            // Late answers come in another order than they were asked for.
            let (ticket, owed) = model.owed.swap_remove(turn % model.owed.len());
            assert!(session.complete(ticket, |reply| owed.answer(reply)));
            assert!(!session.complete(ticket, |_| panic!("a ticket is good once")));
        }
        match session.process(model, cuts.budget) {
            Want::Read
                if input.is_empty() && session.queued_bytes() == 0 && model.owed.is_empty() =>
            {
                return Run { output, end: Want::Read };
            }
            Want::Read => {
                let space = session.recv_space();
                assert!(!space.is_empty(), "there is room whenever more is wanted");
                let n = reads.next().unwrap().min(space.len()).min(input.len());
                space[..n].copy_from_slice(&input[..n]);
                session.received(n);
                input = &input[n..];
            }
            Want::Write => {
                let mut slices = vec![IoSlice::new(b""); cuts.n_slices];
                let n = session.transmit(&mut slices);
                assert!(n > 0, "there is something to write whenever a write is wanted");
                let ready = slices[..n].iter().flat_map(|slice| slice.iter()).copied();
                let before = output.len();
                output.extend(ready.take(writes.next().unwrap()));
                let n = output.len() - before;
                session.sent(n);
            }
            Want::Yield => {}
            Want::Wait => assert!(!model.owed.is_empty(), "someone owes an answer"),
            end @ (Want::Stream | Want::Close) => return Run { output, end },
        }
    }
}

/// Feeds `input` to a fresh session and a fresh model, in one piece, and shows the answer.
pub(crate) fn answer(input: impl AsRef<[u8]>) -> String {
    let run = run(&mut Model::default(), input.as_ref(), &Cuts::none());
    let end = match run.end {
        Want::Read => "",
        Want::Close => "(close)",
        _ => "(stream)",
    };
    String::from_utf8(run.output).unwrap() + end
}
