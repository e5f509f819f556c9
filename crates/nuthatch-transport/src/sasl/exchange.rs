//! A login as the server sees it: messages in, [steps](Step) out.
//!
//! ```text
//!             start                         finish                   finish
//!   Idle ───────────────► (Empty) ── Work ─────────► Done             (PLAIN)
//!    ▲                       │  └─── Work ─► Proof ── Work ─► Last ── Done   (SCRAM)
//!    │                       └───── Signed ── Work ─► Done           (CRAM-MD5)
//!    └── Refused, Done, and start from anywhere
//! ```
//!
//! `Empty` is a login whose first message had no data; the client gets an empty challenge and sends
//! it then. Every password and proof is looked at in `Work`, also SCRAM's against stored keys, for
//! which nothing is to be hashed: who limits how many may be tried does so there.

use std::{
    fmt, mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use base64ct::{Base64, Encoding};
use subtle::Choice;
use zeroize::Zeroizing;

use super::{
    Mechanism, SaslError, cram,
    hash::ScramHash,
    keys::{ITERATIONS_MAX, ITERATIONS_MIN, SALT_LEN, ScramKeys, prepared},
    names::{Identity, Name, Realms},
    scram::{Answer, Challenged, ClientFirst},
    store::{Credential, CredentialStore, Found, Password, Shape, is_password},
};

/// The longest message that a client may send, in bytes: room for two names and a password.
pub const MESSAGE_LEN_MAX: usize = 8192;

/// Who may log in, and how. Clones are the same one; it serves any number of connections.
#[derive(Clone, Debug)]
pub struct Authenticator(Arc<Inner>);

struct Inner {
    store: Box<dyn CredentialStore>,
    mechanisms: Vec<Mechanism>,
    /// Their names.
    list: String,
    realms: Realms,
    iterations: u32,
    decoys: Decoys,
    /// How many jobs have been given out: the last one's number.
    n_jobs: AtomicU64,
}

impl Authenticator {
    /// Begins to make one that asks this store.
    pub fn builder(store: impl CredentialStore + 'static) -> Builder {
        Builder {
            store: Box::new(store),
            mechanisms: Mechanism::DEFAULT.to_vec(),
            realms: Realms::of_host(),
            iterations: ITERATIONS_MIN,
        }
    }

    /// The names of what is offered, joined by spaces: what a client is told that asks.
    pub fn list(&self) -> &str {
        &self.0.list
    }

    /// A login that has not begun.
    pub fn exchange(&self) -> Exchange {
        Exchange { authenticator: self.clone(), state: State::Idle, job: 0, claimed: None }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Authenticator");
        debug.field("list", &self.list).field("store", &self.store).finish_non_exhaustive()
    }
}

/// Makes an [`Authenticator`].
#[derive(Debug)]
pub struct Builder {
    store: Box<dyn CredentialStore>,
    mechanisms: Vec<Mechanism>,
    realms: Realms,
    iterations: u32,
}

impl Builder {
    /// What is offered, in this order; at first [`Mechanism::DEFAULT`].
    pub fn mechanisms(mut self, mechanisms: &[Mechanism]) -> Self {
        self.mechanisms = mechanisms.to_vec();
        self
    }

    /// The realms of names that name none; at first those of the host.
    pub fn realms(mut self, realms: Realms) -> Self {
        self.realms = realms;
        self
    }

    /// The iterations of a SCRAM login where the password is stored in clear, paid by client and
    /// server each time; at first [`ITERATIONS_MIN`], under 1 ms. Stored keys have their own.
    pub fn iterations(mut self, iterations: u32) -> Self {
        self.iterations = iterations;
        self
    }

    /// Makes it.
    ///
    /// # Errors
    ///
    /// [`SaslError`]: no mechanisms, impossible iterations, or no random bytes.
    pub fn build(self) -> Result<Authenticator, SaslError> {
        let Self { store, mechanisms, realms, iterations } = self;
        if mechanisms.is_empty() {
            return Err(SaslError::NoMechanism);
        }
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(SaslError::Iterations);
        }
        let list = mechanisms.iter().map(|one| one.name()).collect::<Vec<_>>().join(" ");
        let mut secret = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *secret).map_err(|_| SaslError::NoRandom)?;
        let decoys = Decoys { secret };
        let n_jobs = AtomicU64::new(0);
        let inner = Inner { store, mechanisms, list, realms, iterations, decoys, n_jobs };
        Ok(Authenticator(Arc::new(inner)))
    }
}

