//! Writing commands.

use nuthatch_types::limits::{META_OPAQUE_LEN_MAX, VALUE_LEN_WIRE_MAX};
use nuthatch_types::{Arith, Key, KeyError, StoreMode};

use super::command::{Command, MetaOptions};
use super::parse::Expect;
use crate::error::Error;
use crate::text::base64;
use crate::text::encode::{CRLF, number};

/// The longest key that base64 can carry in [`Key::LEN_MAX`] letters, in bytes.
const BASE64_KEY_LEN_MAX: usize = Key::LEN_MAX / 4 * 3;

/// Appends a command and says what answer to expect; `None` is no answer. `opaque` is the
/// connection's own token for quiet commands.
pub(super) fn command(
    out: &mut Vec<u8>,
    command: &Command<'_>,
    opaque: u32,
) -> Result<Option<Expect>, Error> {
    let start = out.len();
    let expect = append(out, command, opaque);
    if expect.is_err() {
        out.truncate(start);
    }
    expect
}

fn append(out: &mut Vec<u8>, command: &Command<'_>, opaque: u32) -> Result<Option<Expect>, Error> {
    let answered = |noreply: bool, expect| (!noreply).then_some(expect);
    Ok(match *command {
        Command::GetLine { keys, with_cas, exptime } => {
            retrieval(out, with_cas, exptime);
            if keys.is_empty() {
                return Err(Error::Key(KeyError::Empty));
            }
            if !keys.is_text() {
                // Whichever it is, the reason is its own.
                keys.iter().try_for_each(|key| classic_key(out, key))?;
            }
            line(out, keys.as_bytes());
            Some(Expect::Retrieval)
        }
        Command::Get { keys, with_cas, exptime } => {
            retrieval(out, with_cas, exptime);
            if keys.is_empty() {
                return Err(Error::Key(KeyError::Empty));
            }
            for key in keys {
                classic_key(out, *key)?;
            }
            out.extend_from_slice(CRLF);
            Some(Expect::Retrieval)
        }
        Command::Store { mode, key, flags, exptime, cas, value, noreply } => {
            let verb: &[u8] = match (cas, mode) {
                (Some(_), _) => b"cas",
                (None, StoreMode::Set) => b"set",
                (None, StoreMode::Add) => b"add",
                (None, StoreMode::Replace) => b"replace",
                (None, StoreMode::Append) => b"append",
                (None, StoreMode::Prepend) => b"prepend",
            };
            out.extend_from_slice(verb);
            classic_key(out, key)?;
            out.push(b' ');
            number(out, flags.0);
            out.push(b' ');
            number(out, exptime);
            out.push(b' ');
            value_len(out, value)?;
            if let Some(cas) = cas {
                out.push(b' ');
                number(out, cas.0);
            }
            end(out, noreply);
            line(out, value);
            answered(noreply, Expect::Stored)
        }
        Command::Delete { key, noreply } => {
            out.extend_from_slice(b"delete");
            classic_key(out, key)?;
            end(out, noreply);
            answered(noreply, Expect::Deleted)
        }
        Command::Arith { direction, key, delta, noreply } => {
            out.extend_from_slice(match direction {
                Arith::Incr => b"incr",
                Arith::Decr => b"decr",
            });
            classic_key(out, key)?;
            out.push(b' ');
            number(out, delta);
            end(out, noreply);
            answered(noreply, Expect::Number)
        }
        Command::Touch { key, exptime, noreply } => {
            out.extend_from_slice(b"touch");
            classic_key(out, key)?;
            out.push(b' ');
            number(out, exptime);
            end(out, noreply);
            answered(noreply, Expect::Touched)
        }
        Command::MetaGet(key, options) => Some(meta(out, b"mg", key, &options, None, opaque)?),
        Command::MetaSet(key, options, value) => {
            Some(meta(out, b"ms", key, &options, Some(value), opaque)?)
        }
        Command::MetaDelete(key, options) => Some(meta(out, b"md", key, &options, None, opaque)?),
        Command::MetaArith(key, options) => Some(meta(out, b"ma", key, &options, None, opaque)?),
        Command::MetaNoop => {
            out.extend_from_slice(b"mn\r\n");
            Some(Expect::Noop)
        }
        Command::MetaDebug(key) => {
            out.extend_from_slice(b"me");
            if meta_key(out, key)? {
                // The second `b` is for memcached 1.6.45, which looks for the first one only
                // when something follows it.
                out.extend_from_slice(b" b b");
            }
            out.extend_from_slice(CRLF);
            Some(Expect::Debug)
        }
        Command::FlushAll { delay, noreply } => {
            out.extend_from_slice(b"flush_all");
            if let Some(delay) = delay {
                out.push(b' ');
                number(out, delay);
            }
            end(out, noreply);
            answered(noreply, Expect::Line)
        }
        Command::Version => {
            out.extend_from_slice(b"version\r\n");
            Some(Expect::Version)
        }
        Command::Stats(what) => {
            out.extend_from_slice(b"stats");
            if let Some(what) = what {
                out.push(b' ');
                text(out, what)?;
            }
            out.extend_from_slice(CRLF);
            Some(Expect::Stats)
        }
        Command::Dump { keys_only, classes } => {
            out.extend_from_slice(b"lru_crawler ");
            out.extend_from_slice(if keys_only { b"mgdump " } else { b"metadump " });
            text(out, classes)?;
            out.extend_from_slice(CRLF);
            Some(Expect::Dump)
        }
        Command::ConfigGet(name) => {
            out.extend_from_slice(b"config get ");
            word(out, name)?;
            out.extend_from_slice(CRLF);
            Some(Expect::Config)
        }
        Command::ConfigSet(name, payload) => {
            out.extend_from_slice(b"config set ");
            word(out, name)?;
            out.extend_from_slice(b" 0 ");
            value_len(out, payload)?;
            out.extend_from_slice(CRLF);
            line(out, payload);
            Some(Expect::Stored)
        }
        Command::ConfigDelete(name) => {
            out.extend_from_slice(b"config delete ");
            word(out, name)?;
            out.extend_from_slice(CRLF);
            Some(Expect::Deleted)
        }
        Command::Auth { user, password } => {
            // The password may hold anything; it is a value, and the server knows its length.
            out.extend_from_slice(b"set auth 0 0 ");
            number(out, user.len() + 1 + password.len());
            out.extend_from_slice(CRLF);
            word(out, user)?;
            out.push(b' ');
            line(out, password.as_bytes());
            Some(Expect::Stored)
        }
        Command::Line(command) => {
            text(out, command)?;
            out.extend_from_slice(CRLF);
            Some(Expect::Line)
        }
    })
}

