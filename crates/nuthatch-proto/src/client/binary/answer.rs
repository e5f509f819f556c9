//! Reading the frames of a server, knowing what was asked.

use nuthatch_types::{Cas, Deleted, ItemFlags, Stored};

use super::Asked;
use crate::binary::{HEADER_LEN, Header, RESPONSE_MAGIC, Status, Verb};
use crate::client::Limits;
use crate::error::Error;
use crate::response::{ErrorKind, ErrorReply, Response};

/// An answer that is there in full.
#[derive(Debug)]
pub(super) struct Read<'a> {
    pub(super) response: Response<'a>,
    pub(super) status: Status,
    pub(super) cas: Cas,
    /// How many bytes it takes.
    pub(super) len: usize,
    /// Whether the request is answered with it.
    pub(super) is_last: bool,
}

/// The header that begins `input`, once it is there; it is known to be one.
pub(super) fn header(input: &[u8], limits: &Limits) -> Result<Option<Header>, Error> {
    let Some(header) = input.first_chunk::<HEADER_LEN>().map(Header::from_bytes) else {
        return Ok(None);
    };
    if header.magic != RESPONSE_MAGIC || header.lead_len() > header.body_len as usize {
        return Err(out_of_step(input));
    }
    if header.value_len() > limits.value_bytes_max {
        let limit = limits.value_bytes_max;
        return Err(Error::ValueTooLong { len: header.value_len(), limit });
    }
    Ok(Some(header))
}

/// Reads the answer that begins `input`, if all of it is there.
pub(super) fn read<'a>(
    asked: Asked,
    input: &'a [u8],
    limits: &Limits,
) -> Result<Option<Read<'a>>, Error> {
    let Some(header) = header(input, limits)? else { return Ok(None) };
    if header.opcode != asked.opcode.byte() {
        return Err(out_of_step(input));
    }
    let len = HEADER_LEN + header.body_len as usize;
    let Some(body) = input.get(HEADER_LEN..len) else { return Ok(None) };
    let (extras, body) = body.split_at(header.extras_len.into());
    let (key, value) = body.split_at(header.key_len.into());
    let (status, cas) = (Status(header.status), Cas(header.cas));
    let verb = asked.opcode.verb;
    let response = match status {
        Status::OK => success(verb, extras, key, value, cas),
        _ => Some(failure(asked, status).unwrap_or_else(|| match status {
            Status::AUTH_CONTINUE => Response::Line(value),
            _ => Response::Error(ErrorReply { kind: blame(status), text: value }),
        })),
    };
    let response = response.ok_or_else(|| out_of_step(input))?;
    let is_last = match response {
        Response::Stat { .. } => false,
        Response::Config { .. } => verb != Verb::ConfigList,
        _ => true,
    };
    Ok(Some(Read { response, status, cas, len, is_last }))
}

/// `None` where the body is not what such an answer has.
fn success<'a>(
    verb: Verb,
    extras: &'a [u8],
    key: &'a [u8],
    value: &'a [u8],
    cas: Cas,
) -> Option<Response<'a>> {
    Some(match verb {
        Verb::Get | Verb::GetK | Verb::Gat | Verb::GatK => {
            let flags = ItemFlags(u32::from_be_bytes(extras.try_into().ok()?));
            Response::Value { key, flags, cas: Some(cas), data: value }
        }
        Verb::Touch => Response::Touched(true),
        Verb::Set | Verb::Add | Verb::Replace | Verb::Append | Verb::Prepend => {
            Response::Stored(Stored::Stored)
        }
        Verb::Delete => Response::Deleted(Deleted::Deleted),
        Verb::Increment | Verb::Decrement => {
            Response::Number(Some(u64::from_be_bytes(value.try_into().ok()?)))
        }
        Verb::Stat if key.is_empty() => Response::End,
        Verb::Stat => Response::Stat { name: key, value },
        Verb::Version => Response::Version(value),
        Verb::Noop => Response::Noop,
        Verb::Flush => Response::Line(b"OK"),
        Verb::ConfigList if key.is_empty() => Response::End,
        Verb::ConfigGet | Verb::ConfigGetK | Verb::ConfigList => {
            let flags = ItemFlags(u32::from_be_bytes(extras.try_into().ok()?));
            Response::Config { name: key, flags, data: value }
        }
        Verb::ConfigSet => Response::Stored(Stored::Stored),
        Verb::ConfigDelete => Response::Deleted(Deleted::Deleted),
        Verb::Quit | Verb::SaslList | Verb::SaslAuth | Verb::SaslStep => Response::Line(value),
    })
}

fn is_store(verb: Verb) -> bool {
    matches!(verb, Verb::Set | Verb::Add | Verb::Replace | Verb::Append | Verb::Prepend)
}

fn is_arith(verb: Verb) -> bool {
    matches!(verb, Verb::Increment | Verb::Decrement)
}

/// What is a result, and no error.
fn failure(asked: Asked, status: Status) -> Option<Response<'static>> {
    let compares = asked.compares;
    Some(match (asked.opcode.verb, status) {
        (verb, Status::NOT_FOUND) if verb.is_retrieval() => Response::End,
        (Verb::Touch, Status::NOT_FOUND) => Response::Touched(false),
        (Verb::Delete | Verb::ConfigDelete, Status::NOT_FOUND) => {
            Response::Deleted(Deleted::NotFound)
        }
        (Verb::Delete, Status::EXISTS) => Response::Deleted(Deleted::Exists),
        (Verb::Increment | Verb::Decrement, Status::NOT_FOUND) => Response::Number(None),
        // What the text protocol calls "not stored".
        (Verb::Add, Status::EXISTS) | (Verb::Replace, Status::NOT_FOUND) if !compares => {
            Response::Stored(Stored::NotStored)
        }
        (verb, Status::NOT_FOUND) if is_store(verb) => Response::Stored(Stored::NotFound),
        (verb, Status::EXISTS) if is_store(verb) || is_arith(verb) => {
            Response::Stored(Stored::Exists)
        }
        (verb, Status::NOT_STORED) if is_store(verb) || is_arith(verb) => {
            Response::Stored(Stored::NotStored)
        }
        _ => return None,
    })
}

/// Whose fault an error is.
const fn blame(status: Status) -> ErrorKind {
    match status {
        Status::UNKNOWN_COMMAND => ErrorKind::Unknown,
        Status::TOO_LARGE => ErrorKind::Server,
        Status(0x80..) => ErrorKind::Server,
        _ => ErrorKind::Client,
    }
}

/// The error for bytes that answer nothing, with the beginning of them.
pub(super) fn out_of_step(input: &[u8]) -> Error {
    let shown = &input[..input.len().min(HEADER_LEN)];
    Error::OutOfStep { line: shown.escape_ascii().to_string() }
}
