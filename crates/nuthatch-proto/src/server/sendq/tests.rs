//! The queue against a plain list of bytes.

use proptest::prelude::*;

use super::*;

/// A value in pieces.
#[derive(Clone, Debug)]
struct Pieces(Vec<Vec<u8>>);

impl Pinned for Pieces {
    fn piece(&self, index: usize) -> Option<&[u8]> {
        self.0.get(index).map(|piece| &piece[..])
    }
}

/// Takes everything that can be sent, in steps of at most `n_slices` slices and `step` bytes.
fn drain(queue: &mut SendQueue<Pieces>, n_slices: usize, step: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let mut slices = vec![IoSlice::new(b""); n_slices];
        let n = queue.transmit(&mut slices);
        let bytes: Vec<u8> =
            slices[..n].iter().flat_map(|slice| slice.iter()).copied().take(step).collect();
        if bytes.is_empty() {
            return out;
        }
        let before = queue.len();
        assert_eq!(queue.sent(bytes.len()), 0);
        assert_eq!(queue.len(), before - bytes.len());
        out.extend(bytes);
    }
}

const fn saved() -> Saved {
    Saved { noreply: false, line: None, retrieval: None }
}

#[derive(Clone, Debug)]
enum Op {
    Bytes(Vec<u8>),
    Pin(Pieces),
    Gap,
    Send { n_slices: usize, step: usize },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
    let op = prop_oneof![
        4 => bytes().prop_map(Op::Bytes),
        3 => proptest::collection::vec(bytes(), 0..4).prop_map(|pieces| Op::Pin(Pieces(pieces))),
        2 => Just(Op::Gap),
        2 => (1usize..5, 1usize..60).prop_map(|(n_slices, step)| Op::Send { n_slices, step }),
    ];
    proptest::collection::vec(op, 0..40)
}

proptest! {
    /// Whatever is queued comes out once and in order, however it is cut, and gaps hold back what
    /// stands behind them until they are closed, in any order.
    #[test]
    fn everything_comes_out_once_and_in_order(ops in ops(), order: u64) {
        let mut queue = SendQueue::new();
        let (mut expected, mut out) = (Vec::new(), Vec::new());
        let mut gaps = Vec::new();
        for op in ops {
            match op {
                Op::Bytes(bytes) => {
                    queue.arena.extend_from_slice(&bytes);
                    expected.extend(bytes);
                }
                Op::Pin(pieces) => {
                    let bytes = pieces.0.concat();
                    if !bytes.is_empty() {
                        queue.push_pin(pieces, bytes.len());
                    }
                    expected.extend(bytes);
                }
                Op::Gap => {
                    let ticket = u32::try_from(gaps.len()).unwrap();
                    queue.push_gap(ticket, saved());
                    let answer = format!("<{ticket}>").into_bytes();
                    expected.extend(&answer);
                    gaps.push((ticket, answer));
                }
                Op::Send { n_slices, step } => out.extend(drain(&mut queue, n_slices, step)),
            }
            prop_assert!(expected.starts_with(&out));
        }
        prop_assert_eq!(queue.n_gaps(), gaps.len());
        out.extend(drain(&mut queue, 3, 7));
        let mut seed = order;
        while !gaps.is_empty() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (ticket, answer) =
                gaps.swap_remove(usize::try_from(seed >> 33).unwrap() % gaps.len());
            let mut late = SendQueue::new();
            late.arena.push(answer[0]);
            late.push_pin(Pieces(vec![answer[1..].to_vec()]), answer.len() - 1);
            queue.fill_gap(ticket, late);
            out.extend(drain(&mut queue, 3, 7));
        }
        prop_assert_eq!(out, expected);
        prop_assert_eq!(queue.len(), 0, "in bytes");
        prop_assert!(queue.is_empty() && !queue.is_ready());
    }

    #[test]
    fn what_is_rolled_back_was_never_there(before in ops(), after in ops()) {
        let fill = |queue: &mut SendQueue<Pieces>, ops: &[Op]| {
            for op in ops {
                match op {
                    Op::Bytes(bytes) => queue.arena.extend_from_slice(bytes),
                    Op::Pin(pieces) => queue.push_pin(pieces.clone(), pieces.0.concat().len()),
                    Op::Gap => queue.push_gap(0, saved()),
                    Op::Send { .. } => {}
                }
            }
        };
        let mut queue = SendQueue::new();
        fill(&mut queue, &before);
        let (len, n_gaps, mark) = (queue.len(), queue.n_gaps(), queue.mark());
        fill(&mut queue, &after);
        queue.rollback(mark);
        prop_assert_eq!((queue.len(), queue.n_gaps()), (len, n_gaps));
    }
}

#[test]
fn a_reader_that_never_catches_up_does_not_make_the_arena_grow() {
    let mut queue = SendQueue::<Pieces>::new();
    queue.arena.extend_from_slice(&[0; 100]);
    for _ in 0..1000 {
        queue.arena.extend_from_slice(&[0; 1000]);
        assert_eq!(queue.sent(1000), 0);
    }
    assert!(queue.arena.capacity() < 4 * SENT_BYTES_KEPT_MAX);
}