fn retrieval(out: &mut Vec<u8>, with_cas: bool, exptime: Option<i32>) {
    out.extend_from_slice(match (with_cas, exptime) {
        (false, None) => b"get",
        (true, None) => b"gets",
        (false, Some(_)) => b"gat",
        (true, Some(_)) => b"gats",
    });
    if let Some(exptime) = exptime {
        out.push(b' ');
        number(out, exptime);
    }
}

fn meta(
    out: &mut Vec<u8>,
    verb: &[u8; 2],
    key: Key<'_>,
    options: &MetaOptions<'_>,
    value: Option<&[u8]>,
    own_opaque: u32,
) -> Result<Expect, Error> {
    out.extend_from_slice(verb);
    let is_base64 = meta_key(out, key)?;
    if let Some(value) = value {
        out.push(b' ');
        value_len(out, value)?;
    }
    let is_arith = verb == b"ma";
    let (mut letters, mut len) = ([b' '; 2 * 13], 0);
    for (letter, is_set) in [
        (b'b', is_base64),
        (b'q', options.quiet),
        (b'k', options.return_key),
        (b'v', options.return_value),
        (b'c', options.return_cas),
        (b'f', options.return_flags),
        (b's', options.return_size),
        (b't', options.return_ttl),
        (b'h', options.return_hit),
        (b'l', options.return_last_access),
        (b'u', options.no_bump),
        (b'I', options.invalidate),
        (b'x', options.remove_value),
    ] {
        if is_set {
            letters[len + 1] = letter;
            len += 2;
        }
    }
    out.extend_from_slice(&letters[..len]);
    for (letter, exptime) in
        [(b'T', options.exptime), (b'N', options.vivify), (b'R', options.recache)]
    {
        if let Some(exptime) = exptime {
            out.extend_from_slice(&[b' ', letter]);
            number(out, exptime);
        }
    }
    for (letter, argument) in [
        (b'F', options.flags.map(|flags| u64::from(flags.0))),
        (b'C', options.compare.map(|cas| cas.0)),
        (b'E', options.explicit_cas.map(|cas| cas.0)),
        (b'D', options.delta),
        (b'J', options.initial),
    ] {
        if let Some(argument) = argument {
            out.extend_from_slice(&[b' ', letter]);
            number(out, argument);
        }
    }
    let mode = match (value, options.mode) {
        (None, _) if is_arith && options.direction == Arith::Decr => b'D',
        (None, _) | (Some(_), StoreMode::Set) => b' ',
        (Some(_), StoreMode::Add) => b'E',
        (Some(_), StoreMode::Replace) => b'R',
        (Some(_), StoreMode::Append) => b'A',
        (Some(_), StoreMode::Prepend) => b'P',
    };
    if mode != b' ' {
        out.extend_from_slice(&[b' ', b'M', mode]);
    }
    match options.opaque {
        Some(_) if options.quiet => return Err(Error::Opaque),
        Some(opaque) => {
            let is_fit = opaque.len() < META_OPAQUE_LEN_MAX
                && opaque.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
            if !is_fit {
                return Err(Error::Opaque);
            }
            out.extend_from_slice(b" O");
            out.extend_from_slice(opaque);
        }
        None if options.quiet => {
            out.extend_from_slice(b" O");
            number(out, own_opaque);
        }
        None => {}
    }
    out.extend_from_slice(CRLF);
    if let Some(value) = value {
        line(out, value);
    }
    Ok(Expect::Meta { quiet: options.quiet.then_some(own_opaque) })
}

