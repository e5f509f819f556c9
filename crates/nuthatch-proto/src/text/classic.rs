//! The classic commands: `get` and its relatives, the store commands, `delete`, `incr`, `decr`,
//! `touch`.
//!
//! Each function gets the line without its end and the tokens after the verb, and follows
//! memcached in what it looks at first, because that decides which error is answered, whether
//! `noreply` mutes it, and whether the value is skipped.

use nuthatch_types::limits::VALUE_LEN_WIRE_MAX;
use nuthatch_types::{Arith, Cas, ItemFlags, Key, StoreMode, Ttl};

use super::{Parsed, Tokens, is_noreply, number};
use crate::error::BAD_FORMAT;
use crate::request::{Get, Request, Set, Value};

const BAD_EXPTIME: &str = "CLIENT_ERROR invalid exptime argument";

/// `get k*`, `gets k*`. Retrievals know no `noreply`: the word is a key.
pub(crate) fn get(tokens: Tokens<'_>, with_cas: bool) -> Parsed<'_> {
    if check_keys(tokens) != Some(true) {
        return Parsed::bad_format();
    }
    let get = Get { keys: tokens.rest(), with_cas, touch: None };
    Parsed::request(Request::Get(get), false)
}

/// `gat exptime k*`, `gats exptime k*`.
pub(crate) fn gat(mut tokens: Tokens<'_>, with_cas: bool) -> Parsed<'_> {
    let exptime = tokens.next();
    let keys = check_keys(tokens);
    let (Some(exptime), Some(keys_ok)) = (exptime, keys) else {
        return Parsed::bad_format();
    };
    let Some(exptime) = number::i32_strict(exptime) else {
        return Parsed::malformed(BAD_EXPTIME, false);
    };
    if !keys_ok {
        return Parsed::bad_format();
    }
    let get = Get { keys: tokens.rest(), with_cas, touch: Some(Ttl::from_exptime(exptime)) };
    Parsed::request(Request::Get(get), false)
}

/// `set k flags exptime bytes [noreply]` and its relatives, `cas k flags exptime bytes cas`.
pub(crate) fn store<'a>(verb: &[u8], line: &'a [u8], mut tokens: Tokens<'a>) -> Parsed<'a> {
    let mut next = || tokens.next();
    let (Some(key), Some(flags), Some(exptime), Some(len)) = (next(), next(), next(), next())
    else {
        return Parsed::unbounded();
    };
    let Some(len) = value_len(len) else {
        return Parsed::unbounded();
    };
    let noreply = is_noreply(line);
    let mut read = || -> Option<Set<'a>> {
        let key = Key::binary(key).ok()?;
        let flags = ItemFlags(number::flags_lenient(flags)?);
        let ttl = Ttl::from_exptime(number::exptime_lenient(exptime)?);
        let (mode, cas) = match verb {
            b"add" => (StoreMode::Add, None),
            b"replace" => (StoreMode::Replace, None),
            b"append" => (StoreMode::Append, None),
            b"prepend" => (StoreMode::Prepend, None),
            b"cas" => (StoreMode::Set, Some(Cas(number::u64_strict(next()?)?))),
            _ => (StoreMode::Set, None),
        };
        Some(Set { key, mode, flags, ttl, cas, value: Value::Reserved(len) })
    };
    match read() {
        Some(set) => Parsed::request(Request::Set(set), noreply),
        // A key with a space in it moves the length to another place.
        None if Tokens(line).count() > store_tokens(verb) + usize::from(noreply) => {
            Parsed::unbounded()
        }
        None => Parsed::Malformed { line: BAD_FORMAT, noreply, swallow: len + 2 },
    }
}

/// `delete k [noreply]`. What else stands on the line is ignored; old clients send a 0.
pub(crate) fn delete<'a>(line: &'a [u8], mut tokens: Tokens<'a>) -> Parsed<'a> {
    let Some(key) = tokens.next() else {
        return Parsed::bad_format();
    };
    let noreply = is_noreply(line);
    match Key::binary(key) {
        Ok(key) => Parsed::request(Request::Delete(key), noreply),
        Err(_) => Parsed::malformed(BAD_FORMAT, noreply),
    }
}

/// `incr k delta [noreply]`, `decr k delta [noreply]`.
pub(crate) fn arith<'a>(line: &'a [u8], mut tokens: Tokens<'a>, direction: Arith) -> Parsed<'a> {
    let (Some(key), Some(delta)) = (tokens.next(), tokens.next()) else {
        return Parsed::bad_format();
    };
    let noreply = is_noreply(line);
    let Ok(key) = Key::binary(key) else {
        return Parsed::malformed(BAD_FORMAT, noreply);
    };
    match number::u64_strict(delta) {
        Some(delta) => Parsed::request(Request::Arith { key, direction, delta }, noreply),
        None => Parsed::malformed("CLIENT_ERROR invalid numeric delta argument", noreply),
    }
}

/// `touch k exptime [noreply]`.
pub(crate) fn touch<'a>(line: &'a [u8], mut tokens: Tokens<'a>) -> Parsed<'a> {
    let (Some(key), Some(exptime)) = (tokens.next(), tokens.next()) else {
        return Parsed::bad_format();
    };
    let noreply = is_noreply(line);
    let Ok(key) = Key::binary(key) else {
        return Parsed::malformed(BAD_FORMAT, noreply);
    };
    match number::i32_strict(exptime) {
        Some(exptime) => {
            Parsed::request(Request::Touch { key, ttl: Ttl::from_exptime(exptime) }, noreply)
        }
        None => Parsed::malformed(BAD_EXPTIME, noreply),
    }
}

/// How many words a store command has, without `noreply`.
fn store_tokens(verb: &[u8]) -> usize {
    if verb == b"cas" { 6 } else { 5 }
}

/// The length a store command announces, if it is one.
pub(crate) fn value_len(token: &[u8]) -> Option<usize> {
    let len = usize::try_from(number::i32_strict(token)?).ok()?;
    (len <= VALUE_LEN_WIRE_MAX).then_some(len)
}

/// Whether all keys are short enough; `None` where there is no key.
fn check_keys(mut tokens: Tokens<'_>) -> Option<bool> {
    let first = tokens.next()?;
    let fits = |key: &[u8]| key.len() <= Key::LEN_MAX;
    Some(fits(first) && tokens.all(fits))
}
