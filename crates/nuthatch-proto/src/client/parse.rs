//! Reading answers, knowing what was asked.

use nuthatch_types::{Cas, Deleted, ItemFlags, Stored};

use super::Limits;
use crate::error::Error;
use crate::response::{ErrorReply, MetaResponse, Response};
use crate::server::MetaStatus;
use crate::text::encode::CRLF;
use crate::text::{Tokens, number};

/// What kind of answer a request is waiting for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Expect {
    Retrieval,
    Stored,
    Deleted,
    Touched,
    Number,
    /// With the connection's own opaque token if the command is quiet.
    Meta {
        quiet: Option<u32>,
    },
    Noop,
    Debug,
    Version,
    Stats,
    Dump,
    Config,
    Line,
}

/// How much of the input an answer is.
#[derive(Debug, PartialEq)]
pub(super) enum Read<'a> {
    /// All of it is there.
    Whole {
        response: Response<'a>,
        /// How many bytes it takes.
        len: usize,
        /// Whether the request is answered with it.
        is_last: bool,
    },
    /// So many bytes are needed before it is worth looking again.
    Need(usize),
}

/// Reads the answer that begins `input`, whose first line has `line_len` bytes, line end included.
pub(super) fn answer<'a>(
    expect: Expect,
    input: &'a [u8],
    line_len: usize,
    limits: &Limits,
) -> Result<Read<'a>, Error> {
    let line = trim_end(&input[..line_len]);
    // Values of many keys are what most answers are made of.
    if expect == Expect::Retrieval
        && let Some((key, flags, len, cas)) = value_line(line)
    {
        let data = match data(input, line_len, len, limits)? {
            Ok(data) => data,
            Err(need) => return Ok(Read::Need(need)),
        };
        let response = Response::Value { key, flags, cas, data };
        return Ok(Read::Whole { response, len: line_len + len + CRLF.len(), is_last: false });
    }
    let whole = |response, is_last| Ok(Read::Whole { response, len: line_len, is_last });
    let out_of_step = || Err(out_of_step(line));
    if let Some(error) = ErrorReply::read(line) {
        return whole(Response::Error(error), true);
    }
    let (word, rest) = line.split_at(memchr::memchr(b' ', line).unwrap_or(line.len()));
    let mut args = Tokens(rest);
    // A header line, and `len` bytes of data and a line end after it.
    let with_data = |len: usize, is_last, response: &dyn Fn(&'a [u8]) -> Response<'a>| {
        Ok(match data(input, line_len, len, limits)? {
            Ok(data) => {
                Read::Whole { response: response(data), len: line_len + len + CRLF.len(), is_last }
            }
            Err(need) => Read::Need(need),
        })
    };
    match (expect, word) {
        (Expect::Retrieval, b"VALUE") => {
            let mut header = || {
                let key = args.next()?;
                let flags = ItemFlags(number::u32_strict(args.next()?)?);
                let len = length(args.next()?)?;
                let cas = match args.next() {
                    Some(cas) => Some(Cas(number::u64_strict(cas)?)),
                    None => None,
                };
                Some((key, flags, len, cas))
            };
            let Some((key, flags, len, cas)) = header() else {
                return out_of_step();
            };
            with_data(len, false, &|data| Response::Value { key, flags, cas, data })
        }
        (Expect::Config, b"CONFIG") => {
            let (name, flags, len) = (args.next(), args.next(), args.next().and_then(length));
            let flags = flags.and_then(number::u32_strict).map(ItemFlags);
            let (Some(name), Some(flags), Some(len)) = (name, flags, len) else {
                return out_of_step();
            };
            with_data(len, false, &|data| Response::Config { name, flags, data })
        }
        (Expect::Meta { .. }, b"VA") => {
            let Some(len) = args.next().and_then(length) else {
                return out_of_step();
            };
            let flags = args.rest();
            with_data(len, true, &|data| {
                Response::Meta(MetaResponse::new(MetaStatus::Done, Some(data), flags))
            })
        }
        (Expect::Meta { .. }, _) => match meta_status(word) {
            Some(status) => whole(Response::Meta(MetaResponse::new(status, None, rest)), true),
            None => out_of_step(),
        },
        (Expect::Stats, b"STAT") => match args.next() {
            Some(name) => {
                let value = args.rest();
                let value = value.strip_prefix(b" ").unwrap_or(value);
                whole(Response::Stat { name, value }, false)
            }
            None => out_of_step(),
        },
        (Expect::Retrieval | Expect::Config | Expect::Stats | Expect::Dump, b"END")
        | (Expect::Dump, b"EN") => whole(Response::End, true),
        (Expect::Retrieval | Expect::Config, _) => out_of_step(),
        // `stats reset`, `stats detail on`; else `ITEM` and `PREFIX` lines.
        (Expect::Stats, b"RESET" | b"OK") => whole(Response::Line(line), true),
        (Expect::Stats, b"ITEM" | b"PREFIX") => whole(Response::Line(line), false),
        // Newer servers say `OK` before a dump.
        (Expect::Dump, b"OK" | b"mg") => whole(Response::Line(line), false),
        (Expect::Dump, word) if word.starts_with(b"key=") => whole(Response::Line(line), false),
        (Expect::Dump | Expect::Line, _) => whole(Response::Line(line), true),
        (Expect::Debug, b"EN") => whole(Response::Debug(None), true),
        (Expect::Debug, b"ME") => {
            args.next();
            let facts = args.rest();
            let facts = facts.strip_prefix(b" ").unwrap_or(facts);
            whole(Response::Debug(Some(facts)), true)
        }
        (Expect::Version, b"VERSION") => whole(Response::Version(rest.trim_ascii_start()), true),
        (Expect::Noop, b"MN") => whole(Response::Noop, true),
        (Expect::Number, b"NOT_FOUND") => whole(Response::Number(None), true),
        // A shorter number may be padded with spaces.
        (Expect::Number, _) => match number::u64_strict(line.trim_ascii_end()) {
            Some(number) if !line.is_empty() => whole(Response::Number(Some(number)), true),
            _ => out_of_step(),
        },
        (expect, _) => match status(expect, line) {
            Some(response) => whole(response, true),
            None => out_of_step(),
        },
    }
}

