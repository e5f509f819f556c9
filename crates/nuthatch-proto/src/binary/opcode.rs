//! What can be asked, and which lengths go with it.

use nuthatch_types::limits::{ITEM_SIZE_MAX, KEY_LEN_MAX};

use super::header::Header;
use super::status::{Refusal, Status};

/// What a request asks for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Verb {
    /// The value of an item.
    Get,
    /// The same, and its key.
    GetK,
    /// The value of an item, which gets a new life span.
    Gat,
    /// The same, and its key.
    GatK,
    /// A new life span for an item.
    Touch,
    /// Store.
    Set,
    /// Store where nothing is.
    Add,
    /// Store where something is.
    Replace,
    /// Put bytes behind a value.
    Append,
    /// Put bytes before a value.
    Prepend,
    /// Remove.
    Delete,
    /// Count up.
    Increment,
    /// Count down.
    Decrement,
    /// Flush everything, now or later.
    Flush,
    /// Statistics.
    Stat,
    /// The server's version.
    Version,
    /// Nothing; what was asked quietly before it is settled when it is answered.
    Noop,
    /// The end of the connection.
    Quit,
    /// The login mechanisms that the server offers.
    SaslList,
    /// The beginning of a login.
    SaslAuth,
    /// The next step of a login.
    SaslStep,
    /// A configuration of auto-discovery; memcached itself has none of these five.
    ConfigGet,
    /// The same, and its name.
    ConfigGetK,
    /// Store a configuration.
    ConfigSet,
    /// Remove a configuration.
    ConfigDelete,
    /// Every configuration.
    ConfigList,
}

/// A verb, and whether an answer that says nothing new is to be left out.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "a byte on the wire, taken apart")]
pub struct Opcode {
    /// What is asked.
    pub verb: Verb,
    /// Whether a miss of a retrieval, or the success of anything else, is left unsaid.
    pub quiet: bool,
}

/// The bytes of each verb, the quiet one second where there is one.
const BYTES: [(Verb, u8, Option<u8>); 26] = [
    (Verb::Get, 0x00, Some(0x09)),
    (Verb::GetK, 0x0c, Some(0x0d)),
    (Verb::Gat, 0x1d, Some(0x1e)),
    (Verb::GatK, 0x23, Some(0x24)),
    (Verb::Touch, 0x1c, None),
    (Verb::Set, 0x01, Some(0x11)),
    (Verb::Add, 0x02, Some(0x12)),
    (Verb::Replace, 0x03, Some(0x13)),
    (Verb::Append, 0x0e, Some(0x19)),
    (Verb::Prepend, 0x0f, Some(0x1a)),
    (Verb::Delete, 0x04, Some(0x14)),
    (Verb::Increment, 0x05, Some(0x15)),
    (Verb::Decrement, 0x06, Some(0x16)),
    (Verb::Flush, 0x08, Some(0x18)),
    (Verb::Stat, 0x10, None),
    (Verb::Version, 0x0b, None),
    (Verb::Noop, 0x0a, None),
    (Verb::Quit, 0x07, Some(0x17)),
    (Verb::SaslList, 0x20, None),
    (Verb::SaslAuth, 0x21, None),
    (Verb::SaslStep, 0x22, None),
    (Verb::ConfigGet, 0x60, Some(0x61)),
    (Verb::ConfigGetK, 0x62, Some(0x63)),
    (Verb::ConfigSet, 0x64, Some(0x65)),
    (Verb::ConfigDelete, 0x66, Some(0x67)),
    (Verb::ConfigList, 0x68, None),
];

/// How many bytes of opcode have a meaning.
const N_OPCODES: usize = 0x69;

/// The opcodes by their byte.
const OPCODES: [Option<Opcode>; N_OPCODES] = {
    let mut table = [None; N_OPCODES];
    let mut idx = 0;
    while idx < BYTES.len() {
        let (verb, loud, quiet) = BYTES[idx];
        table[loud as usize] = Some(Opcode { verb, quiet: false });
        if let Some(quiet) = quiet {
            table[quiet as usize] = Some(Opcode { verb, quiet: true });
        }
        idx += 1;
    }
    table
};

impl Opcode {
    /// The opcode of a byte. 0x1b, which other servers take as a setting of verbosity, has no
    /// meaning, as in memcached.
    pub fn from_byte(byte: u8) -> Option<Self> {
        OPCODES.get(usize::from(byte)).copied().flatten()
    }