/// One connection's login.
///
/// [`start`](Self::start) begins one, and begins anew whatever went before;
/// [`step`](Self::step) goes on after a [challenge](Step::Challenge), [`finish`](Self::finish)
/// after [work](Step::Work). Any other order is refused. Whether the connection is logged in is
/// not remembered here: it is if the last step was [`Done`](Step::Done).
#[derive(Debug)]
pub struct Exchange {
    authenticator: Authenticator,
    state: State,
    /// The number of the job that is out. No other has it, on whichever connection: a result that
    /// comes late, or to the wrong connection, logs nobody in.
    job: u64,
    /// Who the client says it is.
    claimed: Option<Box<Name>>,
}

/// What to do next.
#[derive(Debug)]
#[non_exhaustive]
pub enum Step {
    /// Send this to the client, and give its answer to [`Exchange::step`].
    Challenge(Vec<u8>),
    /// Run this where waiting is allowed, and give the result to [`Exchange::finish`].
    Work(Job),
    /// The client is this user.
    Done(Identity),
    /// The client is nobody. It may begin again.
    Refused(Refusal),
}

/// Why a login failed: for logs. Clients are told no more than that it did.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The mechanism is unknown or not offered.
    #[error("no such mechanism")]
    NoMechanism,
    /// The message is not what it should be at this point, or there is nothing to go on with.
    #[error("malformed message")]
    Malformed,
    /// The client demands a binding to its TLS connection.
    #[error("channel binding is not offered")]
    ChannelBinding,
    /// The user does not exist, or the proof or password is wrong, or the user wishes to be
    /// another one.
    #[error("authentication failure")]
    Wrong,
    /// The system has no random bytes.
    #[error("the system gives no random bytes")]
    NoRandom,
}

impl Refusal {
    /// The number that memcached logs (`sasl result code:`): libsasl's.
    pub fn code(self) -> i32 {
        match self {
            Self::NoMechanism => -4,
            Self::Malformed | Self::ChannelBinding => -5,
            Self::Wrong => -13,
            Self::NoRandom => -1,
        }
    }
}

#[derive(Debug)]
enum State {
    Idle,
    /// The client is still to send its first data.
    Empty(Mechanism),
    /// CRAM-MD5's challenge is out.
    Signed(Box<[u8]>),
    /// SCRAM's first challenge is out.
    Proof(Box<Proof>),
    /// SCRAM's last message is out: the client is who it says.
    Last(Box<Identity>),
    /// A job is out.
    Working,
}

impl Exchange {
    /// Begins a login: what a client's first message says. No data is the same as empty data.
    pub fn start(&mut self, mechanism: &[u8], data: &[u8]) -> Step {
        self.state = State::Idle;
        self.claimed = None;
        let inner = &self.authenticator.0;
        match Mechanism::parse(mechanism).filter(|one| inner.mechanisms.contains(one)) {
            None => Step::Refused(Refusal::NoMechanism),
            Some(Mechanism::CramMd5) if !data.is_empty() => Step::Refused(Refusal::Malformed),
            Some(Mechanism::CramMd5) => match nonce() {
                Ok(nonce) => {
                    let challenge = cram::challenge(&nonce, inner.realms.first());
                    self.state = State::Signed(challenge.clone());
                    Step::Challenge(challenge.into())
                }
                Err(refusal) => Step::Refused(refusal),
            },
            Some(mechanism) if data.is_empty() => {
                self.state = State::Empty(mechanism);
                Step::Challenge(Vec::new())
            }
            Some(mechanism) => self.first(mechanism, data),
        }
    }

    /// Goes on with what the client answered to a challenge.
    pub fn step(&mut self, data: &[u8]) -> Step {
        if data.len() > MESSAGE_LEN_MAX {
            self.state = State::Idle;
            return Step::Refused(Refusal::Malformed);
        }
        match mem::replace(&mut self.state, State::Idle) {
            State::Empty(mechanism) => self.first(mechanism, data),
            State::Signed(challenge) => match self.read_cram(challenge, data) {
                Ok(task) => self.work(task),
                Err(refusal) => Step::Refused(refusal),
            },
            State::Proof(proof) => match proof.challenged.answer(proof.hash, data) {
                Ok(answer) => self.prove(*proof, answer),
                Err(refusal) => Step::Refused(refusal),
            },
            State::Last(identity) if data.is_empty() => Step::Done(*identity),
            State::Last(_) | State::Idle | State::Working => Step::Refused(Refusal::Malformed),
        }
    }

