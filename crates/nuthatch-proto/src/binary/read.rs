//! Frames in: from bytes to requests.

use nuthatch_types::{Arith, Cas, ItemFlags, Key, StoreMode, Ttl};

use super::header::{HEADER_LEN, Header, REQUEST_MAGIC};
use super::opcode::{Opcode, Verb};
use super::status::Status;
use crate::admin::{Admin, Config, Detail, Stats};
use crate::error::ArgError;
use crate::request::{Count, Request, Sasl, Set, Value};

/// An exptime of `incr` and `decr` that says: make no item.
const NO_INITIAL: u32 = u32::MAX;

/// What the bytes at hand are.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a caller must act on each of them")]
pub enum Frame<'a> {
    /// Not enough: so many bytes are needed.
    Need(usize),
    /// Not this protocol: close without an answer.
    Alien,
    /// A request, to be answered. If [`Request::value_len`] is not `None`, so many bytes of value
    /// follow.
    Request {
        /// The request; its value, if it has one, is still [`Value::Reserved`].
        request: Request<'a>,
        /// Its header.
        header: Header,
        /// What the header asks for.
        opcode: Opcode,
        /// How many bytes it takes without its value.
        len: usize,
    },
    /// Nothing is asked: say so.
    Noop(Header),
    /// Close, after an answer if the opcode is not quiet.
    Quit(Header, Opcode),
    /// A mistake: answer it when all of it has gone by.
    Refused {
        /// The header at fault.
        header: Header,
        /// What to answer.
        status: Status,
        /// Nobody knows what follows: close then.
        is_final: bool,
        /// How many bytes of it there are.
        len: usize,
    },
}

/// What an answer repeats of its request, or depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) opcode: u8,
    /// `None` where the opcode has no meaning.
    pub(crate) verb: Option<Verb>,
    pub(crate) quiet: bool,
    /// A CAS number was given.
    pub(crate) compares: bool,
    pub(crate) opaque: u32,
}

impl Head {
    pub(crate) const fn new(header: &Header, opcode: Opcode) -> Self {
        Self {
            opcode: header.opcode,
            verb: Some(opcode.verb),
            quiet: opcode.quiet,
            compares: header.cas != 0,
            opaque: header.opaque,
        }
    }

    /// Of a frame that is refused.
    pub(crate) const fn refused(header: &Header) -> Self {
        Self {
            opcode: header.opcode,
            verb: None,
            quiet: false,
            compares: false,
            opaque: header.opaque,
        }
    }
}

/// Reads the frame that begins `input`. On a server that asks for a login, a stranger
/// `needs_login`.
///
/// ```
/// use nuthatch_proto::Request;
/// use nuthatch_proto::binary::{Frame, parse_frame};
///
/// let mut bytes = [0; 29];
/// bytes[0] = 0x80;
/// bytes[3] = 5;
/// bytes[11] = 5;
/// bytes[24..].copy_from_slice(b"apple");
/// let Frame::Request { request: Request::GetOne { key, .. }, len, .. } =
///     parse_frame(&bytes, false)
/// else {
///     unreachable!()
/// };
/// assert_eq!((key.as_bytes(), len), (&b"apple"[..], 29));
/// assert!(matches!(parse_frame(&bytes[..28], false), Frame::Need(29)));
/// ```
pub fn parse_frame(input: &[u8], needs_login: bool) -> Frame<'_> {
    // memcached waits for the whole header. Who speaks another protocol waits for an answer then.
    if input.first().is_some_and(|magic| *magic != REQUEST_MAGIC) {
        return Frame::Alien;
    }
    let Some((header, behind)) = input.split_first_chunk::<HEADER_LEN>() else {
        return Frame::Need(HEADER_LEN);
    };
    let header = Header::from_bytes(header);
    let len = HEADER_LEN + header.lead_len();
    let opcode = match header.opcode(needs_login) {
        Ok(opcode) => opcode,
        Err(refusal) => {
            // Where the next frame begins is known only if this one's lengths are right.
            let len = if refusal.is_final { len } else { HEADER_LEN + header.body_len as usize };
            let (status, is_final) = (refusal.status, refusal.is_final);
            return Frame::Refused { header, status, is_final, len };
        }
    };
    let Some(lead) = behind.get(..header.lead_len()) else {
        return Frame::Need(len);
    };
    let (extras, key) = lead.split_at(header.extras_len.into());
    match opcode.verb {
        Verb::Noop => return Frame::Noop(header),
        Verb::Quit => return Frame::Quit(header, opcode),
        _ => {}
    }
    match request(&header, opcode.verb, extras, key) {
        Some(request) => Frame::Request { request, header, opcode, len },
        None => {
            debug_assert!(false, "the header's lengths have been checked");
            Frame::Refused { header, status: Status::INVALID_ARGUMENTS, is_final: true, len }
        }
    }
}

/// The key of a frame of which all but the value is there.
pub(crate) fn key_of(frame: &[u8]) -> Option<&[u8]> {
    let (header, behind) = frame.split_first_chunk()?;
    let header = Header::from_bytes(header);
    behind.get(header.extras_len.into()..header.lead_len())
}