    /// The byte of an opcode. A verb without a quiet form gives its only one.
    pub fn byte(self) -> u8 {
        let (_, loud, quiet) =
            BYTES.iter().find(|(verb, ..)| *verb == self.verb).expect("every verb has its bytes");
        if self.quiet { quiet.unwrap_or(*loud) } else { *loud }
    }
}

impl Verb {
    /// Whether items or a configuration are asked for, so that a miss is what a quiet form leaves
    /// out.
    pub const fn is_retrieval(self) -> bool {
        matches!(
            self,
            Self::Get | Self::GetK | Self::Gat | Self::GatK | Self::ConfigGet | Self::ConfigGetK
        )
    }

    /// Whether it belongs to auto-discovery.
    pub const fn is_config(self) -> bool {
        matches!(
            self,
            Self::ConfigGet
                | Self::ConfigGetK
                | Self::ConfigSet
                | Self::ConfigDelete
                | Self::ConfigList
        )
    }

    /// Whether the answer repeats the key.
    pub const fn returns_key(self) -> bool {
        matches!(self, Self::GetK | Self::GatK | Self::ConfigGetK | Self::ConfigList)
    }

    /// Whether who has not logged in yet may ask for it, where logging in is asked for.
    const fn is_for_strangers(self) -> bool {
        matches!(self, Self::SaslList | Self::SaslAuth | Self::SaslStep | Self::Version)
    }

    /// Whether extras of this length go with it.
    const fn takes_extras(self, len: u8) -> bool {
        match self {
            Self::Set | Self::Add | Self::Replace => len == 8,
            Self::Increment | Self::Decrement => len == 20,
            Self::Touch | Self::Gat | Self::GatK | Self::ConfigSet => len == 4,
            Self::Flush => len == 0 || len == 4,
            _ => len == 0,
        }
    }

    /// Whether a key of this length goes with it, as far as it matters whether there is one.
    const fn takes_key(self, len: u16) -> bool {
        match self {
            Self::Flush
            | Self::Version
            | Self::Noop
            | Self::Quit
            | Self::SaslList
            | Self::ConfigList => len == 0,
            Self::Stat => true,
            _ => len > 0,
        }
    }

    /// Whether a value goes with it.
    pub(crate) const fn takes_value(self) -> bool {
        matches!(
            self,
            Self::Set
                | Self::Add
                | Self::Replace
                | Self::Append
                | Self::Prepend
                | Self::SaslAuth
                | Self::SaslStep
                | Self::ConfigSet
        )
    }
}