/// Appends a key to a classic command.
fn classic_key(out: &mut Vec<u8>, key: Key<'_>) -> Result<(), Error> {
    Key::new(key.as_bytes())?;
    out.push(b' ');
    out.extend_from_slice(key.as_bytes());
    Ok(())
}

/// Appends a key to a meta command; says whether it went in base64.
fn meta_key(out: &mut Vec<u8>, key: Key<'_>) -> Result<bool, Error> {
    out.push(b' ');
    if Key::new(key.as_bytes()).is_ok() {
        out.extend_from_slice(key.as_bytes());
        return Ok(false);
    }
    if key.len() > BASE64_KEY_LEN_MAX {
        return Err(Error::Key(KeyError::TooLong { len: key.len() }));
    }
    base64::encode(key.as_bytes(), out);
    Ok(true)
}

fn value_len(out: &mut Vec<u8>, value: &[u8]) -> Result<(), Error> {
    if value.len() > VALUE_LEN_WIRE_MAX {
        return Err(Error::ValueUnsendable { len: value.len() });
    }
    number(out, value.len());
    Ok(())
}

/// Appends what may be several words, but one line.
fn text(out: &mut Vec<u8>, text: &str) -> Result<(), Error> {
    if let Some(at) = text.bytes().position(|byte| byte < b' ' || byte == 0x7f) {
        return Err(Error::Key(KeyError::Forbidden { at }));
    }
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Appends one word.
fn word(out: &mut Vec<u8>, word: &str) -> Result<(), Error> {
    Key::new(word)?;
    out.extend_from_slice(word.as_bytes());
    Ok(())
}

fn end(out: &mut Vec<u8>, noreply: bool) {
    out.extend_from_slice(if noreply { b" noreply\r\n" } else { CRLF });
}

fn line(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
    out.extend_from_slice(CRLF);
}
