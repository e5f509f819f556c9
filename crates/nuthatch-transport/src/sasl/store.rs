//! What is kept of users, and where it is looked up.
//!
//! A [`CredentialStore`] is asked for a name and gives what it keeps: passwords, or
//! [keys](ScramKeys) made of them. It also says what *kinds* of thing it keeps ([`Shape`]), so
//! that a user who does not exist can be treated as one who does: each unknown name gets one of
//! those shapes, always the same one, and the login takes the course and the time that it would
//! take for a real user of that shape.

use std::{collections::HashMap, fmt, time::SystemTime};

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use super::{hash::ScramHash, keys::ScramKeys, names::Name};

/// The longest password that anybody may have, in bytes (saslpasswd2 takes 2047).
pub const PASSWORD_LEN_MAX: usize = 2048;

/// The most kinds of entry that are told apart; a store that has more shows some of them.
const SHAPES_MAX: usize = 16;

/// Where users are kept.
///
/// Implemented by [`Sasldb`](crate::sasldb::Sasldb), [`PasswordDb`](super::PasswordDb),
/// [`Passwords`](crate::passwords::Passwords), and by a list of stores: then each counts, and a
/// user of several may log in with what any of them says.
pub trait CredentialStore: fmt::Debug + Send + Sync {
    /// Adds what is kept of this user, if there is one, and the shapes of what the store keeps.
    ///
    /// Called where waiting is allowed: it may read files. `now` is for stores that do that no
    /// more often than is sensible.
    fn find(&self, name: &Name, now: SystemTime, found: &mut Found);
}

impl CredentialStore for Vec<Box<dyn CredentialStore>> {
    fn find(&self, name: &Name, now: SystemTime, found: &mut Found) {
        for store in self {
            store.find(name, now, found);
        }
    }
}

/// What stores know of a name.
#[derive(Debug, Default)]
pub struct Found {
    pub(super) credentials: Vec<Credential>,
    pub(super) shapes: Vec<Shape>,
}

impl Found {
    /// The user exists, and may log in with this.
    pub fn add(&mut self, credential: Credential) {
        self.credentials.push(credential);
    }

    /// The store has entries of this shape, whosever they are.
    pub fn has(&mut self, shape: Shape) {
        if self.shapes.len() < SHAPES_MAX && !self.shapes.contains(&shape) {
            self.shapes.push(shape);
        }
    }

    /// What was added.
    pub fn credentials(&self) -> &[Credential] {
        &self.credentials
    }

    pub(crate) fn has_all_of(&mut self, other: &Self) {
        for shape in &other.shapes {
            self.has(*shape);
        }
    }

    pub(crate) fn has_other_than(&self, shape: Shape) -> bool {
        self.shapes.iter().any(|one| *one != shape)
    }

    /// One of the shapes, always the same for the same number.
    pub(crate) fn pick(&self, number: u64) -> Shape {
        let n_shapes = self.shapes.len().max(1) as u64;
        let at = usize::try_from(number % n_shapes).unwrap_or(0);
        self.shapes.get(at).copied().unwrap_or(Shape::Plain)
    }
}

/// What is kept of one user.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Credential {
    /// The password itself.
    Plain(Password),
    /// Keys made of it.
    Hashed(ScramKeys),
}

impl Credential {
    /// What such an entry looks like to somebody who tries to log in.
    pub fn shape(&self) -> Shape {
        match self {
            Self::Plain(_) => Shape::Plain,
            Self::Hashed(keys) => keys.shape(),
        }
    }

    fn is_password(&self, sent: &[u8]) -> Choice {
        match self {
            Self::Plain(password) => password.matches(sent),
            Self::Hashed(keys) => keys.matches(sent),
        }
    }
}

/// The kind of an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Shape {
    /// A password.
    Plain,
    /// Keys.
    Hashed {
        /// Their hash function.
        hash: ScramHash,
        /// How often it was applied.
        iterations: u32,
        /// How long the salt is.
        salt_bytes: usize,
    },
}

