//! Logins: `-Y`'s of the text protocol, and SASL's of the binary one.
//!
//! ```text
//!   Sasl::Auth, Sasl::Step ──► Exchange ── Work(job) ──► Pool ── later ──► Exchange ──► reply
//!                                 └─ Challenge, Done, Refused ────────────────────────► reply
//! ```
//!
//! What must be known from one step to the next stands with the connection ([`Client`]). Who has
//! logged in does too, and in the session alone: nothing is served by what this module remembers.
//!
//! Names are logged, as the client sent them; what proves them never is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use nuthatch_proto::{Auth, Later, Outcome, Reply, Sasl, Value};
use nuthatch_transport::Origin;
use nuthatch_transport::passwords::{Check, Passwords, USER_LEN_MAX};
use nuthatch_transport::sasl::{Authenticator, Exchange, Job, Refusal, Step};

use super::{Engine, ItemPin};
use crate::logins::{Attempt, Pool, Tried};

/// What a client hears that is refused, in either protocol.
const FAILURE: &str = "CLIENT_ERROR authentication failure";

/// What a client hears where too many others are being checked.
const TOO_MANY: &str = "SERVER_ERROR too many logins at a time";

/// Who may log in, and what came of it so far.
#[derive(Debug)]
pub(super) struct Logins {
    pub(super) passwords: Option<Passwords>,
    pub(super) authenticator: Option<Authenticator>,
    pool: Pool,
    /// Logins that came to an end, and those of them that failed.
    pub(super) auth_cmds: AtomicU64,
    pub(super) auth_errors: AtomicU64,
}

/// What is known of a connection's logins.
struct Client {
    origin: Origin,
    n_failures: u32,
    /// The one that is under way, if it is SASL's.
    exchange: Option<Exchange>,
}

impl Client {
    /// One of whom nothing else is known yet.
    const fn at(origin: Origin) -> Self {
        Self { origin, n_failures: 0, exchange: None }
    }

    /// That of a connection which has begun a login and is answered late.
    fn answered<'r>(reply: &'r mut Reply<'_, ItemPin>) -> &'r mut Self {
        reply.keep(|| Self::at(Origin::Local))
    }
}

impl Logins {
    pub(super) fn new(passwords: Option<Passwords>, authenticator: Option<Authenticator>) -> Self {
        Self {
            passwords,
            authenticator,
            pool: Pool::new(),
            auth_cmds: AtomicU64::new(0),
            auth_errors: AtomicU64::new(0),
        }
    }

    fn succeed(&self, reply: &mut Reply<'_, ItemPin>, user: &[u8], line: &str) {
        self.auth_cmds.fetch_add(1, Relaxed);
        tracing::info!(conn = reply.conn(), user = %user.escape_ascii(), "logged in");
        reply.line(line);
        reply.log_in(user);
    }

    fn fail(&self, reply: &mut Reply<'_, ItemPin>, line: &str) {
        self.auth_cmds.fetch_add(1, Relaxed);
        self.auth_errors.fetch_add(1, Relaxed);
        reply.error(line);
    }

    /// Answers a step of SASL, unless there is work to be done first. `claimed` is who the client
    /// says it is.
    fn say(&self, step: Step, claimed: &[u8], reply: &mut Reply<'_, ItemPin>) -> Option<Job> {
        let conn = reply.conn();
        let refusal = match step {
            Step::Work(job) => return Some(job),
            Step::Challenge(challenge) => {
                tracing::info!(conn, "sasl result code:  1");
                reply.challenge(&challenge);
                return None;
            }
            Step::Done(identity) => {
                tracing::info!(conn, "sasl result code:  0");
                let mut user = identity.user().to_vec();
                if let Some(realm) = identity.realm() {
                    user.push(b'@');
                    user.extend_from_slice(realm);
                }
                self.succeed(reply, &user, "Authenticated");
                return None;
            }
            Step::Refused(refusal) => refusal,
            _ => Refusal::Malformed,
        };
        let code = refusal.code();
        tracing::info!(conn, "sasl result code:  {code}");
        tracing::info!(conn, "Unknown sasl response:  {code} ({refusal})");
        tracing::info!(conn, user = %claimed.escape_ascii(), "log-in failed");
        self.fail(reply, FAILURE);
        None
    }
}

impl Engine {
    /// Answers a login of the text protocol. Without users nobody can log in; a server asks for
    /// none then.
    pub(super) fn log_in(&self, auth: Auth<'_>, reply: &mut Reply<'_, ItemPin>) -> Outcome {
        let logins = &self.shared.logins;
        let Some(passwords) = &logins.passwords else {
            logins.fail(reply, FAILURE);
            return Outcome::Done;
        };
        let check = passwords.check(auth.user, auth.password);
        let Client { origin, n_failures, .. } = *self.client(reply);
        // Longer names are in no file: as much of them as anybody wants to read in a log.
        let user = auth.user[..auth.user.len().min(USER_LEN_MAX)].into();
        let later = reply.later();
        let attempt = TextAttempt { logins: Arc::clone(logins), later, user, check };
        logins.pool.try_later(origin, n_failures, attempt);
        Outcome::Pending
    }

