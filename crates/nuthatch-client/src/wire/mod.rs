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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use nuthatch_proto::client::KeyLine;
    use nuthatch_types::{Arith, ItemFlags, Key, KeyBuf, StoreMode};
    use proptest::prelude::*;
    use tokio::sync::oneshot;

    use super::*;
    use crate::call::{Reply, Store};

    fn key(name: &str) -> KeyBuf {
        Key::binary(name.as_bytes()).unwrap().to_buf()
    }

    fn many(names: &[&str]) -> Ask {
        let mut keys = KeyLine::new();
        names.iter().for_each(|name| keys.push_binary(name).unwrap());
        Ask::GetMany { keys: Arc::new(keys), exptime: None }
    }

    fn ask(what: usize) -> Ask {
        match what {
            0 => Ask::Get { key: key("a"), exptime: None },
            1 => Ask::Get { key: key("b"), exptime: Some(1) },
            2 => many(&["a", "b"]),
            3 => many(&["a", "b 1", "c"]),
            4 => many(&["b 1"]),
            5 => Ask::Delete { key: key("a"), cas: None },
            6 => Ask::Arith { direction: Arith::Incr, key: key("a"), delta: 1, initial: None },
            7 => Ask::Touch { key: key("a"), exptime: 0 },
            8 => Ask::Stats(None),
            9 => Ask::Version,
            10 => Ask::Config(key("cluster")),
            11 => Ask::Line("verbosity 1".to_owned()),
            _ => Ask::Store(Store {
                mode: StoreMode::Set,
                key: key("a"),
                flags: ItemFlags(0),
                exptime: 0,
                cas: None,
                value: "a".into(),
            }),
        }
    }

    /// What a server of the text protocols may say; every value is its key.
    const LINES: [&str; 26] = [
        "VALUE a 0 1 1\r\na\r\n",
        "VALUE b 0 1\r\nb\r\n",
        "VALUE a 0 9\r\n",
        "END\r\n",
        "EN\r\n",
        "MN\r\n",
        "HD\r\n",
        "HD ka\r\n",
        "NF\r\n",
        "STORED\r\n",
        "DELETED\r\n",
        "7\r\n",
        "TOUCHED\r\n",
        "STAT a b\r\n",
        "VERSION 1\r\n",
        "OK\r\n",
        "CONFIG cluster 0 1\r\nx\r\n",
        "ERROR\r\n",
        "SERVER_ERROR out of memory\r\n",
        "VA 1 ka f0 c1\r\na\r\n",
        "VA 1 ka f0 c1 O0\r\na\r\n",
        "VA 3 kYiAx b f0 c1 O1\r\nb 1\r\n",
        "VA 1 kc f0 c1 O2\r\nc\r\n",
        "VA 3 kYiAx b f0 c1 O0\r\nb 1\r\n",
        "VA 1 7\r\n7\r\n",
        "HD ka O0\r\n",
    ];

    /// A frame that answers one that was sent, mostly; its value is its key.
    fn frame(sent: &[(u8, u32, Vec<u8>)], (which, status, has_key): (usize, u16, bool)) -> Vec<u8> {
        let Some((opcode, opaque, key)) = sent.get(which) else { return vec![0x81; which] };
        let is_value = status == 0 && matches!(opcode, 0 | 9 | 12 | 13 | 0x1d | 0x1e | 0x23 | 0x24);
        let is_number = status == 0 && matches!(opcode, 5 | 6);
        let key = if has_key && is_value { &key[..] } else { b"" };
        let value = if is_number { &[0, 0, 0, 0, 0, 0, 0, 7] } else { key };
        let extras: &[u8] = if is_value { &[0; 4] } else { b"" };
        let body_len = u32::try_from(key.len() + value.len() + extras.len()).unwrap();
        let mut frame = vec![0x81, *opcode, 0, u8::try_from(key.len()).unwrap()];
        frame.extend_from_slice(&[u8::try_from(extras.len()).unwrap(), 0]);
        frame.extend_from_slice(&status.to_be_bytes());
        frame.extend_from_slice(&body_len.to_be_bytes());
        frame.extend_from_slice(&opaque.to_be_bytes());
        frame.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1]);
        [&frame, extras, key, value].concat()
    }

    /// Opcodes, opaque numbers and keys of what was sent.
    fn frames(mut sent: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
        let mut frames = Vec::new();
        while sent.len() >= 24 {
            let number = |at: usize| u32::from_be_bytes(sent[at..at + 4].try_into().unwrap());
            let start = 24 + usize::from(sent[4]);
            let key = sent[start..start + usize::from(sent[3])].to_vec();
            frames.push((sent[1], number(12), key));
            sent = &sent[24 + number(8) as usize..];
        }
        frames
    }

    fn check(asked: &[usize], dialect: Dialect, say: impl Fn(&[u8]) -> Vec<Vec<u8>>) {
        let mut wire = Wire::new(dialect, Limits::default());
        let mut answers = Vec::new();
        for what in asked {
            let (answer, told) = oneshot::channel();
            wire.send(Call { ask: Arc::new(ask(*what)), answer }).unwrap();
            answers.push((ask(*what), told));
        }
        for said in say(wire.transmit()) {
            wire.recv_space()[..said.len()].copy_from_slice(&said);
            wire.received(said.len());
            if wire.hear().is_err() {
                break;
            }
        }
        wire.into_waiters().for_each(drop);
        for (ask, mut told) in answers {
            match (ask, told.try_recv()) {
                (Ask::Get { key, .. }, Ok(Ok(Reply::Item(Some(item))))) => {
                    assert_eq!(item.value, key.as_key().as_bytes());
                }
                (Ask::GetMany { keys, .. }, Ok(Ok(Reply::Items(items)))) => {
                    assert_eq!(items.len(), keys.len());
                    for (key, item) in keys.iter().zip(items) {
                        assert!(item.is_none_or(|item| item.value == key.as_bytes()));
                    }
                }
                _ => {}
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_is_said_in_text_nobody_hears_what_was_anothers(
            asked in prop::collection::vec(0..13_usize, 1..6),
            said in prop::collection::vec(0..LINES.len(), 0..16),
            is_meta: bool,
        ) {
            let dialect = if is_meta { Dialect::Meta } else { Dialect::Classic };
            check(&asked, dialect, |_| {
                said.iter().map(|line| LINES[*line].as_bytes().to_vec()).collect()
            });
        }

        #[test]
        fn whatever_is_said_in_frames_nobody_hears_what_was_anothers(
            asked in prop::collection::vec(0..13_usize, 1..6),
            said in prop::collection::vec(
                (0..8_usize, prop::sample::select(vec![0, 0, 0, 1, 2, 5, 0x81, 0x85]), any::<bool>()),
                0..16,
            ),
        ) {
            check(&asked, Dialect::Binary, |sent| {
                let sent = frames(sent);
                said.iter().map(|spec| frame(&sent, *spec)).collect()
            });
        }
    }
}
