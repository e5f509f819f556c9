//! The meta commands: `mg`, `ms`, `md`, `ma`, `me`, and the flags they share.
//!
//! A flag is one token: a letter, and for some of them an argument stuck to it. Every command
//! knows every flag and ignores those that mean nothing to it, so the flags are read in one place,
//! in one pass, into [`MetaFlags`].

use nuthatch_types::limits::{META_OPAQUE_LEN_MAX, META_TOKENS_MAX};
use nuthatch_types::{Arith, Cas, ItemFlags, Key, StoreMode, Ttl};

use super::{Parsed, Scratch, Tokens, base64, classic, number};
use crate::error::BAD_FORMAT;
use crate::request::{Meta, MetaSet, Request, Value};

const BAD_TOKEN: &str = "CLIENT_ERROR bad token in command line format";
const BAD_OPAQUE: &str = "CLIENT_ERROR opaque token too long";

/// memcached indexes so many tokens of a line and never sees the rest.
const TOKENS_INDEXED_MAX: usize = 23;

/// The flags of a meta command, read and checked.
///
/// Which of them a command heeds is the business of whoever answers it; a flag that means nothing
/// to a command is legal and ignored.
#[derive(Clone, Copy, Debug)]
pub struct MetaFlags<'a> {
    /// The flags as they stand on the line, for the return flags are in their order.
    tokens: &'a [u8],
    /// Which letters are there: bit 0 is `A`.
    letters: u64,
    opaque: &'a [u8],
    ttl: Ttl,
    vivify: Ttl,
    recache: Ttl,
    client_flags: u32,
    cas: u64,
    cas_new: u64,
    delta: u64,
    initial: u64,
    mode: u8,
}

impl<'a> MetaFlags<'a> {
    const NONE: Self = Self {
        tokens: b"",
        letters: 0,
        opaque: b"",
        ttl: Ttl::NEVER,
        vivify: Ttl::NEVER,
        recache: Ttl::NEVER,
        client_flags: 0,
        cas: 0,
        cas_new: 0,
        delta: 1,
        initial: 0,
        mode: 0,
    };

    /// Whether a flag is there, by its letter.
    pub const fn has(&self, letter: u8) -> bool {
        self.letters & bit(letter) != 0
    }

    /// `b`: the key is base64 on the wire.
    pub const fn is_key_base64(&self) -> bool {
        self.has(b'b')
    }

    /// `q`: leave out the answer that says nothing new.
    pub const fn is_quiet(&self) -> bool {
        self.has(b'q')
    }

    /// `v`: return the value.
    pub const fn wants_value(&self) -> bool {
        self.has(b'v')
    }

    /// `v`, unless `C` says that the client has the value with this CAS number already (`mg`).
    pub fn wants_value_of(&self, cas: Cas) -> bool {
        self.wants_value() && self.compare() != Some(cas)
    }

    /// `u`: do not count this as a use of the item.
    pub const fn is_no_bump(&self) -> bool {
        self.has(b'u')
    }

    /// `I`: mark as stale (`md`), or take a lower CAS number and store as stale (`ms`).
    pub const fn is_invalidate(&self) -> bool {
        self.has(b'I')
    }

    /// `x`: remove the value and leave the item (`md`).
    pub const fn is_remove_value(&self) -> bool {
        self.has(b'x')
    }

    /// `T`: the life span to set.
    pub fn ttl(&self) -> Option<Ttl> {
        self.has(b'T').then_some(self.ttl)
    }

    /// `N`: create the item where there is none, with this life span.
    pub fn vivify(&self) -> Option<Ttl> {
        self.has(b'N').then_some(self.vivify)
    }

    /// `R`: hand out a recache token if less than this is left of the item's life.
    pub fn recache(&self) -> Option<Ttl> {
        self.has(b'R').then_some(self.recache)
    }

    /// `F`: the client flags to store; 0 without it.
    pub const fn client_flags(&self) -> ItemFlags {
        ItemFlags(self.client_flags)
    }

    /// `C`: the CAS number to compare.
    pub fn compare(&self) -> Option<Cas> {
        self.has(b'C').then_some(Cas(self.cas))
    }

    /// `E`: the CAS number to give to the item.
    pub fn explicit_cas(&self) -> Option<Cas> {
        self.has(b'E').then_some(Cas(self.cas_new))
    }

    /// `D`: by how much to count; 1 without it.
    pub const fn delta(&self) -> u64 {
        self.delta
    }

    /// `J`: where to start counting on an item that `N` creates; 0 without it.
    pub const fn initial(&self) -> u64 {
        self.initial
    }

    /// `M` of `ma`: which way to count; up without it. (The parser has refused other letters.)
    pub const fn direction(&self) -> Arith {
        match self.mode {
            b'D' | b'-' => Arith::Decr,
            _ => Arith::Incr,
        }
    }

