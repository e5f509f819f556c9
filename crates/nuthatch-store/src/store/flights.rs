//! Flights: computations under way, one a key, and those who wait for them.
//!
//! ```text
//!           join, first                     land
//!  (none) ──────────────► Computing ──────────────────► Landed: those who waited share it
//!     ▲                    │     ▲
//!     │ nobody waits       │     │ one of those who waited takes over
//!     └────────────────────┤     │
//!       leader dropped     ▼     │
//!                         Vacant ┘
//! ```
//!
//! Whoever joins first leads: it computes, and lands what it has. Who comes while it does, waits.
//! A leader that is dropped without landing (an error, a panic, a cancelled future) leaves its
//! place vacant, and all who wait are woken; the first to look takes over, the others wait on.
//! All are woken, not one: the one might be a future that nobody polls any more.
//!
//! A flight is in the table from its first join to its landing, or until nobody is left; so there
//! are never more of them than callers. Waiting is a future; threads wait by parking. No lock is
//! held while anybody computes or a waker runs. Lock order: table, then flight.
//!
//! This module knows no items: it is generic over what lands, and loom checks these very lines.

use std::collections::BTreeMap;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use hashbrown::HashTable;
use nuthatch_types::{Key, KeyBuf};
use sync::{Mutex, Thread, ThreadId, current_thread, park};

#[cfg(not(all(test, loom)))]
mod sync {
    pub(super) use std::thread::{Thread, ThreadId, current as current_thread, park};

    pub(super) use parking_lot::Mutex;
}

/// Tables with a lock each: misses of different keys meet there for moments only.
const SHARDS: usize = 16;

/// The computations that are under way.
#[derive(Debug)]
pub(crate) struct Flights<T> {
    shards: [Mutex<HashTable<Arc<Flight<T>>>>; SHARDS],
    hasher: RandomState,
}

#[derive(Debug)]
struct Flight<T> {
    key: KeyBuf,
    hash: u64,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    phase: Phase<T>,
    next_number: u64,
    /// Those who wait, by number; none once the flight has landed.
    waiters: BTreeMap<u64, Option<Waker>>,
}

#[derive(Debug)]
enum Phase<T> {
    /// Somebody computes: this thread, or a task.
    Computing(Option<ThreadId>),
    /// Nobody does, and somebody waits who will.
    Vacant,
    Landed(T),
}

/// A place in a flight.
#[derive(Debug)]
pub(crate) enum Seat<'a, T> {
    Leader(Leader<'a, T>),
    Waiter(Waiter<'a, T>),
}

/// The one who computes; dropped before it lands, it makes way for another.
#[derive(Debug)]
pub(crate) struct Leader<'a, T> {
    flights: &'a Flights<T>,
    flight: Option<Arc<Flight<T>>>,
}

/// One who waits: a future of what lands, or of the right to compute it.
#[derive(Debug)]
pub(crate) struct Waiter<'a, T> {
    flights: &'a Flights<T>,
    flight: Arc<Flight<T>>,
    number: u64,
    /// The thread that waits; none for a task.
    thread: Option<ThreadId>,
}

/// What waiting comes to.
#[derive(Debug)]
pub(crate) enum Waited<'a, T> {
    Landed(T),
    TakenOver(Leader<'a, T>),
}

impl<T: Clone> Flights<T> {
    pub(crate) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }

    /// Joins the flight of a key as one who waits, or begins it as the one who leads.
    pub(crate) fn join(&self, key: Key<'_>, caller: Caller) -> Seat<'_, T> {
        let thread = caller.thread();
        let hash = self.hasher.hash_one(key.as_bytes());
        let mut table = self.shard(hash).lock();
        let found = table.find(hash, |flight| flight.key.as_key() == key);
        if let Some(flight) = found.cloned() {
            let mut state = flight.state.lock();
            if let (Phase::Computing(Some(leader)), Some(thread)) = (&state.phase, thread) {
                assert_ne!(*leader, thread, "a computation waits for itself: {key}");
            }
            let number = state.next_number;
            state.next_number += 1;
            state.waiters.insert(number, None);
            drop(state);
            return Seat::Waiter(Waiter { flights: self, flight, number, thread });
        }
        let phase = Phase::Computing(thread);
        let state = State { phase, next_number: 0, waiters: BTreeMap::new() };
        let flight = Arc::new(Flight { key: key.to_buf(), hash, state: Mutex::new(state) });
        table.insert_unique(hash, Arc::clone(&flight), |flight| flight.hash);
        Seat::Leader(Leader { flights: self, flight: Some(flight) })
    }

    /// How many computations are under way.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

impl<T> Flights<T> {
    fn shard(&self, hash: u64) -> &Mutex<HashTable<Arc<Flight<T>>>> {
        // The table itself takes its bits from the two ends.
        &self.shards[(hash >> 32) as usize % SHARDS]
    }

    /// Takes a flight out of its table, which the caller has locked.
    fn remove(table: &mut HashTable<Arc<Flight<T>>>, flight: &Arc<Flight<T>>) {
        let entry = table.find_entry(flight.hash, |other| Arc::ptr_eq(other, flight));
        entry.ok().expect("a flight is in the table until it lands or nobody is left").remove();
    }
}

/// Who joins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Caller {
    /// A thread, which blocks.
    Thread,
    /// A future, of which one thread may poll many.
    Task,
}

