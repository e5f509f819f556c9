//! How an answer says what became of a request.

use crate::error::{NO_MEMORY_READING, TOO_LARGE, UNKNOWN};

use super::opcode::Verb;

/// The status of an answer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a number with a name; other servers have others")]
pub struct Status(pub u16);

impl Status {
    /// Done.
    pub const OK: Self = Self(0x00);
    /// There is no such item.
    pub const NOT_FOUND: Self = Self(0x01);
    /// There is an item already, or its CAS number is another.
    pub const EXISTS: Self = Self(0x02);
    /// The value is too large.
    pub const TOO_LARGE: Self = Self(0x03);
    /// Lengths that do not go with the opcode.
    pub const INVALID_ARGUMENTS: Self = Self(0x04);
    /// The condition of the command did not hold.
    pub const NOT_STORED: Self = Self(0x05);
    /// The value is not a number.
    pub const NON_NUMERIC: Self = Self(0x06);
    /// Not without a login, or not at all.
    pub const AUTH_ERROR: Self = Self(0x20);
    /// The login goes on: the value is a challenge.
    pub const AUTH_CONTINUE: Self = Self(0x21);
    /// The server does not know the opcode.
    pub const UNKNOWN_COMMAND: Self = Self(0x81);
    /// The server has no memory for it.
    pub const OUT_OF_MEMORY: Self = Self(0x82);
    /// The server could not, for another reason; memcached itself never says so.
    pub const INTERNAL_ERROR: Self = Self(0x84);

    /// What memcached writes in the value of such an answer.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NOT_FOUND => "Not found",
            Self::EXISTS => "Data exists for key.",
            Self::TOO_LARGE => "Too large.",
            Self::INVALID_ARGUMENTS => "Invalid arguments",
            Self::NOT_STORED => "Not stored.",
            Self::NON_NUMERIC => "Non-numeric server-side value for incr or decr",
            Self::AUTH_ERROR => "Auth failure.",
            Self::UNKNOWN_COMMAND => "Unknown command",
            Self::OUT_OF_MEMORY => "Out of memory",
            Self::INTERNAL_ERROR => "Internal error",
            _ => "",
        }
    }
}

/// Why a frame is not a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) status: Status,
    /// Nobody knows what follows it: the connection ends.
    pub(crate) is_final: bool,
}

/// The status and the text for what the text protocol says with an error line.
pub(crate) fn refusal(verb: Option<Verb>, line: &str) -> (Status, &str) {
    let plain = |status: Status| (status, status.text());
    let memory = |text| (Status::OUT_OF_MEMORY, text);
    match line {
        "SERVER_ERROR out of memory storing object" => memory("Out of memory allocating item"),
        "SERVER_ERROR out of memory" => memory("Out of memory incrementing value"),
        NO_MEMORY_READING => memory("Out of memory during read"),
        // Statistics are there or they are not.
        _ if verb == Some(Verb::Stat) => plain(Status::NOT_FOUND),
        UNKNOWN => plain(Status::UNKNOWN_COMMAND),
        TOO_LARGE => plain(Status::TOO_LARGE),
        "CLIENT_ERROR cannot increment or decrement non-numeric value" => {
            plain(Status::NON_NUMERIC)
        }
        "CLIENT_ERROR flush_all not allowed" | "CLIENT_ERROR authentication failure" => {
            plain(Status::AUTH_ERROR)
        }
        _ => match (line.strip_prefix("SERVER_ERROR "), line.strip_prefix("CLIENT_ERROR ")) {
            (Some(text), _) if text.to_ascii_lowercase().starts_with("out of memory") => {
                memory(text)
            }
            (Some(text), _) => (Status::INTERNAL_ERROR, text),
            (_, Some(text)) => (Status::INVALID_ARGUMENTS, text),
            _ => (Status::INTERNAL_ERROR, line),
        },
    }
}

/// The status for what the text protocol says with a status line, and what of it goes in the
/// value.
pub(crate) fn outcome(line: &str) -> (Status, &str) {
    match line {
        "STORED" | "DELETED" | "TOUCHED" | "OK" | "RESET" => (Status::OK, ""),
        "NOT_FOUND" => (Status::NOT_FOUND, Status::NOT_FOUND.text()),
        "EXISTS" => (Status::EXISTS, Status::EXISTS.text()),
        "NOT_STORED" => (Status::NOT_STORED, Status::NOT_STORED.text()),
        _ => (Status::OK, line.strip_prefix("VERSION ").unwrap_or(line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_lines_have_a_status() {
        for (line, status, text) in [
            ("ERROR", 0x81, "Unknown command"),
            ("SERVER_ERROR object too large for cache", 3, "Too large."),
            ("SERVER_ERROR out of memory storing object", 0x82, "Out of memory allocating item"),
            ("SERVER_ERROR Out of memory during read", 0x82, "Out of memory during read"),
            ("SERVER_ERROR out of memory", 0x82, "Out of memory incrementing value"),
            (
                "SERVER_ERROR Out of memory allocating new item",
                0x82,
                "Out of memory allocating new item",
            ),
            (
                "CLIENT_ERROR cannot increment or decrement non-numeric value",
                6,
                "Non-numeric server-side value for incr or decr",
            ),
            ("CLIENT_ERROR flush_all not allowed", 0x20, "Auth failure."),
            ("SERVER_ERROR no answer", 0x84, "no answer"),
            ("CLIENT_ERROR no such thing", 4, "no such thing"),
        ] {
            assert_eq!(refusal(Some(Verb::Set), line), (Status(status), text), "{line}");
        }
        assert_eq!(refusal(Some(Verb::Stat), "ERROR"), (Status(1), "Not found"));
        assert_eq!(refusal(Some(Verb::Stat), "SERVER_ERROR out of memory").0, Status(0x82));
    }
}