    /// `O`: the opaque token without its letter.
    pub const fn opaque(&self) -> Option<&'a [u8]> {
        if self.has(b'O') { Some(self.opaque) } else { None }
    }

    /// The flags one by one, as they stand on the line.
    pub fn tokens(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        Tokens(self.tokens)
    }

    /// Whether any of the letters of `mask` is there.
    pub(crate) const fn has_any(&self, mask: u64) -> bool {
        self.letters & mask != 0
    }

    /// Reads the flags of a line and decodes the key where they ask for it.
    fn read(
        key: &'a [u8],
        tokens: Tokens<'a>,
        scratch: &'a mut Scratch,
    ) -> Result<Meta<'a>, &'static str> {
        if key.len() > Key::LEN_MAX {
            return Err(BAD_FORMAT);
        }
        let mut flags = Self { tokens: tokens.rest(), ..Self::NONE };
        let mut mistake = None;
        let mut decoded = None;
        for token in tokens {
            let (letter, arg) = (token[0], &token[1..]);
            if flags.has(letter) {
                return Err("CLIENT_ERROR duplicate flag");
            }
            flags.letters |= bit(letter);
            let ok = match letter {
                b'b' | b'c' | b'f' | b'h' | b'k' | b'l' | b'q' | b's' | b't' | b'u' | b'v'
                | b'x' | b'I' | b'L' | b'P' => true,
                b'O' => {
                    flags.opaque = arg;
                    true
                }
                // Only the first letter of the mode counts; without one the line goes on with
                // what can be no mode.
                b'M' => {
                    flags.mode = *arg.first().unwrap_or(&b' ');
                    true
                }
                b'T' => put(&mut flags.ttl, ttl(arg)),
                b'N' => put(&mut flags.vivify, ttl(arg)),
                b'R' => put(&mut flags.recache, ttl(arg)),
                b'C' => put(&mut flags.cas, some(arg).and_then(number::u64_strict)),
                b'E' => put(&mut flags.cas_new, some(arg).and_then(number::u64_strict)),
                b'F' => put(&mut flags.client_flags, some(arg).and_then(number::u32_strict)),
                b'D' => put(&mut flags.delta, some(arg).and_then(number::u64_strict)),
                b'J' => put(&mut flags.initial, some(arg).and_then(number::u64_strict)),
                _ => return Err("CLIENT_ERROR invalid flag"),
            };
            if !ok {
                // A later mistake is reported in place of an earlier one, but a bad `F` is silent
                // beside any other.
                mistake = Some(match letter {
                    b'F' => mistake.unwrap_or(BAD_FORMAT),
                    b'D' => "CLIENT_ERROR invalid numeric delta value",
                    b'J' => "CLIENT_ERROR invalid numeric initial value",
                    _ => BAD_TOKEN,
                });
            }
            if letter == b'b' {
                decoded = base64::decode(key, &mut scratch.key);
                if decoded.is_none() {
                    mistake = Some("CLIENT_ERROR error decoding key");
                }
            }
        }
        if let Some(line) = mistake {
            return Err(line);
        }
        let key = decoded.map_or(key, |len| &scratch.key[..len]);
        Ok(Meta { key: Key::binary(key).map_err(|_| BAD_FORMAT)?, flags })
    }

    /// The opaque token is checked last, and before anything is done. (memcached finds it when it
    /// writes the answer, and an `ma` has counted by then.)
    const fn has_long_opaque(&self) -> bool {
        self.has(b'O') && self.opaque.len() + 1 > META_OPAQUE_LEN_MAX
    }
}

/// `mg key flags*`.
pub(crate) fn get<'a>(tokens: Tokens<'a>, scratch: &'a mut Scratch) -> Parsed<'a> {
    simple(tokens, scratch, Request::MetaGet)
}

/// `md key flags*`.
pub(crate) fn delete<'a>(tokens: Tokens<'a>, scratch: &'a mut Scratch) -> Parsed<'a> {
    simple(tokens, scratch, Request::MetaDelete)
}

/// `ma key flags*`.
pub(crate) fn arith<'a>(mut tokens: Tokens<'a>, scratch: &'a mut Scratch) -> Parsed<'a> {
    let Some((key, n_flags)) = key_before_flags(&mut tokens) else {
        return Parsed::bad_format();
    };
    let Ok(meta) = read(key, tokens, 2 + n_flags, scratch) else {
        return Parsed::malformed("CLIENT_ERROR invalid or duplicate flag", false);
    };
    match meta.flags.mode {
        0 | b'I' | b'+' | b'D' | b'-' if meta.flags.has_long_opaque() => {
            Parsed::malformed(BAD_OPAQUE, false)
        }
        0 | b'I' | b'+' | b'D' | b'-' => Parsed::request(Request::MetaArith(meta), false),
        _ => Parsed::malformed("CLIENT_ERROR invalid mode for ma M token", false),
    }
}

