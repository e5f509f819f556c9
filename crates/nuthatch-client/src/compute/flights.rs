//! Computations that are under way in this process.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::values::Encoded;

/// Which keys somebody is busy with, and where what comes of it will be seen. Holds no more than
/// there are callers.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<Box<[u8]>, UnderWay>>);

#[derive(Debug)]
struct UnderWay {
    value: watch::Sender<Option<Encoded>>,
    /// More than one only if one of them took longer than the others would wait.
    n_leading: usize,
    last_began_at: Instant,
}

/// The value, once it is there.
pub(super) type Landing = watch::Receiver<Option<Encoded>>;

/// What a caller is for a key.
#[derive(Debug)]
pub(super) enum Seat {
    /// One who sees to it.
    Leading(Flight),
    /// One of those who wait, and for how long before asking again. A closed channel means that
    /// nothing came of it.
    Waiting(Landing, Duration),
}

impl Flights {
    /// Finds out who one is: somebody who comes after the last has been at it for all of `patience`
    /// sees to it too, and whoever is ready first has the value for all.
    pub(super) fn join(self: &Arc<Self>, key: &[u8], patience: Duration) -> Seat {
        let mut flights = self.0.lock();
        let now = Instant::now();
        let value = match flights.entry(key.into()) {
            Entry::Vacant(place) => {
                let value = watch::Sender::new(None);
                place.insert(UnderWay { value: value.clone(), n_leading: 1, last_began_at: now });
                value
            }
            Entry::Occupied(mut place) => {
                let under_way = place.get_mut();
                let left = patience.saturating_sub(now - under_way.last_began_at);
                if !left.is_zero() {
                    return Seat::Waiting(under_way.value.subscribe(), left);
                }
                under_way.last_began_at = now;
                under_way.n_leading += 1;
                under_way.value.clone()
            }
        };
        Seat::Leading(Flight { flights: Arc::clone(self), key: key.into(), value })
    }
}

/// A computation. If all of a key are dropped without a value, another may begin.
#[derive(Debug)]
pub(super) struct Flight {
    flights: Arc<Flights>,
    key: Box<[u8]>,
    value: watch::Sender<Option<Encoded>>,
}

impl Flight {
    /// Hands the value to all who wait. Those who come later ask the server.
    pub(super) fn land(self, stored: Encoded) {
        self.value.send_replace(Some(stored));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut flights = self.flights.0.lock();
        let Entry::Occupied(mut place) = flights.entry(mem::take(&mut self.key)) else { return };
        let under_way = place.get_mut();
        // Not if another has landed before, and others have begun anew since.
        if !under_way.value.same_channel(&self.value) {
            return;
        }
        under_way.n_leading -= 1;
        if under_way.n_leading == 0 || self.value.borrow().is_some() {
            // Before the channel closes: who waits for it must not find it again.
            place.remove();
        }
    }
}
