//! Attempts that only say what became of them, before the queue itself and before threads.

use std::net::Ipv4Addr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::super::failures::WAIT_MAX;
use super::*;

/// What happened to an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Heard {
    Checked(u32),
    Refused(u32),
    Dropped(u32),
}

struct Try {
    number: u32,
    is_wanted: bool,
    tried: Tried,
    heard: Sender<Heard>,
    is_over: bool,
}

impl Attempt for Try {
    fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    fn check(mut self: Box<Self>, _: SystemTime) -> Tried {
        self.is_over = true;
        self.heard.send(Heard::Checked(self.number)).unwrap();
        assert!(self.number != u32::MAX, "this one panics, as a bug in a check would");
        self.tried
    }

    fn refuse(mut self: Box<Self>) {
        self.is_over = true;
        self.heard.send(Heard::Refused(self.number)).unwrap();
    }
}

impl Drop for Try {
    fn drop(&mut self) {
        if !self.is_over {
            // Whoever listened may be gone at the end of a test.
            let _ = self.heard.send(Heard::Dropped(self.number));
        }
    }
}

fn origin(n: u32) -> Origin {
    Origin::V4(Ipv4Addr::from_bits(n))
}

struct Rig {
    state: State,
    heard: Receiver<Heard>,
    sender: Sender<Heard>,
    now: Instant,
}

impl Rig {
    fn new() -> Self {
        let (sender, heard) = channel();
        Self { state: State::default(), heard, sender, now: now() }
    }

    fn attempt(&self, number: u32, tried: Tried) -> Try {
        let heard = self.sender.clone();
        Try { number, is_wanted: true, tried, heard, is_over: false }
    }

    fn push(&mut self, from: u32, n_failures: u32, attempt: Try) {
        let attempt = Box::new(attempt);
        self.state.ready.push(Waiting {
            origin: origin(from),
            n_failures,
            has_waited: false,
            attempt,
        });
    }

    /// Does all that can be done now, as a thread would.
    fn run(&mut self) -> Vec<Heard> {
        loop {
            match self.state.next(self.now) {
                Next::Check(waiting) => {
                    if check(waiting.attempt) == Tried::Wrong {
                        self.state.failures.note(waiting.origin, self.now);
                    }
                }
                Next::Refuse(attempt) => attempt.refuse(),
                Next::Drop(attempt) => drop(attempt),
                Next::Wait(_) | Next::End => return self.heard.try_iter().collect(),
            }
        }
    }
}

#[test]
fn addresses_take_turns() {
    let mut rig = Rig::new();
    for number in 0..5 {
        rig.push(1, 0, rig.attempt(number, Tried::Unknown));
    }
    rig.push(2, 0, rig.attempt(100, Tried::Unknown));
    rig.push(3, 0, rig.attempt(200, Tried::Unknown));
    rig.push(2, 0, rig.attempt(101, Tried::Unknown));
    let order = [0, 100, 200, 1, 101, 2, 3, 4].map(Heard::Checked);
    assert_eq!(rig.run(), order);
    assert_eq!((rig.state.ready.len, rig.state.ready.by_origin.len()), (0, 0));
}

#[test]
fn who_has_failed_waits_and_others_do_not() {
    let mut rig = Rig::new();
    // More at a time than may fail for nothing.
    for number in 0..100 {
        rig.push(1, 0, rig.attempt(number, Tried::Wrong));
    }
    let heard = rig.run();
    let n_checked = heard.iter().filter(|heard| matches!(heard, Heard::Checked(_))).count();
    let n_refused = heard.iter().filter(|heard| matches!(heard, Heard::Refused(_))).count();
    let n_held = rig.state.held.len();
    assert_eq!(n_held, usize::try_from(HELD_MAX).unwrap());
    assert_eq!((n_checked, n_checked + n_refused + n_held), (21, 100));
    rig.push(2, 0, rig.attempt(1000, Tried::Unknown));
    assert_eq!(rig.run(), [Heard::Checked(1000)]);
    rig.now += WAIT_MAX;
    assert_eq!(rig.run().len(), n_held);
    assert!(rig.state.held.is_empty() && rig.state.n_held_of.is_empty());
    // On one connection too.
    rig.push(3, 4, rig.attempt(7, Tried::Unknown));
    assert_eq!(rig.run(), []);
    rig.now += Duration::from_millis(199);
    assert_eq!(rig.run(), []);
    rig.now += Duration::from_millis(1);
    assert_eq!(rig.run(), [Heard::Checked(7)]);
}