/// The data behind a header line, or how many bytes of the input are needed to have them.
fn data<'a>(
    input: &'a [u8],
    line_len: usize,
    len: usize,
    limits: &Limits,
) -> Result<Result<&'a [u8], usize>, Error> {
    if len > limits.value_bytes_max {
        return Err(Error::ValueTooLong { len, limit: limits.value_bytes_max });
    }
    let end = line_len + len;
    match input.get(end..end + CRLF.len()) {
        None => Ok(Err(end + CRLF.len())),
        Some(CRLF) => Ok(Ok(&input[line_len..end])),
        Some(_) => Err(out_of_step(trim_end(&input[..line_len]))),
    }
}

/// The header of a value as servers write it. For one that is only nearly so there is the long way.
fn value_line(line: &[u8]) -> Option<(&[u8], ItemFlags, usize, Option<Cas>)> {
    let rest = line.strip_prefix(b"VALUE ")?;
    let key_len = memchr::memchr(b' ', rest).filter(|len| *len > 0)?;
    let (key, rest) = rest.split_at(key_len);
    let (flags, rest) = short_number(rest)?;
    let (len, rest) = short_number(rest)?;
    let len = u32::try_from(len).ok()?;
    let cas = match rest {
        [] => None,
        rest => match short_number(rest)? {
            (cas, []) => Some(Cas(cas)),
            _ => return None,
        },
    };
    Some((key, ItemFlags(u32::try_from(flags).ok()?), usize::try_from(len).ok()?, cas))
}

/// A space and a number of so few digits that it fits, and what follows it.
fn short_number(text: &[u8]) -> Option<(u64, &[u8])> {
    const LEN_MAX: usize = 19;
    let digits = text.strip_prefix(b" ")?;
    let len = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let is_alone = matches!(digits.get(len), None | Some(b' '));
    if len == 0 || len > LEN_MAX || !is_alone {
        return None;
    }
    let (digits, rest) = digits.split_at(len);
    Some((digits.iter().fold(0, |number, digit| 10 * number + u64::from(digit - b'0')), rest))
}

fn status(expect: Expect, line: &[u8]) -> Option<Response<'static>> {
    Some(match (expect, line) {
        (Expect::Stored, b"STORED") => Response::Stored(Stored::Stored),
        (Expect::Stored, b"NOT_STORED") => Response::Stored(Stored::NotStored),
        (Expect::Stored, b"EXISTS") => Response::Stored(Stored::Exists),
        (Expect::Stored, b"NOT_FOUND") => Response::Stored(Stored::NotFound),
        (Expect::Deleted, b"DELETED") => Response::Deleted(Deleted::Deleted),
        (Expect::Deleted, b"NOT_FOUND") => Response::Deleted(Deleted::NotFound),
        (Expect::Touched, b"TOUCHED") => Response::Touched(true),
        (Expect::Touched, b"NOT_FOUND") => Response::Touched(false),
        _ => return None,
    })
}

fn meta_status(word: &[u8]) -> Option<MetaStatus> {
    Some(match word {
        b"HD" => MetaStatus::Done,
        b"EN" => MetaStatus::Miss,
        b"NF" => MetaStatus::NotFound,
        b"NS" => MetaStatus::NotStored,
        b"EX" => MetaStatus::Exists,
        _ => return None,
    })
}

fn length(token: &[u8]) -> Option<usize> {
    usize::try_from(number::u32_strict(token)?).ok()
}

pub(super) fn trim_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The error for a line that answers nothing, with the beginning of it.
pub(super) fn out_of_step(line: &[u8]) -> Error {
    const SHOWN_LEN_MAX: usize = 80;
    let shown = &line[..line.len().min(SHOWN_LEN_MAX)];
    Error::OutOfStep { line: shown.escape_ascii().to_string() }
}
