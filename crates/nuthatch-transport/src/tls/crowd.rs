//! Handshakes under way: how many, and how long a client may take over one.
//!
//! ```text
//!  connected ──silent──► sends ──a place──► hello … finished ──► served
//!            its turn           ours         its turn
//! ```
//!
//! A client has its time for what it keeps the server waiting: until it sends something, and until
//! it has finished. What it waits for the server (for a place, while hundreds of others come at the
//! same moment) is not counted, so that a whole fleet that comes back at once is let in, one after
//! the other. Where more than half of the places are taken the time is short, for those that wait
//! already too: whoever opens connections and leaves them there cannot keep others out by it. Nor
//! can whoever begins handshakes without number from one address, which has a quarter of the places
//! at most; its others wait until some of these are over, and hold up nobody else.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    time::{Instant, sleep},
};

use crate::Origin;

/// How many handshakes may be under way at a time, where it is not said. One takes some 20 KiB
/// until it is over.
pub(super) const PLACES_DEFAULT: usize = 1024;

/// How long a client may keep the server waiting for its handshake, where nothing else is said.
pub(super) const TIME_DEFAULT: Duration = Duration::from_secs(10);

/// How long it may when more than half of the places are taken. A lost packet is sent again after a
/// second, which an honest client should survive.
const TIME_CROWDED: Duration = Duration::from_secs(2);

/// Which part of the places one address may take: a whole rack behind one gateway is served all the
/// same, since a handshake whose client is not idle is over within a millisecond of work.
const ADDRESS_SHARE: usize = 4;

/// How often somebody who waits looks whether it has become crowded.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The handshakes of a server.
#[derive(Debug)]
pub(super) struct Crowd {
    places: usize,
    /// Those that have begun, with a place or silent.
    n_open: AtomicUsize,
    free: Semaphore,
    /// What each address from which somebody has come may take, and how many have: no more
    /// addresses than connections.
    origins: Mutex<HashMap<Origin, (Arc<Semaphore>, usize)>>,
}

impl Crowd {
    pub(super) fn new(places: usize) -> Self {
        let places = places.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            places,
            n_open: AtomicUsize::new(0),
            free: Semaphore::new(places),
            origins: Mutex::default(),
        }
    }

    /// Takes note of a client that has connected.
    pub(super) fn enter(&self, origin: Origin, time: Duration) -> Newcomer<'_> {
        self.n_open.fetch_add(1, Relaxed);
        let mut origins = self.origins.lock();
        let share = || (Arc::new(Semaphore::new(self.places.div_ceil(ADDRESS_SHARE))), 0);
        let (share, n) = origins.entry(origin).or_insert_with(share);
        *n += 1;
        Newcomer { crowd: self, origin, share: Arc::clone(share), time, spent: Duration::ZERO }
    }

    /// How many clients have not finished, silent ones among them.
    pub(super) fn len(&self) -> usize {
        self.n_open.load(Relaxed)
    }

    fn is_crowded(&self) -> bool {
        self.len() > self.places / 2
    }
}

/// A client that has not finished; counts until it is dropped.
#[derive(Debug)]
pub(super) struct Newcomer<'a> {
    crowd: &'a Crowd,
    origin: Origin,
    share: Arc<Semaphore>,
    time: Duration,
    /// How long it has kept the server waiting.
    spent: Duration,
}

impl<'a> Newcomer<'a> {
    /// Waits for something that the client has to do, as long as it has time.
    pub(super) async fn turn<T>(
        &mut self,
        work: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        let begun = Instant::now();
        let mut work = pin!(work);
        loop {
            let left = self.time().saturating_sub(self.spent + begun.elapsed());
            tokio::select! {
                // What has arrived counts, however late the server comes to look at it.
                biased;
                done = &mut work => {
                    self.spent += begun.elapsed();
                    return done;
                }
                () = sleep(left.min(LOOK_EVERY)) => {}
            }
            if left.is_zero() {
                self.spent += begun.elapsed();
                let message = "the handshake took too long";
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
        }
    }

    /// Waits for a place; that takes nothing of the client's time.
    pub(super) async fn place(&self) -> Option<Place<'a>> {
        // Neither is ever closed, so there always is one in the end.
        let of_address = Arc::clone(&self.share).acquire_owned().await.ok()?;
        Some(Place { _of_address: of_address, _of_all: self.crowd.free.acquire().await.ok()? })
    }

