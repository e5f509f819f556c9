//! The protocols: how an [`Ask`] is written, and whose an answer is.
//!
//! ```text
//!   Call ──send──> Wire ──┬─ TextWire    classic commands, or meta commands where there are such
//!                         └─ BinaryWire
//!   Reply <─hear── Wire <── bytes
//! ```
//!
//! All speak to the state machines of the protocol crate and keep a [`Waiter`] there for every
//! command. A retrieval of many keys that takes a command for each is a batch of parts with the
//! waiter behind the last of them; answers come in order, so that the parts are all there when it is
//! the waiter's turn.

mod binary;
mod text;
mod waiter;

use nuthatch_proto::client::Limits;

pub(crate) use self::binary::BinaryWire;
pub(crate) use self::text::TextWire;
pub(crate) use self::waiter::{Slot, Waiter, number};
use crate::call::{Ask, Call};
use crate::error::{Cause, Error};

/// What is spoken with a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Dialect {
    Classic,
    Meta,
    Binary,
}

/// One connection's protocol, without the connection.
#[derive(Debug)]
pub(crate) enum Wire {
    Text(TextWire),
    Binary(BinaryWire),
}

/// Calls the same method on whichever it is.
macro_rules! each {
    ($wire:expr, $one:ident => $do:expr) => {
        match $wire {
            Wire::Text($one) => $do,
            Wire::Binary($one) => $do,
        }
    };
}

impl Wire {
    pub(crate) fn new(dialect: Dialect, limits: Limits) -> Self {
        match dialect {
            Dialect::Classic => Self::Text(TextWire::new(limits, false)),
            Dialect::Meta => Self::Text(TextWire::new(limits, true)),
            Dialect::Binary => Self::Binary(BinaryWire::new(limits)),
        }
    }

    /// Encodes a call, unless nobody waits for it any more. What the protocol cannot carry is the
    /// caller's failure.
    ///
    /// # Errors
    ///
    /// That the protocol cannot carry it although it was looked at before: a bug. The call is lost
    /// and must not wait for ever, so that the connection ends.
    pub(crate) fn send(&mut self, call: Call) -> Result<(), Cause> {
        if call.answer.is_closed() {
            return Ok(());
        }
        if let Err(error) = self.check(&call.ask) {
            // Who has gone need not be told.
            let _ = call.answer.send(Err(error));
            return Ok(());
        }
        each!(self, one => one.send(Waiter::new(call)))
    }

    fn check(&self, ask: &Ask) -> Result<(), Error> {
        each!(self, one => one.check(ask))
    }

    /// What is to be written.
    pub(crate) fn transmit(&self) -> &[u8] {
        each!(self, one => one.connection.transmit())
    }

    /// Takes note that so many bytes of it were written.
    pub(crate) fn sent(&mut self, n: usize) {
        each!(self, one => one.connection.sent(n));
    }

    /// Memory to read into, never empty.
    pub(crate) fn recv_space(&mut self) -> &mut [u8] {
        each!(self, one => one.connection.recv_space())
    }

    /// Takes note that so many bytes were read.
    pub(crate) fn received(&mut self, n: usize) {
        each!(self, one => one.connection.received(n));
    }

    /// How many commands wait for their answers.
    pub(crate) fn n_pending(&self) -> usize {
        each!(self, one => one.connection.n_pending())
    }

    /// Hands out the answers that are whole; says how many commands were answered.
    ///
    /// # Errors
    ///
    /// Nobody knows where the next answer begins.
    pub(crate) fn hear(&mut self) -> Result<usize, Cause> {
        each!(self, one => one.hear())
    }

    /// Those who still wait, in order.
    pub(crate) fn into_waiters(self) -> impl Iterator<Item = Waiter> {
        let slots: Box<dyn Iterator<Item = Slot> + Send> = match self {
            Self::Text(text) => Box::new(text.connection.into_pending()),
            Self::Binary(binary) => Box::new(binary.connection.into_pending()),
        };
        slots.filter_map(|slot| match slot {
            Slot::Whole(waiter) => Some(waiter),
            Slot::Part { .. } | Slot::Own => None,
        })
    }
}