/// `ms key datalen flags*`.
pub(crate) fn set<'a>(mut tokens: Tokens<'a>, scratch: &'a mut Scratch) -> Parsed<'a> {
    let (key, len) = match (tokens.next(), tokens.next()) {
        (Some(key), Some(len)) => (key, len),
        // A word alone is a key whose command is not complete, and no value follows; a number alone
        // may be the length, after a key that is empty.
        (Some(key), None) if classic::value_len(key).is_none() => return Parsed::bad_format(),
        _ => return Parsed::unbounded(),
    };
    let Some(len) = classic::value_len(len) else {
        return Parsed::unbounded();
    };
    let swallow = |line| Parsed::Malformed { line, noreply: false, swallow: len + 2 };
    let Some(n_flags) = survey(tokens, 3) else {
        return swallow(BAD_FORMAT);
    };
    let meta = match read(key, tokens, 3 + n_flags, scratch) {
        Ok(meta) => meta,
        Err(line) => return swallow(line),
    };
    let mode = match meta.flags.mode {
        0 | b'S' => StoreMode::Set,
        b'E' => StoreMode::Add,
        b'A' => StoreMode::Append,
        b'P' => StoreMode::Prepend,
        b'R' => StoreMode::Replace,
        _ => return swallow("CLIENT_ERROR invalid mode for ms M token"),
    };
    if meta.flags.has_long_opaque() {
        return swallow(BAD_OPAQUE);
    }
    let request = MetaSet { meta, mode, value: Value::Reserved(len) };
    Parsed::request(Request::MetaSet(request), false)
}

/// `me key [b]`.
///
/// The document says that `b` makes the key base64; memcached 1.6.45 looks for it only when a
/// fourth token follows, which is a slip of its counting. Here `b` works as documented.
pub(crate) fn debug<'a>(mut tokens: Tokens<'a>, scratch: &'a mut Scratch) -> Parsed<'a> {
    let Some((key, _)) = key_before_flags(&mut tokens) else {
        return Parsed::bad_format();
    };
    if key.len() > Key::LEN_MAX {
        return Parsed::bad_format();
    }
    let key = if tokens.next() == Some(b"b") {
        match base64::decode(key, &mut scratch.key) {
            Some(len) => &scratch.key[..len],
            None => return Parsed::bad_format(),
        }
    } else {
        key
    };
    match Key::binary(key) {
        Ok(key) => Parsed::request(Request::MetaDebug(key), false),
        Err(_) => Parsed::bad_format(),
    }
}

fn simple<'a>(
    mut tokens: Tokens<'a>,
    scratch: &'a mut Scratch,
    request: fn(Meta<'a>) -> Request<'a>,
) -> Parsed<'a> {
    let Some((key, n_flags)) = key_before_flags(&mut tokens) else {
        return Parsed::bad_format();
    };
    match read(key, tokens, 2 + n_flags, scratch) {
        Ok(meta) if meta.flags.has_long_opaque() => Parsed::malformed(BAD_OPAQUE, false),
        Ok(meta) => Parsed::request(request(meta), false),
        Err(line) => Parsed::malformed(line, false),
    }
}

/// The key, if there is one and what follows it can be flags, and how many there are.
fn key_before_flags<'a>(tokens: &mut Tokens<'a>) -> Option<(&'a [u8], usize)> {
    let key = tokens.next()?;
    Some((key, survey(*tokens, 2)?))
}

/// Counts the flags, behind `n_before` other tokens, if each starts with a byte that some flag
/// could start with. A line with another is refused as a whole, before its length field is heeded.
fn survey(tokens: Tokens<'_>, n_before: usize) -> Option<usize> {
    let mut n_flags = 0;
    let mut is_between = true;
    for byte in tokens.rest() {
        if *byte == b' ' {
            is_between = true;
        } else if is_between {
            is_between = false;
            let is_seen = n_flags < TOKENS_INDEXED_MAX - n_before;
            if is_seen && !matches!(byte, b'A'..=b'z' | b'0'..=b'9') {
                return None;
            }
            n_flags += 1;
        }
    }
    Some(n_flags)
}

/// Reads the flags of a line of so many tokens.
fn read<'a>(
    key: &'a [u8],
    tokens: Tokens<'a>,
    n_tokens: usize,
    scratch: &'a mut Scratch,
) -> Result<Meta<'a>, &'static str> {
    if key.len() <= Key::LEN_MAX && n_tokens > META_TOKENS_MAX {
        return Err("CLIENT_ERROR options flags are too long");
    }
    MetaFlags::read(key, tokens, scratch)
}

/// The bit of a flag's letter; none for what is no letter.
pub(crate) const fn bit(letter: u8) -> u64 {
    match letter {
        b'A'..=b'z' => 1 << (letter - b'A'),
        _ => 0,
    }
}

fn some(arg: &[u8]) -> Option<&[u8]> {
    (!arg.is_empty()).then_some(arg)
}

fn ttl(arg: &[u8]) -> Option<Ttl> {
    some(arg).and_then(number::i32_strict).map(Ttl::from_exptime)
}

/// Stores what was read; says whether there was anything.
fn put<T>(place: &mut T, read: Option<T>) -> bool {
    match read {
        Some(value) => {
            *place = value;
            true
        }
        None => false,
    }
}
