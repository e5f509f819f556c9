//! The text protocols. Where the server knows meta commands they are used for all that is asked of
//! one key; several keys are still one `gets` line, which is the shortest way to ask for them.

use nuthatch_proto::client::{Command, Connection, KeyLine, Limits, MetaOptions};
use nuthatch_types::{Key, KeyError, StoreMode};

use super::waiter::{Parts, deliver};
use super::{Slot, Waiter};
use crate::call::{Ask, MetaVerb, Store};
use crate::error::{Cause, Error, Kind};

/// The longest key that base64 can carry, in bytes.
const BASE64_KEY_LEN_MAX: usize = Key::LEN_MAX / 4 * 3;

/// Every command is answered: an error line for one with `noreply` could not be told from the
/// answer to the next.
const NOREPLY: bool = false;

#[derive(Debug)]
pub(crate) struct TextWire {
    pub(crate) connection: Connection<Slot>,
    is_meta: bool,
    parts: Parts,
}

impl TextWire {
    pub(super) fn new(limits: Limits, is_meta: bool) -> Self {
        Self { connection: Connection::new(limits), is_meta, parts: Parts::default() }
    }

    /// What is found out by a greeting.
    pub(crate) fn speaks_meta(&mut self, is_meta: bool) {
        self.is_meta = is_meta;
    }

    pub(super) fn check(&self, ask: &Ask) -> Result<(), Error> {
        let carried = |key: Key<'_>| match Key::new(key.as_bytes()) {
            Ok(_) => Ok(()),
            Err(KeyError::Forbidden { .. }) if self.is_meta => match key.len() {
                0..=BASE64_KEY_LEN_MAX => Ok(()),
                len => Err(KeyError::TooLong { len }.into()),
            },
            Err(error) => Err(Error::from(error)),
        };
        let unsupported = |what| Err(Kind::Unsupported(what).into());
        match ask {
            Ask::Get { key, .. }
            | Ask::Store(Store { key, .. })
            | Ask::Touch { key, .. }
            | Ask::Delete { key, cas: None }
            | Ask::Arith { key, initial: None, .. } => carried(key.as_key()),
            Ask::GetMany { keys, .. } if keys.is_text() => Ok(()),
            Ask::GetMany { keys, .. } => keys.iter().try_for_each(carried),
            Ask::Delete { .. } if !self.is_meta => unsupported("delete with a CAS number"),
            Ask::Arith { .. } if !self.is_meta => unsupported("counting from an initial number"),
            Ask::Meta(_) | Ask::MetaDebug(_) if !self.is_meta => unsupported("meta commands"),
            Ask::Delete { key, .. } | Ask::Arith { key, .. } | Ask::MetaDebug(key) => {
                carried(key.as_key())
            }
            Ask::Meta(meta) => carried(meta.key.as_key()),
            _ => Ok(()),
        }
    }

    pub(super) fn send(&mut self, waiter: Waiter) -> Result<(), Cause> {
        let ask = std::sync::Arc::clone(waiter.ask());
        if let Ask::GetMany { keys, exptime } = &*ask {
            return self.send_many(keys, *exptime, waiter);
        }
        let key;
        let command = if self.is_meta { meta(&ask) } else { None };
        let command = match (command, &*ask) {
            (Some(command), _) => command,
            (None, Ask::Get { key: own, exptime }) => {
                key = [own.as_key()];
                Command::Get { keys: &key, with_cas: true, exptime: *exptime }
            }
            (None, ask) => classic(ask),
        };
        self.connection.send(&command, Slot::Whole(waiter))?;
        Ok(())
    }

    fn send_many(
        &mut self,
        keys: &KeyLine,
        exptime: Option<i32>,
        waiter: Waiter,
    ) -> Result<(), Cause> {
        if keys.is_text() {
            let command = Command::GetLine { keys, with_cas: true, exptime };
            self.connection.send(&command, Slot::Whole(waiter))?;
            return Ok(());
        }
        for (at, key) in keys.iter().enumerate() {
            let options = MetaOptions { quiet: true, exptime, ..ITEM };
            let slot = Slot::Part { ask: std::sync::Arc::clone(waiter.ask()), at };
            self.connection.send(&Command::MetaGet(key, options), slot)?;
        }
        self.connection.send(&Command::MetaNoop, Slot::Whole(waiter))?;
        Ok(())
    }

    pub(super) fn hear(&mut self) -> Result<usize, Cause> {
        let mut n = 0;
        while let Some(answer) = self.connection.poll()? {
            n += usize::from(deliver(answer.tag, &answer.response, &mut self.parts)?);
        }
        Ok(n)
    }
}

