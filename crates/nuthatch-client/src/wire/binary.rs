//! The binary protocol, for servers that log their clients in by SASL.

use std::sync::Arc;

use nuthatch_proto::client::{BinaryCommand, BinaryConnection, Limits, Response};
use nuthatch_types::{Cas, Key};

use super::waiter::{Parts, deliver};
use super::{Slot, Waiter};
use crate::call::{Ask, Store};
use crate::error::{Cause, Error, Kind};

#[derive(Debug)]
pub(crate) struct BinaryWire {
    pub(crate) connection: BinaryConnection<Slot>,
    parts: Parts,
}

impl BinaryWire {
    pub(super) fn new(limits: Limits) -> Self {
        Self { connection: BinaryConnection::new(limits), parts: Parts::default() }
    }

    /// Keys may hold any byte here.
    #[expect(clippy::unused_self, reason = "as the other wire's")]
    pub(super) fn check(&self, ask: &Ask) -> Result<(), Error> {
        match ask {
            Ask::Meta(_) | Ask::MetaDebug(_) => Err(Kind::Unsupported("meta commands").into()),
            Ask::Line(_) => Err(Kind::Unsupported("such command").into()),
            // In a frame it is no condition.
            Ask::Store(Store { cas: Some(Cas(0)), .. }) | Ask::Delete { cas: Some(Cas(0)), .. } => {
                Err(Kind::Unsupported("CAS number 0").into())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn send(&mut self, waiter: Waiter) -> Result<(), Cause> {
        let ask = Arc::clone(waiter.ask());
        if let Ask::GetMany { keys, exptime } = &*ask {
            for (at, key) in keys.iter().enumerate() {
                let slot = Slot::Part { ask: Arc::clone(&ask), at };
                self.connection.send(&get(key, *exptime, true), slot)?;
            }
            self.connection.send(&BinaryCommand::Noop, Slot::Whole(waiter))?;
        } else {
            self.connection.send(&command(&ask), Slot::Whole(waiter))?;
        }
        Ok(())
    }

    pub(super) fn hear(&mut self) -> Result<usize, Cause> {
        let mut n = 0;
        while let Some(answer) = self.connection.poll()? {
            let response = &match answer.response {
                // What was found is as new as its number, which the header has.
                Response::Value { key, flags, data, .. } => {
                    Response::Value { key, flags, data, cas: Some(answer.cas) }
                }
                other => other,
            };
            n += usize::from(deliver(answer.tag, response, &mut self.parts)?);
        }
        Ok(n)
    }
}

/// With the key, by which the answer is known to be the right one.
fn get(key: Key<'_>, exptime: Option<i32>, quiet: bool) -> BinaryCommand<'_> {
    BinaryCommand::Get { key, exptime, with_key: true, quiet }
}

/// The command of what has been [checked](BinaryWire::check).
fn command(ask: &Ask) -> BinaryCommand<'_> {
    let quiet = false;
    match ask {
        Ask::Get { key, exptime } => get(key.as_key(), *exptime, quiet),
        Ask::Store(Store { mode, key, flags, exptime, cas, value }) => BinaryCommand::Store {
            mode: *mode,
            key: key.as_key(),
            flags: *flags,
            exptime: *exptime,
            cas: *cas,
            value,
            quiet,
        },
        Ask::Delete { key, cas } => BinaryCommand::Delete { key: key.as_key(), cas: *cas, quiet },
        Ask::Touch { key, exptime } => {
            BinaryCommand::Touch { key: key.as_key(), exptime: *exptime }
        }
        Ask::Arith { direction, key, delta, initial } => BinaryCommand::Arith {
            direction: *direction,
            key: key.as_key(),
            delta: *delta,
            initial: *initial,
            cas: None,
            quiet,
        },
        Ask::FlushAll { delay } => BinaryCommand::Flush { delay: *delay, quiet },
        Ask::Version => BinaryCommand::Version,
        Ask::Stats(what) => BinaryCommand::Stats(what.as_deref()),
        Ask::Config(name) => BinaryCommand::ConfigGet(name.as_key()),
        Ask::GetMany { .. } => unreachable!("it is a batch"),
        Ask::Meta(_) | Ask::MetaDebug(_) | Ask::Line(_) => {
            unreachable!("they have been refused")
        }
    }
}