    /// Goes on with a job's result. One that is not of the job last given out is refused.
    pub fn finish(&mut self, worked: Worked) -> Step {
        if !matches!(self.state, State::Working) || worked.number != self.job {
            return Step::Refused(Refusal::Malformed);
        }
        self.state = State::Idle;
        match worked.outcome {
            Ok(Outcome::Done(identity)) => Step::Done(identity),
            Ok(Outcome::Challenge(proof)) => {
                let message = proof.challenged.message.clone();
                self.state = State::Proof(proof);
                Step::Challenge(message)
            }
            Ok(Outcome::Last(message, identity)) => {
                self.state = State::Last(Box::new(identity));
                Step::Challenge(message)
            }
            Err(refusal) => Step::Refused(refusal),
        }
    }

    /// Who the client of the last login says it is, once it has said so: for logs, and no more true
    /// than that.
    pub fn claimed(&self) -> Option<&Name> {
        self.claimed.as_deref()
    }

    /// Whether a job is out: until it is back, nothing else of this connection may be looked at.
    pub fn is_working(&self) -> bool {
        matches!(self.state, State::Working)
    }

    /// The first data of PLAIN and SCRAM.
    fn first(&mut self, mechanism: Mechanism, data: &[u8]) -> Step {
        if data.len() > MESSAGE_LEN_MAX {
            return Step::Refused(Refusal::Malformed);
        }
        let task = match mechanism {
            Mechanism::Scram(hash) => self.read_scram(hash, data),
            Mechanism::Plain => self.read_plain(data),
            Mechanism::CramMd5 => Err(Refusal::Malformed),
        };
        match task {
            Ok(task) => self.work(task),
            Err(refusal) => Step::Refused(refusal),
        }
    }

    fn read_plain(&mut self, data: &[u8]) -> Result<Task, Refusal> {
        let mut parts = data.split(|byte| *byte == 0);
        let (Some(authzid), Some(user), Some(password), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::Malformed);
        };
        let name = self.name(user, (!authzid.is_empty()).then_some(authzid))?;
        Ok(Task::Plain { name, password: Zeroizing::new(password.into()) })
    }

    fn read_scram(&mut self, hash: ScramHash, data: &[u8]) -> Result<Task, Refusal> {
        let first = ClientFirst::parse(data)?;
        let name = self.name(&first.user, first.authzid.as_deref())?;
        Ok(Task::Salt { hash, name, first })
    }

    fn read_cram(&mut self, challenge: Box<[u8]>, data: &[u8]) -> Result<Task, Refusal> {
        let (user, proof) = cram::split(data)?;
        Ok(Task::Cram { name: self.name(user, None)?, challenge, proof })
    }

    fn prove(&mut self, proof: Proof, answer: Answer) -> Step {
        let Proof { hash, against, identity, .. } = proof;
        self.work(Task::Prove { hash, against, answer, identity })
    }

    fn name(&mut self, user: &[u8], authzid: Option<&[u8]>) -> Result<Name, Refusal> {
        let parse = |text| Name::parse(text, &self.authenticator.0.realms).ok_or(Refusal::Wrong);
        let name = parse(user)?;
        self.claimed = Some(Box::new(name.clone()));
        match authzid.map(parse).transpose()? {
            Some(other) if !other.is_same(&name) => Err(Refusal::Wrong),
            _ => Ok(name),
        }
    }

    fn work(&mut self, task: Task) -> Step {
        self.state = State::Working;
        let authenticator = self.authenticator.clone();
        self.job = authenticator.0.n_jobs.fetch_add(1, Relaxed) + 1;
        Step::Work(Job { authenticator, number: self.job, task })
    }
}

/// Work that takes its time: reading files, hashing passwords. It belongs to no thread.
#[derive(Debug)]
#[must_use = "the login waits for it"]
pub struct Job {
    authenticator: Authenticator,
    number: u64,
    task: Task,
}

/// What a [`Job`] found out, for [`Exchange::finish`].
#[derive(Debug)]
#[must_use = "the login waits for it"]
pub struct Worked {
    number: u64,
    outcome: Result<Outcome, Refusal>,
}

impl Worked {
    /// Whether the user does not exist, or the password or proof is wrong.
    pub fn is_wrong(&self) -> bool {
        matches!(self.outcome, Err(Refusal::Wrong))
    }
}