/// Whether one of these is the password that was sent. Who is unknown (there are none) is refused
/// after the work that an entry of the shape `decoy` would have made.
pub(crate) fn is_password(credentials: &[Credential], decoy: Shape, sent: &[u8]) -> bool {
    if credentials.is_empty() {
        match decoy {
            Shape::Plain => {
                std::hint::black_box(Password(Zeroizing::new(Box::default())).matches(sent));
            }
            Shape::Hashed { hash, iterations, salt_bytes } => {
                std::hint::black_box(ScramKeys::decoy(hash, iterations, salt_bytes).matches(sent));
            }
        }
        return false;
    }
    // All are looked at: which one it was is nobody's business.
    let right =
        credentials.iter().fold(Choice::from(0), |right, one| right | one.is_password(sent));
    right.into()
}

/// A password that is kept: wiped when it is dropped, and shown to nobody.
#[derive(Clone)]
pub struct Password(Zeroizing<Box<[u8]>>);

impl Password {
    /// `None` for the empty password, which nobody may have, and for one that is longer than
    /// [`PASSWORD_LEN_MAX`].
    pub fn new(password: &[u8]) -> Option<Self> {
        (1..=PASSWORD_LEN_MAX)
            .contains(&password.len())
            .then(|| Self(Zeroizing::new(password.into())))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is this one, byte for byte. How long that takes does not depend on how much of
    /// it is right.
    pub(super) fn matches(&self, sent: &[u8]) -> Choice {
        let fill = |from: &[u8]| {
            let mut bytes = Zeroizing::new([0; PASSWORD_LEN_MAX]);
            let kept = from.len().min(PASSWORD_LEN_MAX);
            bytes[..kept].copy_from_slice(&from[..kept]);
            bytes
        };
        let same_bytes = fill(&self.0).ct_eq(&*fill(sent));
        same_bytes & (self.0.len() as u64).ct_eq(&(sent.len() as u64))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Users by name, however a store forms that: what the stores that read files are made of.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    by_name: HashMap<Box<[u8]>, Vec<Credential>>,
    shapes: Found,
}

impl Directory {
    pub(crate) fn add(&mut self, name: &[u8], credential: Credential) {
        self.shapes.has(credential.shape());
        self.by_name.entry(name.into()).or_default().push(credential);
    }

    /// How many names there are.
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.by_name.keys().map(|name| &**name)
    }

    pub(crate) fn find(&self, name: &[u8], found: &mut Found) {
        for credential in self.by_name.get(name).into_iter().flatten() {
            found.add(credential.clone());
        }
    }

    /// What everybody may know.
    pub(crate) fn show(&self, found: &mut Found) {
        found.has_all_of(&self.shapes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sasl::ITERATIONS_MIN;

    fn plain(password: &str) -> Credential {
        Credential::Plain(Password::new(password.as_bytes()).unwrap())
    }

    #[test]
    fn any_of_a_user_s_passwords_is_right() {
        let keys = ScramKeys::make(ScramHash::Sha1, b"third", ITERATIONS_MIN).unwrap();
        let all = [plain("first"), plain("second"), Credential::Hashed(keys)];
        for right in ["first", "second", "third"] {
            assert!(is_password(&all, Shape::Plain, right.as_bytes()));
        }
        for wrong in ["", "firs", "first\0", "fourth"] {
            assert!(!is_password(&all, Shape::Plain, wrong.as_bytes()));
        }
        for decoy in [Shape::Plain, all[2].shape()] {
            for sent in ["", "\0", "first"] {
                assert!(!is_password(&[], decoy, sent.as_bytes()));
            }
        }
    }

    #[test]
    fn passwords_have_a_length() {
        let longest = vec![b'x'; PASSWORD_LEN_MAX];
        assert!(Password::new(b"").is_none());
        assert!(Password::new(&[&longest[..], b"x"].concat()).is_none());
        let longest_kept = Password::new(&longest).unwrap();
        assert!(bool::from(longest_kept.matches(&longest)));
        assert!(!bool::from(longest_kept.matches(&[&longest[..], b"x"].concat())));
        assert!(!bool::from(longest_kept.matches(&longest[1..])));
    }

    #[test]
    fn a_directory_shows_its_shapes_once() {
        let mut directory = Directory::default();
        directory.add(b"a", plain("1"));
        directory.add(b"a", plain("2"));
        directory.add(b"b", plain("3"));
        let mut found = Found::default();
        directory.show(&mut found);
        directory.find(b"a", &mut found);
        directory.find(b"c", &mut found);
        assert_eq!((found.credentials.len(), found.shapes), (2, vec![Shape::Plain]));
        assert_eq!(directory.len(), 2);
    }
}