    /// Answers a login of the binary protocol. Without `-S` it is an unknown command.
    pub(super) fn sasl(&self, sasl: Sasl<'_>, reply: &mut Reply<'_, ItemPin>) -> Outcome {
        let logins = &self.shared.logins;
        let Some(authenticator) = &logins.authenticator else {
            reply.error("ERROR");
            return Outcome::Done;
        };
        let (mechanism, data, begins) = match sasl {
            Sasl::Auth { mechanism, data } => (mechanism, data, true),
            Sasl::Step { mechanism, data } => (mechanism, data, false),
            _ => {
                reply.line(authenticator.list());
                return Outcome::Done;
            }
        };
        // A session keeps data that it does not have from us.
        let data = if let Value::Here(data) = data { data } else { b"" };
        let shown = mechanism.split(|byte| *byte == 0).next().unwrap_or_default();
        tracing::info!(
            conn = reply.conn(),
            "mech:  ``{}'' with {} bytes of data",
            shown.escape_ascii(),
            data.len()
        );
        let client = self.client(reply);
        let exchange = client.exchange.get_or_insert_with(|| authenticator.exchange());
        let step = if begins { exchange.start(mechanism, data) } else { exchange.step(data) };
        let claimed = claimed(exchange);
        let (origin, n_failures) = (client.origin, client.n_failures);
        if matches!(step, Step::Refused(Refusal::Wrong)) {
            // A name that nobody can have, or that of another one.
            client.n_failures = client.n_failures.saturating_add(1);
            logins.pool.note_failure(origin);
        }
        match logins.say(step, &claimed, reply) {
            None => Outcome::Done,
            Some(job) => {
                let attempt = SaslAttempt { logins: Arc::clone(logins), later: reply.later(), job };
                logins.pool.try_later(origin, n_failures, attempt);
                Outcome::Pending
            }
        }
    }

    fn client<'r>(&self, reply: &'r mut Reply<'_, ItemPin>) -> &'r mut Client {
        let number = reply.conn();
        reply.keep(|| Client::at(self.peer(number).map_or(Origin::Local, |peer| peer.origin())))
    }
}

fn claimed(exchange: &Exchange) -> Vec<u8> {
    exchange.claimed().map_or_else(Vec::new, |name| name.text().to_vec())
}

/// Notes a failure of the connection that a late answer is for.
fn count_failure(reply: &mut Reply<'_, ItemPin>) {
    let client = Client::answered(reply);
    client.n_failures = client.n_failures.saturating_add(1);
}

/// A user and a password.
struct TextAttempt {
    logins: Arc<Logins>,
    later: Later<ItemPin>,
    user: Box<[u8]>,
    check: Check,
}

impl Attempt for TextAttempt {
    fn is_wanted(&self) -> bool {
        self.later.is_wanted()
    }

    fn check(self: Box<Self>, _: SystemTime) -> Tried {
        let Self { logins, later, user, check } = *self;
        let is_right = match check {
            Check::Answer(is_right) => is_right,
            Check::Work(job) => job.run(),
            _ => false,
        };
        later.answer(move |reply| {
            if is_right {
                return logins.succeed(reply, &user, "STORED");
            }
            tracing::info!(conn = reply.conn(), user = %user.escape_ascii(), "log-in failed");
            count_failure(reply);
            logins.fail(reply, FAILURE);
        });
        if is_right { Tried::Unknown } else { Tried::Wrong }
    }

    fn refuse(self: Box<Self>) {
        let Self { logins, later, .. } = *self;
        later.answer(move |reply| logins.fail(reply, TOO_MANY));
    }
}

/// A step of SASL that takes its time.
struct SaslAttempt {
    logins: Arc<Logins>,
    later: Later<ItemPin>,
    job: Job,
}

impl Attempt for SaslAttempt {
    fn is_wanted(&self) -> bool {
        self.later.is_wanted()
    }

    fn check(self: Box<Self>, now: SystemTime) -> Tried {
        let Self { logins, later, job } = *self;
        let worked = job.run(now);
        let is_wrong = worked.is_wrong();
        later.answer(move |reply| {
            if is_wrong {
                count_failure(reply);
            }
            let conn = reply.conn();
            let client = Client::answered(reply);
            let (step, claimed) = match &mut client.exchange {
                Some(exchange) => (exchange.finish(worked), claimed(exchange)),
                None => (Step::Refused(Refusal::Malformed), Vec::new()),
            };
            if logins.say(step, &claimed, reply).is_some() {
                tracing::error!(conn, "a login wants more work after its work");
                logins.fail(reply, FAILURE);
            }
        });
        if is_wrong { Tried::Wrong } else { Tried::Unknown }
    }

    fn refuse(self: Box<Self>) {
        let Self { logins, later, .. } = *self;
        later.answer(move |reply| logins.fail(reply, TOO_MANY));
    }
}