    fn time(&self) -> Duration {
        if self.crowd.is_crowded() { self.time.min(TIME_CROWDED) } else { self.time }
    }
}

impl Drop for Newcomer<'_> {
    fn drop(&mut self) {
        self.crowd.n_open.fetch_sub(1, Relaxed);
        if let Entry::Occupied(mut entry) = self.crowd.origins.lock().entry(self.origin) {
            let (_, n) = entry.get_mut();
            *n -= 1;
            if *n == 0 {
                entry.remove();
            }
        }
    }
}

/// A place for a handshake, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    _of_address: OwnedSemaphorePermit,
    _of_all: SemaphorePermit<'a>,
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        net::IpAddr,
    };

    use tokio::{
        join,
        time::{sleep, timeout},
    };

    use super::*;
    use crate::Peer;

    /// Runs a test whose clock moves on when everybody waits, and only then.
    fn paused(test: impl Future<Output = ()>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true).build().unwrap().block_on(test);
    }

    async fn waited(newcomer: &mut Newcomer<'_>) -> Duration {
        let begun = Instant::now();
        let error = newcomer.turn(pending::<io::Result<()>>()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        begun.elapsed()
    }

    #[test]
    fn time_is_short_where_it_is_crowded() {
        paused(async {
            let crowd = Crowd::new(4);
            let mut first = crowd.enter(Origin::Local, TIME_DEFAULT);
            let _second = crowd.enter(Origin::Local, TIME_DEFAULT);
            assert_eq!(waited(&mut first).await, TIME_DEFAULT);
            drop(first);
            let mut third = crowd.enter(Origin::Local, TIME_DEFAULT);
            let late = async {
                sleep(Duration::from_secs(5)).await;
                // Now there are three for four places: those that wait notice.
                let mut fourth = crowd.enter(Origin::Local, TIME_DEFAULT);
                assert_eq!(waited(&mut fourth).await, TIME_CROWDED);
            };
            let (waited, ()) = join!(waited(&mut third), late);
            assert!(waited <= Duration::from_secs(5) + LOOK_EVERY, "{waited:?}");
            assert_eq!(crowd.len(), 2);
        });
    }

    #[test]
    fn what_the_client_waits_for_is_not_its_time() {
        paused(async {
            let crowd = Crowd::new(1);
            let mut first = crowd.enter(Origin::Local, TIME_DEFAULT);
            let place = first.place().await;
            let mut second = crowd.enter(Origin::Local, TIME_DEFAULT);
            second
                .turn(async {
                    sleep(Duration::from_secs(1)).await;
                    Ok(())
                })
                .await
                .unwrap();
            let wait = async {
                assert!(second.place().await.is_some());
                // A second of the two is left.
                assert_eq!(waited(&mut second).await, Duration::from_secs(1));
            };
            let stay = async {
                sleep(Duration::from_secs(60)).await;
                drop(place);
            };
            join!(wait, stay);
            // What is there is taken, also where no time is left.
            assert_eq!(first.turn(ready(Ok(1))).await.unwrap(), 1);
            assert_eq!(second.turn(ready(Ok(2))).await.unwrap(), 2);
        });
    }

    #[test]
    fn a_shorter_time_stays_short() {
        paused(async {
            let crowd = Crowd::new(1);
            let time = Duration::from_millis(700);
            assert_eq!(waited(&mut crowd.enter(Origin::Local, time)).await, time);
            assert_eq!(crowd.len(), 0);
        });
    }

    #[test]
    fn one_address_cannot_take_all_places() {
        paused(async {
            let crowd = Crowd::new(8);
            let origin =
                |text: &str| Peer::Tcp((text.parse::<IpAddr>().unwrap(), 1).into()).origin();
            let many = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4"]
                .map(|text| crowd.enter(origin(text), TIME_DEFAULT));
            let held = (many[0].place().await.unwrap(), many[1].place().await.unwrap());
            let soon = Duration::from_secs(60);
            assert!(timeout(soon, many[2].place()).await.is_err(), "a quarter is taken");
            for other in ["2001:db8:0:1::1", "192.0.2.1", "::ffff:192.0.2.1"] {
                let other = crowd.enter(origin(other), TIME_DEFAULT);
                assert!(timeout(soon, other.place()).await.is_ok());
            }
            drop(held);
            assert!(timeout(soon, many[3].place()).await.is_ok());
            drop(many);
            assert_eq!((crowd.len(), crowd.origins.lock().len()), (0, 0));
        });
    }
}