impl Caller {
    fn thread(self) -> Option<ThreadId> {
        (self == Self::Thread).then(|| current_thread().id())
    }
}

impl<T> Leader<'_, T> {
    /// Ends the flight. If anybody waits, `share` makes of the result what they get.
    pub(crate) fn land<R>(mut self, result: R, share: impl FnOnce(R) -> (R, T)) -> R {
        let flight = self.flight.take().expect("a leader lands once");
        let mut table = self.flights.shard(flight.hash).lock();
        Flights::remove(&mut table, &flight);
        drop(table);
        // From here on nobody joins any more.
        let mut state = flight.state.lock();
        if state.waiters.is_empty() {
            return result;
        }
        let (result, shared) = share(result);
        state.phase = Phase::Landed(shared);
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        wake(waiters.into_values());
        result
    }
}

impl<T> Drop for Leader<'_, T> {
    fn drop(&mut self) {
        let Some(flight) = self.flight.take() else { return };
        let mut table = self.flights.shard(flight.hash).lock();
        let mut state = flight.state.lock();
        if state.waiters.is_empty() {
            Flights::remove(&mut table, &flight);
            return;
        }
        state.phase = Phase::Vacant;
        let wakers: Vec<_> = state.waiters.values_mut().map(Option::take).collect();
        drop(state);
        drop(table);
        wake(wakers);
    }
}

fn wake(wakers: impl IntoIterator<Item = Option<Waker>>) {
    wakers.into_iter().flatten().for_each(Waker::wake);
}

impl<'a, T: Clone> Future for Waiter<'a, T> {
    type Output = Waited<'a, T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Waited<'a, T>> {
        // Made before the lock is taken: a waker is anybody's code.
        let waker = context.waker().clone();
        let mut state = self.flight.state.lock();
        match &state.phase {
            Phase::Landed(value) => Poll::Ready(Waited::Landed(value.clone())),
            Phase::Vacant => {
                state.phase = Phase::Computing(self.thread);
                state.waiters.remove(&self.number);
                let flight = Some(Arc::clone(&self.flight));
                Poll::Ready(Waited::TakenOver(Leader { flights: self.flights, flight }))
            }
            Phase::Computing(_) => {
                let before = state.waiters.insert(self.number, Some(waker));
                drop(state);
                drop(before);
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for Waiter<'_, T> {
    fn drop(&mut self) {
        let mut table = self.flights.shard(self.flight.hash).lock();
        let mut state = self.flight.state.lock();
        // Not there any more if it took over or was landed for.
        let Some(waker) = state.waiters.remove(&self.number) else { return };
        if matches!(state.phase, Phase::Vacant) && state.waiters.is_empty() {
            Flights::remove(&mut table, &self.flight);
        }
        drop(state);
        drop(table);
        drop(waker);
    }
}

/// Waits for a future by parking the thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Parked(Thread);

    impl Wake for Parked {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Parked(current_thread())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            // Others may unpark this thread too; then it looks and parks again.
            Poll::Pending => park(),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn key() -> Key<'static> {
        Key::new("key").unwrap()
    }

    fn lead(flights: &Flights<u32>) -> Leader<'_, u32> {
        match flights.join(key(), Caller::Task) {
            Seat::Leader(leader) => leader,
            Seat::Waiter(_) => panic!("nobody else is there"),
        }
    }

    fn wait(flights: &Flights<u32>) -> Waiter<'_, u32> {
        match flights.join(key(), Caller::Task) {
            Seat::Waiter(waiter) => waiter,
            Seat::Leader(_) => panic!("somebody leads"),
        }
    }