/// What is told of an item, with the key, by which the answer is known to be the right one.
const ITEM: MetaOptions<'static> = MetaOptions {
    return_key: true,
    return_value: true,
    return_flags: true,
    return_cas: true,
    ..NOTHING
};

/// `MetaOptions::default()`, which is no constant.
const NOTHING: MetaOptions<'static> = MetaOptions {
    quiet: false,
    opaque: None,
    return_key: false,
    return_value: false,
    return_cas: false,
    return_flags: false,
    return_size: false,
    return_ttl: false,
    return_hit: false,
    return_last_access: false,
    no_bump: false,
    exptime: None,
    vivify: None,
    recache: None,
    flags: None,
    compare: None,
    explicit_cas: None,
    invalidate: false,
    remove_value: false,
    mode: StoreMode::Set,
    direction: nuthatch_types::Arith::Incr,
    delta: None,
    initial: None,
};

/// The meta command, where there is one.
fn meta(ask: &Ask) -> Option<Command<'_>> {
    let or_default = |number: i32| (number != 0).then_some(number);
    Some(match ask {
        Ask::Get { key, exptime } => {
            Command::MetaGet(key.as_key(), MetaOptions { exptime: *exptime, ..ITEM })
        }
        Ask::Store(Store { mode, key, flags, exptime, cas, value }) => {
            let is_new = !matches!(mode, StoreMode::Append | StoreMode::Prepend);
            let options = MetaOptions {
                mode: *mode,
                // Where bytes are put to an item it keeps its own.
                flags: (is_new && flags.0 != 0).then_some(*flags),
                exptime: if is_new { or_default(*exptime) } else { None },
                compare: *cas,
                ..NOTHING
            };
            Command::MetaSet(key.as_key(), options, value)
        }
        Ask::Delete { key, cas } => {
            Command::MetaDelete(key.as_key(), MetaOptions { compare: *cas, ..NOTHING })
        }
        Ask::Touch { key, exptime } => {
            Command::MetaGet(key.as_key(), MetaOptions { exptime: Some(*exptime), ..NOTHING })
        }
        Ask::Arith { direction, key, delta, initial } => {
            let options = MetaOptions {
                return_value: true,
                direction: *direction,
                delta: Some(*delta),
                initial: initial.map(|(number, _)| number),
                vivify: initial.map(|(_, exptime)| exptime),
                ..NOTHING
            };
            Command::MetaArith(key.as_key(), options)
        }
        Ask::Meta(meta) => {
            let (key, options) = (meta.key.as_key(), meta.options);
            match meta.verb {
                MetaVerb::Get => Command::MetaGet(key, options),
                MetaVerb::Set => Command::MetaSet(key, options, &meta.value),
                MetaVerb::Delete => Command::MetaDelete(key, options),
                MetaVerb::Arith => Command::MetaArith(key, options),
            }
        }
        Ask::MetaDebug(key) => Command::MetaDebug(key.as_key()),
        _ => return None,
    })
}

/// The classic command of what has been [checked](TextWire::check).
fn classic(ask: &Ask) -> Command<'_> {
    let noreply = NOREPLY;
    match ask {
        Ask::Store(Store { mode, key, flags, exptime, cas, value }) => Command::Store {
            mode: *mode,
            key: key.as_key(),
            flags: *flags,
            exptime: *exptime,
            cas: *cas,
            value,
            noreply,
        },
        Ask::Delete { key, .. } => Command::Delete { key: key.as_key(), noreply },
        Ask::Touch { key, exptime } => {
            Command::Touch { key: key.as_key(), exptime: *exptime, noreply }
        }
        Ask::Arith { direction, key, delta, .. } => {
            Command::Arith { direction: *direction, key: key.as_key(), delta: *delta, noreply }
        }
        Ask::FlushAll { delay } => Command::FlushAll { delay: *delay, noreply },
        Ask::Version => Command::Version,
        Ask::Stats(what) => Command::Stats(what.as_deref()),
        Ask::Line(line) => Command::Line(line),
        Ask::Config(name) => {
            Command::ConfigGet(std::str::from_utf8(name.as_key().as_bytes()).unwrap_or_default())
        }
        Ask::Get { .. } | Ask::GetMany { .. } => unreachable!("retrievals borrow a list of keys"),
        Ask::Meta(_) | Ask::MetaDebug(_) => unreachable!("they have been refused"),
    }
}