/// The request that a header, its extras and its key are. `None` where their lengths are wrong.
fn request<'a>(
    header: &Header,
    verb: Verb,
    extras: &'a [u8],
    key_bytes: &'a [u8],
) -> Option<Request<'a>> {
    let value = Value::Reserved(header.value_len());
    let cas = (header.cas != 0).then_some(Cas(header.cas));
    let key = || Key::binary(key_bytes).ok();
    let store =
        |mode, flags, ttl| Some(Request::Set(Set { key: key()?, mode, flags, ttl, cas, value }));
    Some(match verb {
        Verb::Get | Verb::GetK => Request::GetOne { key: key()?, touch: None },
        Verb::Gat | Verb::GatK => {
            Request::GetOne { key: key()?, touch: Some(ttl(number(extras)?)) }
        }
        Verb::Touch => Request::Touch { key: key()?, ttl: ttl(number(extras)?) },
        Verb::Set | Verb::Add | Verb::Replace => {
            let mode = match (verb, cas) {
                (Verb::Set, _) => StoreMode::Set,
                // With a number, all three ask for the item that has it.
                (Verb::Replace, _) | (_, Some(_)) => StoreMode::Replace,
                _ => StoreMode::Add,
            };
            let (flags, exptime) = extras.split_first_chunk()?;
            store(mode, ItemFlags(u32::from_be_bytes(*flags)), ttl(number(exptime)?))?
        }
        Verb::Append => store(StoreMode::Append, ItemFlags(0), Ttl::NEVER)?,
        Verb::Prepend => store(StoreMode::Prepend, ItemFlags(0), Ttl::NEVER)?,
        Verb::Delete => match cas {
            None => Request::Delete(key()?),
            Some(cas) => Request::DeleteIf { key: key()?, cas },
        },
        Verb::Increment | Verb::Decrement => {
            let (delta, rest) = extras.split_first_chunk()?;
            let (initial, exptime) = rest.split_first_chunk()?;
            let exptime = number(exptime)?;
            Request::Count(Count {
                key: key()?,
                direction: if verb == Verb::Increment { Arith::Incr } else { Arith::Decr },
                delta: u64::from_be_bytes(*delta),
                initial: (exptime != NO_INITIAL)
                    .then(|| (u64::from_be_bytes(*initial), ttl(exptime))),
                cas,
            })
        }
        Verb::Flush => {
            let delay = number(extras).filter(|&exptime| exptime != 0).map(ttl);
            Request::Admin(Admin::FlushAll(Ok(delay)))
        }
        Verb::Stat => Request::Admin(Admin::Stats(stats(key_bytes))),
        Verb::Version => Request::Admin(Admin::Version),
        Verb::SaslList => Request::Sasl(Sasl::List),
        Verb::SaslAuth => Request::Sasl(Sasl::Auth { mechanism: key_bytes, data: value }),
        Verb::SaslStep => Request::Sasl(Sasl::Step { mechanism: key_bytes, data: value }),
        Verb::ConfigGet | Verb::ConfigGetK => {
            Request::Admin(Admin::Config(Config::Get(Some(key()?))))
        }
        Verb::ConfigList => Request::Admin(Admin::Config(Config::Get(None))),
        Verb::ConfigSet => {
            let flags = ItemFlags(number(extras)?);
            Request::Admin(Admin::Config(Config::Set { name: key()?, flags, value }))
        }
        Verb::ConfigDelete => Request::Admin(Admin::Config(Config::Delete(key()?))),
        // These are no requests.
        Verb::Noop | Verb::Quit => return None,
    })
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// What an exptime means. It has no sign here: what is −1 in the text protocol is a moment in
/// 2106.
fn ttl(exptime: u32) -> Ttl {
    match i32::try_from(exptime) {
        Ok(exptime) => Ttl::from_exptime(exptime),
        Err(_) => Ttl::at_unix(exptime.into()),
    }
}

/// What statistics are meant. As in memcached some words are known by their beginning and others
/// have to be exact, and the dumps and lists of the text protocol are not to be had.
fn stats(word: &[u8]) -> Stats<'_> {
    // Any error is answered with "not found".
    const USAGE: ArgError = ArgError::new("CLIENT_ERROR usage: stats detail on|off|dump");
    match word {
        b"" => Stats::General,
        b"items" => Stats::Items,
        b"slabs" => Stats::Slabs,
        b"sizes" => Stats::Sizes,
        _ if word.starts_with(b"reset") => Stats::Reset,
        _ if word.starts_with(b"settings") => Stats::Settings,
        _ => match word.strip_prefix(b"detail") {
            Some(what) if what.starts_with(b" dump") => Stats::Detail(Ok(Detail::Dump)),
            Some(what) if what.starts_with(b" on") => Stats::Detail(Ok(Detail::On)),
            Some(what) if what.starts_with(b" off") => Stats::Detail(Ok(Detail::Off)),
            Some(_) => Stats::Detail(Err(USAGE)),
            None => Stats::Other(word),
        },
    }
}
