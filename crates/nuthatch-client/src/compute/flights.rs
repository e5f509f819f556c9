//! Computations that are under way in this process.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::values::Encoded;

/// Which keys somebody is busy with, and where what comes of it will be seen. Holds no more than
/// there are callers.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<Box<[u8]>, Landing>>);

/// The value, once it is there.
pub(super) type Landing = watch::Receiver<Option<Encoded>>;

/// What a caller is for a key.
#[derive(Debug)]
pub(super) enum Seat {
    /// The one who sees to it.
    Leading(Flight),
    /// One of those who wait. A closed channel means that nothing came of it.
    Waiting(Landing),
}

impl Flights {
    pub(super) fn join(self: &Arc<Self>, key: &[u8]) -> Seat {
        let mut flights = self.0.lock();
        if let Some(landing) = flights.get(key) {
            return Seat::Waiting(landing.clone());
        }
        let (sender, landing) = watch::channel(None);
        flights.insert(key.into(), landing);
        Seat::Leading(Flight { flights: Arc::clone(self), key: key.into(), sender })
    }
}

/// A computation. Dropped without a value, it lets another begin.
#[derive(Debug)]
pub(super) struct Flight {
    flights: Arc<Flights>,
    key: Box<[u8]>,
    sender: watch::Sender<Option<Encoded>>,
}

impl Flight {
    /// Hands the value to all who wait. Those who come later ask the server.
    pub(super) fn land(self, stored: Encoded) {
        self.sender.send_replace(Some(stored));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        // Before the channel closes: who waits for it must not find it again.
        self.flights.0.lock().remove(&self.key);
    }
}