enum Task {
    Plain {
        name: Name,
        password: Zeroizing<Box<[u8]>>,
    },
    Cram {
        name: Name,
        challenge: Box<[u8]>,
        proof: [u8; 32],
    },
    /// What to challenge this user with?
    Salt {
        hash: ScramHash,
        name: Name,
        first: ClientFirst,
    },
    /// Is the proof right?
    Prove {
        hash: ScramHash,
        against: Against,
        answer: Answer,
        identity: Option<Identity>,
    },
}

impl fmt::Debug for Task {
    /// Without what is in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain { .. } => "Plain",
            Self::Cram { .. } => "Cram",
            Self::Salt { .. } => "Salt",
            Self::Prove { .. } => "Prove",
        })
    }
}

#[derive(Debug)]
enum Outcome {
    Done(Identity),
    Challenge(Box<Proof>),
    Last(Vec<u8>, Identity),
}

/// A SCRAM login that waits for the client's proof.
#[derive(Debug)]
struct Proof {
    hash: ScramHash,
    challenged: Challenged,
    against: Against,
    /// Nobody, if the user does not exist: no proof is right then.
    identity: Option<Identity>,
}

/// What a proof is checked against.
#[derive(Debug)]
enum Against {
    Keys(ScramKeys),
    /// Of which keys must be made first.
    Passwords {
        passwords: Vec<Password>,
        salt: Box<[u8]>,
        iterations: u32,
    },
}

impl Job {
    /// Does it. Takes a few milliseconds where passwords are hashed, and as long as the disk takes
    /// where a file is read. `now` is the time, for stores that follow files.
    pub fn run(self, now: SystemTime) -> Worked {
        let inner = &*self.authenticator.0;
        let outcome = match self.task {
            Task::Plain { name, password } => inner.check_plain(&name, &password, now),
            Task::Cram { name, challenge, proof } => {
                inner.check_cram(&name, &challenge, &proof, now)
            }
            Task::Salt { hash, name, first } => inner.challenge(hash, &name, first, now),
            Task::Prove { hash, against, answer, identity } => {
                let keys = match against {
                    Against::Keys(keys) => vec![keys],
                    Against::Passwords { passwords, salt, iterations } => passwords
                        .iter()
                        .flat_map(|password| ready(password.as_bytes()))
                        .map(|ready| ScramKeys::derive(hash, &ready, &salt, iterations))
                        .collect(),
                };
                proven(&keys, &answer, identity)
                    .map(|(message, identity)| Outcome::Last(message, identity))
            }
        };
        Worked { number: self.number, outcome }
    }
}

impl Inner {
    fn find(&self, name: &Name, now: SystemTime) -> Found {
        let mut found = Found::default();
        self.store.find(name, now, &mut found);
        found
    }

    fn check_plain(&self, name: &Name, sent: &[u8], now: SystemTime) -> Result<Outcome, Refusal> {
        let found = self.find(name, now);
        let decoy = found.pick(self.decoys.number(name));
        let is_right = is_password(&found.credentials, decoy, sent);
        is_right.then(|| Outcome::Done(name.identity())).ok_or(Refusal::Wrong)
    }

    fn check_cram(
        &self,
        name: &Name,
        challenge: &[u8],
        proof: &[u8; 32],
        now: SystemTime,
    ) -> Result<Outcome, Refusal> {
        let (mut passwords, is_known) = passwords(self.find(name, now).credentials);
        if !is_known {
            passwords.extend(self.decoys.password(name));
        }
        let right = passwords.iter().fold(Choice::from(0), |right, password| {
            right | cram::is_right(password.as_bytes(), challenge, proof)
        });
        let is_right = bool::from(right) && is_known;
        is_right.then(|| Outcome::Done(name.identity())).ok_or(Refusal::Wrong)
    }