#[test]
fn whose_time_has_come_takes_its_turn() {
    let mut rig = Rig::new();
    for number in 0..4 {
        rig.push(1, 9, rig.attempt(number, Tried::Wrong));
    }
    assert_eq!(rig.run(), []);
    rig.now += WAIT_MAX;
    rig.push(2, 0, rig.attempt(100, Tried::Unknown));
    rig.push(3, 0, rig.attempt(200, Tried::Unknown));
    let order = [100, 200, 0, 1, 2, 3].map(Heard::Checked);
    assert_eq!(rig.run(), order, "the failures of one address hold up no other");
    assert_eq!((rig.state.n_held, rig.state.n_held_of.len()), (0, 0));
}

#[test]
fn what_nobody_waits_for_is_not_checked() {
    let mut rig = Rig::new();
    let mut unwanted = rig.attempt(1, Tried::Wrong);
    unwanted.is_wanted = false;
    rig.push(1, 0, unwanted);
    rig.push(1, 0, rig.attempt(2, Tried::Unknown));
    assert_eq!(rig.run(), [Heard::Dropped(1), Heard::Checked(2)]);
}

#[test]
fn threads_check_and_survive_a_panic() {
    let rig = Rig::new();
    let pool = Pool::new();
    let next = || rig.heard.recv_timeout(Duration::from_secs(60)).unwrap();
    pool.try_later(origin(1), 0, rig.attempt(u32::MAX, Tried::Unknown));
    assert_eq!(next(), Heard::Checked(u32::MAX));
    pool.try_later(origin(1), 0, rig.attempt(2, Tried::Unknown));
    assert_eq!(next(), Heard::Checked(2));
    // Its time comes by itself.
    pool.try_later(origin(1), 3, rig.attempt(3, Tried::Unknown));
    assert_eq!(next(), Heard::Checked(3));
}

#[test]
fn only_so_many_wait() {
    let rig = Rig::new();
    let pool = Pool::new();
    {
        let mut state = pool.inner.state.lock();
        // As if a thread were there, and busy.
        state.n_threads = pool.threads_max;
    }
    let max = u32::try_from(WAITING_MAX).unwrap();
    for number in 0..=max {
        pool.try_later(origin(1), 0, rig.attempt(number, Tried::Unknown));
    }
    assert_eq!(rig.heard.try_iter().collect::<Vec<_>>(), [Heard::Refused(max)]);
    // Another one takes the place of the last of those who have many.
    pool.try_later(origin(2), 0, rig.attempt(9999, Tried::Unknown));
    assert_eq!(rig.heard.try_iter().collect::<Vec<_>>(), [Heard::Refused(max - 1)]);
    let mut state = pool.inner.state.lock();
    let next = [state.ready.pop(), state.ready.pop()].map(|one| one.unwrap().origin);
    assert_eq!((next, state.ready.len), ([origin(1), origin(2)], WAITING_MAX - 2));
}

#[test]
fn who_is_held_takes_no_place_from_others() {
    let mut rig = Rig::new();
    // Each from an address of its own, on connections that have failed.
    let many = u32::try_from(HELD_MAX_IN_ALL).unwrap();
    for number in 0..many + 5 {
        rig.push(number, 9, rig.attempt(number, Tried::Unknown));
    }
    assert_eq!(rig.run(), (many..many + 5).map(Heard::Refused).collect::<Vec<_>>());
    rig.push(many, 0, rig.attempt(9999, Tried::Unknown));
    assert_eq!(rig.run(), [Heard::Checked(9999)]);
    rig.now += WAIT_MAX;
    assert_eq!(rig.run().len(), HELD_MAX_IN_ALL);
    assert!(rig.state.n_held_of.is_empty(), "nothing is left of them");
}