impl Header {
    /// What a request's header asks for. A stranger, who `needs_login`, may ask for a login and
    /// for the version, and nothing else.
    ///
    /// # Errors
    ///
    /// What is wrong with its lengths or its opcode, in memcached's order of precedence.
    pub(crate) fn opcode(&self, needs_login: bool) -> Result<Opcode, Refusal> {
        const FINAL: fn(Status) -> Refusal = |status| Refusal { status, is_final: true };
        let (body_len, lead_len) = (self.body_len as usize, self.lead_len());
        if lead_len > body_len {
            return Err(FINAL(Status::UNKNOWN_COMMAND));
        }
        if body_len > ITEM_SIZE_MAX {
            return Err(FINAL(Status::INVALID_ARGUMENTS));
        }
        let opcode = Opcode::from_byte(self.opcode);
        if needs_login && !opcode.is_some_and(|opcode| opcode.verb.is_for_strangers()) {
            return Err(FINAL(Status::AUTH_ERROR));
        }
        if usize::from(self.key_len) > KEY_LEN_MAX {
            return Err(FINAL(Status::INVALID_ARGUMENTS));
        }
        let Some(opcode) = opcode else {
            return Err(Refusal { status: Status::UNKNOWN_COMMAND, is_final: false });
        };
        let verb = opcode.verb;
        let is_right = verb.takes_extras(self.extras_len)
            && verb.takes_key(self.key_len)
            && (verb.takes_value() || lead_len == body_len);
        if is_right {
            return Ok(opcode);
        }
        // A server without auto-discovery does not know the opcode, whatever the lengths are.
        if verb.is_config() {
            return Err(Refusal { status: Status::UNKNOWN_COMMAND, is_final: false });
        }
        Err(FINAL(Status::INVALID_ARGUMENTS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_one_opcode() {
        let known: Vec<u8> =
            (0..=u8::MAX).filter(|&byte| Opcode::from_byte(byte).is_some()).collect();
        let expected: Vec<u8> =
            (0..=0x1a).chain(0x1c..=0x1e).chain(0x20..=0x24).chain(0x60..=0x68).collect();
        assert_eq!(known, expected);
        for byte in known {
            assert_eq!(Opcode::from_byte(byte).unwrap().byte(), byte);
        }
        assert_eq!(Opcode { verb: Verb::Noop, quiet: true }.byte(), 0x0a);
    }

    #[track_caller]
    fn check(
        opcode: u8,
        extras_len: u8,
        key_len: u16,
        body_len: u32,
        expected: Result<(), (u16, bool)>,
    ) {
        let header =
            Header { magic: 0x80, opcode, extras_len, key_len, body_len, ..Header::default() };
        let got = header.opcode(false).map(|_| ()).map_err(|no| (no.status.0, no.is_final));
        assert_eq!(got, expected);
    }

    #[test]
    fn lengths_are_held_to_the_opcode() {
        const WRONG: Result<(), (u16, bool)> = Err((4, true));
        // get
        check(0x00, 0, 3, 3, Ok(()));
        check(0x00, 0, 250, 250, Ok(()));
        check(0x00, 0, 251, 251, WRONG);
        check(0x00, 0, 0, 0, WRONG);
        check(0x00, 4, 3, 7, WRONG);
        check(0x00, 0, 3, 4, WRONG);
        // set
        check(0x01, 8, 1, 9, Ok(()));
        check(0x01, 8, 1, 1 << 30, Ok(()));
        check(0x01, 8, 1, (1 << 30) + 1, WRONG);
        check(0x01, 7, 1, 9, WRONG);
        check(0x01, 8, 0, 9, WRONG);
        // Longer than the body, whatever it is.
        check(0x01, 8, 1, 8, Err((0x81, true)));
        check(0xee, 0, 1, 0, Err((0x81, true)));
        // append, touch, incr, flush, stat
        check(0x0e, 0, 1, 1, Ok(()));
        check(0x0e, 8, 1, 9, WRONG);
        check(0x1c, 4, 1, 5, Ok(()));
        check(0x1c, 4, 1, 6, WRONG);
        check(0x05, 20, 1, 21, Ok(()));
        check(0x05, 20, 1, 22, WRONG);
        check(0x08, 0, 0, 0, Ok(()));
        check(0x08, 4, 0, 4, Ok(()));
        check(0x08, 3, 0, 3, WRONG);
        check(0x08, 0, 1, 1, WRONG);
        check(0x10, 0, 0, 0, Ok(()));
        check(0x10, 0, 5, 5, Ok(()));
        check(0x10, 0, 5, 6, WRONG);
        // noop, version, quit
        for opcode in [0x0a, 0x0b, 0x07, 0x17, 0x20] {
            check(opcode, 0, 0, 0, Ok(()));
            check(opcode, 0, 0, 1, WRONG);
            check(opcode, 1, 0, 1, WRONG);
        }
        // config get, set, list: what is wrong with them is skipped.
        for opcode in 0x60..=0x63 {
            check(opcode, 0, 7, 7, Ok(()));
            check(opcode, 0, 0, 0, Err((0x81, false)));
            check(opcode, 4, 7, 11, Err((0x81, false)));
        }
        check(0x64, 4, 7, 100, Ok(()));
        check(0x64, 8, 7, 100, Err((0x81, false)));
        check(0x66, 0, 7, 7, Ok(()));
        check(0x66, 0, 7, 8, Err((0x81, false)));
        check(0x68, 0, 0, 0, Ok(()));
        check(0x68, 0, 1, 1, Err((0x81, false)));
        check(0x64, 4, 251, 255, WRONG);
        // Unknown ones are skipped, but not with such a key.
        check(0x1b, 4, 0, 4, Err((0x81, false)));
        check(0x1b, 0, 251, 251, WRONG);
    }

    #[test]
    fn strangers_may_log_in_and_ask_for_the_version() {
        for byte in 0..=u8::MAX {
            let (extras_len, key_len) = match byte {
                0x21 | 0x22 => (0, 5),
                _ => (0, 0),
            };
            let body_len = key_len.into();
            let header =
                Header { opcode: byte, extras_len, key_len, body_len, ..Header::default() };
            let is_let_in = header.opcode(true).is_ok();
            assert_eq!(is_let_in, matches!(byte, 0x0b | 0x20..=0x22), "{byte:#x}");
            if !is_let_in {
                assert_eq!(header.opcode(true).unwrap_err().status, Status::AUTH_ERROR);
            }
        }
    }
}