    fn poll<'a>(waiter: &mut Waiter<'a, u32>) -> Poll<Waited<'a, u32>> {
        Pin::new(waiter).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn what_lands_is_shared_with_those_who_wait() {
        let flights = Flights::new();
        let leader = lead(&flights);
        let mut waiters = [wait(&flights), wait(&flights)];
        assert!(poll(&mut waiters[0]).is_pending());
        assert_eq!(leader.land(7, |n| (n, n + 1)), 7);
        assert_eq!(flights.len(), 0);
        for waiter in &mut waiters {
            assert!(matches!(poll(waiter), Poll::Ready(Waited::Landed(8))));
        }
        assert_eq!(lead(&flights).land(9, |_| panic!("nobody waits")), 9);
    }

    #[test]
    fn the_first_to_look_takes_over_and_the_others_wait_on() {
        let flights = Flights::new();
        let leader = lead(&flights);
        let mut waiters = [wait(&flights), wait(&flights)];
        assert!(waiters.iter_mut().all(|waiter| poll(waiter).is_pending()));
        drop(leader);
        let Poll::Ready(Waited::TakenOver(leader)) = poll(&mut waiters[1]) else {
            panic!("the place was vacant")
        };
        assert!(poll(&mut waiters[0]).is_pending());
        let mut late = wait(&flights);
        leader.land((), |()| ((), 5));
        assert!(matches!(poll(&mut waiters[0]), Poll::Ready(Waited::Landed(5))));
        assert!(matches!(poll(&mut late), Poll::Ready(Waited::Landed(5))));
    }

    #[test]
    fn a_flight_goes_with_the_last_of_its_people() {
        let flights = Flights::new();
        drop(lead(&flights));
        assert_eq!(flights.len(), 0);

        let leader = lead(&flights);
        let (mut polled, unpolled) = (wait(&flights), wait(&flights));
        assert!(poll(&mut polled).is_pending());
        drop(leader);
        assert_eq!(flights.len(), 1);
        drop(polled);
        drop(unpolled);
        assert_eq!(flights.len(), 0);

        let leader = lead(&flights);
        drop(wait(&flights));
        assert_eq!(flights.len(), 1, "the leader is still there");
        drop(leader);
        assert_eq!(flights.len(), 0);
    }

    #[test]
    #[should_panic(expected = "a computation waits for itself: key")]
    fn a_thread_that_would_wait_for_itself_is_told() {
        let flights = Flights::<u32>::new();
        let _leader = flights.join(key(), Caller::Thread);
        let _ = flights.join(key(), Caller::Thread);
    }
}

/// Every interleaving of a few callers of one key.
#[cfg(all(test, loom))]
mod sync {
    pub(super) use loom::thread::{Thread, ThreadId, current as current_thread, park};

    /// loom's mutex with the face of parking_lot's.
    #[derive(Debug)]
    pub(super) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(super) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(super) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }

    impl<T: Default> Default for Mutex<T> {
        fn default() -> Self {
            Self::new(T::default())
        }
    }
}

#[cfg(all(test, loom))]
mod interleavings {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use loom::thread;

    use super::*;

    /// What a caller does when it is its turn to compute.
    #[derive(Clone, Copy)]
    enum Does {
        Lands,
        Fails,
    }

    /// A caller that waits to the end: no wake-up may be lost, or loom finds the deadlock.
    fn call(flights: &Flights<u32>, does: Does, landings: &AtomicU32) -> Option<u32> {
        let key = Key::new("key").unwrap();
        let leader = match flights.join(key, Caller::Thread) {
            Seat::Leader(leader) => leader,
            Seat::Waiter(waiter) => match block_on(waiter) {
                Waited::Landed(value) => return Some(value),
                Waited::TakenOver(leader) => leader,
            },
        };
        match does {
            Does::Fails => None,
            Does::Lands => {
                let n = landings.fetch_add(1, Relaxed);
                Some(leader.land(n, |n| (n, n)))
            }
        }
    }

    /// A caller that looks once and goes away.
    fn look(flights: &Flights<u32>) {
        let key = Key::new("key").unwrap();
        if let Seat::Waiter(mut waiter) = flights.join(key, Caller::Task) {
            let _ = Pin::new(&mut waiter).poll(&mut Context::from_waker(Waker::noop()));
        }
    }

    fn model(others: [Does; 2], looks: bool) {
        loom::model(move || {
            let flights = Arc::new(Flights::new());
            let landings = Arc::new(AtomicU32::new(0));
            let threads = others.map(|does| {
                let (flights, landings) = (Arc::clone(&flights), Arc::clone(&landings));
                thread::spawn(move || call(&flights, does, &landings))
            });
            if looks {
                look(&flights);
            } else {
                assert!(call(&flights, Does::Lands, &landings).is_some());
            }
            threads.into_iter().for_each(|thread| _ = thread.join().unwrap());
            assert_eq!(flights.len(), 0);
        });
    }

    #[test]
    fn all_who_wait_get_what_lands() {
        model([Does::Lands, Does::Lands], false);
    }

    #[test]
    fn one_takes_over_from_one_who_fails() {
        model([Does::Fails, Does::Lands], false);
    }

    #[test]
    fn all_may_fail_and_one_go_away() {
        model([Does::Fails, Does::Fails], true);
        model([Does::Fails, Does::Lands], true);
    }
}
