//! User names and realms, as memcached with libsasl has them.
//!
//! White space around a name is dropped. A name with `@` is a user and a realm, split at the first
//! one; a name without is a user of the default realm, which is the host's name. saslpasswd2 does
//! the same when it writes, but makes the host's name lower case, which memcached does not when it
//! reads: on a host `Web01` nobody that was added in the ordinary way can log in. So both are
//! tried here, the host's name as it is and in lower case. (Learnt from memcached 1.6.45 with
//! libsasl 2.1.28.)

use std::{fmt, sync::Arc};

/// The longest name, in bytes, the realm included (libsasl: 1023).
pub const NAME_LEN_MAX: usize = 1023;

/// The realms of names that name none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Realms(Arc<[Box<[u8]>]>);

impl Realms {
    /// The host's name, and the same in lower case.
    ///
    /// Without a name (the system gives none) the default realm is the empty one.
    pub fn of_host() -> Self {
        let host = nix::unistd::gethostname().unwrap_or_default();
        Self::named(host.as_encoded_bytes())
    }

    /// Another realm, for hosts whose name changes; it is tried in lower case too.
    pub fn named(realm: &[u8]) -> Self {
        let lower = realm.to_ascii_lowercase();
        let mut realms: Vec<Box<[u8]>> = vec![realm.into()];
        if lower != realm {
            realms.push(lower.into());
        }
        Self(realms.into())
    }

    /// The first of them.
    pub fn first(&self) -> &[u8] {
        &self.0[0]
    }

    fn contains(&self, realm: &[u8]) -> bool {
        self.0.iter().any(|one| **one == *realm)
    }
}

/// A user's name as a client sent it.
#[derive(Clone, Eq, PartialEq)]
pub struct Name {
    text: Box<[u8]>,
    /// Where the `@` is.
    at: Option<usize>,
    defaults: Realms,
}

impl Name {
    /// Reads a name; `None` if no user has such a name: without a user, too long, or with a byte 0.
    pub fn parse(text: &[u8], defaults: &Realms) -> Option<Self> {
        // The C library's white space: Rust's leaves out the vertical tab.
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
        let start = text.iter().position(|byte| !is_space(byte))?;
        let end = text.iter().rposition(|byte| !is_space(byte))? + 1;
        let text = &text[start..end];
        let at = text.iter().position(|byte| *byte == b'@');
        let is_good = text.len() <= NAME_LEN_MAX && at != Some(0) && !text.contains(&0);
        is_good.then(|| Self { text: text.into(), at, defaults: defaults.clone() })
    }

    /// The whole name, without the space around it.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The name without the realm.
    pub fn user(&self) -> &[u8] {
        &self.text[..self.at.unwrap_or(self.text.len())]
    }

    /// The realm that was named.
    pub fn realm(&self) -> Option<&[u8]> {
        self.at.map(|at| &self.text[at + 1..])
    }

    /// The realms to look in, in this order.
    pub fn realms(&self) -> impl Iterator<Item = &[u8]> {
        let defaults = if self.at.is_some() { &[][..] } else { &self.defaults.0[..] };
        self.realm().into_iter().chain(defaults.iter().map(|realm| &**realm))
    }

    /// Whether both are the same user: the same name in realms that are the same.
    pub fn is_same(&self, other: &Self) -> bool {
        self.user() == other.user()
            && self.realms().any(|realm| other.realms().any(|other| other == realm))
    }

    pub(super) fn identity(&self) -> Identity {
        let realm = self.realm().filter(|realm| !self.defaults.contains(realm));
        Identity { user: self.user().into(), realm: realm.map(Into::into) }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({})", self.text.escape_ascii())
    }
}

/// Who has logged in.
///
/// However the user wrote it, one user has one identity: the default realm is left out.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Identity {
    user: Box<[u8]>,
    realm: Option<Box<[u8]>>,
}

impl Identity {
    /// A user of the default realm.
    pub fn of_user(user: &[u8]) -> Self {
        Self { user: user.into(), realm: None }
    }

    /// The user's name: text mostly, but any bytes are possible.
    pub fn user(&self) -> &[u8] {
        &self.user
    }

    /// The realm, if it is not the default one.
    pub fn realm(&self) -> Option<&[u8]> {
        self.realm.as_deref()
    }
}

impl fmt::Display for Identity {
    /// `user` or `user@realm`, with everything but printable ASCII escaped: fit for a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.user.escape_ascii())?;
        match &self.realm {
            Some(realm) => write!(f, "@{}", realm.escape_ascii()),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text.as_bytes(), &Realms::named(b"Web01")).unwrap()
    }

    #[test]
    fn a_name_is_a_user_and_the_realms_to_look_in() {
        for (text, user, realms) in [
            ("sammy", "sammy", &["Web01", "web01"][..]),
            (" \t sam my\r\n\x0b", "sam my", &["Web01", "web01"]),
            ("sammy@Web01", "sammy", &["Web01"]),
            ("a@b@c", "a", &["b@c"]),
            ("a@", "a", &[""]),
        ] {
            let name = name(text);
            assert_eq!(name.user(), user.as_bytes());
            let realms: Vec<_> = realms.iter().map(|realm| realm.as_bytes()).collect();
            assert_eq!(name.realms().collect::<Vec<_>>(), realms, "{text}");
        }
        let long = "x".repeat(NAME_LEN_MAX + 1);
        for text in ["", " ", "@web", "a\0b", &long] {
            assert!(Name::parse(text.as_bytes(), &Realms::named(b"h")).is_none(), "{text:?}");
        }
        assert_eq!(Realms::named(b"web").0.len(), 1);
        assert!(!Realms::of_host().first().is_empty());
    }

    #[test]
    fn one_user_has_one_identity() {
        assert!(name("sammy").is_same(&name("sammy@web01")));
        assert!(name("sammy@Web01").is_same(&name(" sammy")));
        assert!(!name("sammy").is_same(&name("sammy@other")));
        assert!(!name("sammy").is_same(&name("Sammy")));
        for text in ["sammy", "sammy@web01", "sammy@Web01 "] {
            assert_eq!(name(text).identity(), Identity::of_user(b"sammy"));
        }
        let other = name("s\u{e4}m@other").identity();
        assert_eq!((other.user(), other.realm()), ("s\u{e4}m".as_bytes(), Some(&b"other"[..])));
        assert_eq!(other.to_string(), r"s\xc3\xa4m@other");
    }
}