    fn challenge(
        &self,
        hash: ScramHash,
        name: &Name,
        first: ClientFirst,
        now: SystemTime,
    ) -> Result<Outcome, Refusal> {
        let mut found = self.find(name, now);
        // Others could not be used in this exchange, so nobody is to look like them.
        found.shapes.retain(|shape| match shape {
            Shape::Plain => true,
            Shape::Hashed { hash: made_with, .. } => *made_with == hash,
        });
        let decoy = found.pick(self.decoys.number(name));
        let keys = found.credentials.iter().find_map(|credential| match credential {
            Credential::Hashed(keys) if keys.hash == hash => Some(keys.clone()),
            _ => None,
        });
        let (passwords, has_passwords) = passwords(found.credentials);
        let is_known = keys.is_some() || has_passwords;
        // One challenge has one salt. Keys come first: who has keys and a password is about to
        // change from the password to the keys.
        let against = match keys {
            Some(keys) => Against::Keys(keys),
            None if has_passwords => self.salted(hash, name, passwords),
            None => match decoy {
                Shape::Plain => {
                    self.salted(hash, name, self.decoys.password(name).into_iter().collect())
                }
                Shape::Hashed { iterations, salt_bytes, .. } => {
                    Against::Keys(self.decoys.keys(hash, name, iterations, salt_bytes))
                }
            },
        };
        let (salt, iterations) = match &against {
            Against::Keys(keys) => (&keys.salt, keys.iterations),
            Against::Passwords { salt, iterations, .. } => (salt, *iterations),
        };
        let challenged = Challenged::new(first, &nonce()?, salt, iterations);
        let identity = is_known.then(|| name.identity());
        Ok(Outcome::Challenge(Box::new(Proof { hash, challenged, against, identity })))
    }

    fn salted(&self, hash: ScramHash, name: &Name, passwords: Vec<Password>) -> Against {
        let salt = self.decoys.salt(hash, name, SALT_LEN);
        Against::Passwords { passwords, salt, iterations: self.iterations }
    }
}

/// The passwords among these, and whether there are any.
fn passwords(credentials: Vec<Credential>) -> (Vec<Password>, bool) {
    let passwords: Vec<_> = credentials
        .into_iter()
        .filter_map(|credential| match credential {
            Credential::Plain(password) => Some(password),
            Credential::Hashed(_) => None,
        })
        .collect();
    let has_some = !passwords.is_empty();
    (passwords, has_some)
}

/// A password as clients may hash it: as the standard says, and as it is, which is what libsasl
/// does. For ASCII both are the same.
fn ready(password: &[u8]) -> Vec<Zeroizing<Vec<u8>>> {
    let ready = prepared(password);
    if **ready == *password { vec![ready] } else { vec![ready, Zeroizing::new(password.to_vec())] }
}

/// Checks a proof; then the last message can be made. All keys are looked at.
fn proven(
    keys: &[ScramKeys],
    answer: &Answer,
    identity: Option<Identity>,
) -> Result<(Vec<u8>, Identity), Refusal> {
    let mut right = None;
    for keys in keys {
        if answer.is_right(keys).into() {
            right = Some(keys);
        }
    }
    let (Some(keys), Some(identity)) = (right, identity) else { return Err(Refusal::Wrong) };
    Ok((answer.last(keys), identity))
}

/// What users who do not exist are made of: the same name gives the same again, and nobody can
/// compute it. Salts of users whose passwords are stored in clear come from here too.
struct Decoys {
    secret: Zeroizing<[u8; 32]>,
}

impl Decoys {
    /// Chooses the shape of the entry that this name might have.
    fn number(&self, name: &Name) -> u64 {
        let bytes = self.bytes("shape", name);
        bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn salt(&self, hash: ScramHash, name: &Name, len: usize) -> Box<[u8]> {
        let mut salt = Vec::with_capacity(len + 32);
        for part in 0.. {
            if salt.len() >= len {
                break;
            }
            salt.extend_from_slice(&self.bytes(&format!("salt {hash:?} {part}"), name));
        }
        salt.truncate(len);
        salt.into()
    }

    fn keys(&self, hash: ScramHash, name: &Name, iterations: u32, salt_bytes: usize) -> ScramKeys {
        let salt = self.salt(hash, name, salt_bytes);
        let key = hash.digest(&self.bytes("keys", name));
        ScramKeys { hash, iterations, salt, stored: key.clone(), server: key }
    }

    fn password(&self, name: &Name) -> Option<Password> {
        Password::new(&self.bytes("password", name)[..16])
    }

    fn bytes(&self, what: &str, name: &Name) -> Zeroizing<Vec<u8>> {
        let text = [what.as_bytes(), b"\0", name.text()].concat();
        let digest = ScramHash::Sha256.hmac(&*self.secret, &text);
        Zeroizing::new(digest.as_slice().to_vec())
    }
}

/// Random text: 144 bits, printable.
fn nonce() -> Result<String, Refusal> {
    let mut bytes = [0; 18];
    getrandom::fill(&mut bytes).map_err(|_| Refusal::NoRandom)?;
    Ok(Base64::encode_string(&bytes))
}

#[cfg(test)]
mod tests;
