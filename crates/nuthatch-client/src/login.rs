//! Who the client is, for servers that ask.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use nuthatch_transport::sasl::Mechanism;

/// A user and a password.
#[derive(Clone, Eq, PartialEq)]
pub struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    /// Of a user.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: user.into(), password: password.into() }
    }

    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Credentials {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// How a client logs in, on every connection anew.
///
/// A server that takes logins by SASL speaks the binary protocol, one that takes them by text
/// (`-Y` of memcached) the text protocols; which of them it is shows when a connection is made,
/// unless [`Builder::protocol`](crate::Builder::protocol) says. A password is never sent in a text
/// login unless the server has asked for one: any other would keep it as an item.
///
/// ```
/// use nuthatch_client::{Client, Credentials, Login, sasl::Mechanism};
///
/// let fixed = Login::new(Credentials::new("sammy", "S3cretPw"));
/// // Only where the server proves that it knows the password too.
/// let strict = fixed.clone().mechanisms(vec![Mechanism::parse(b"SCRAM-SHA-256").unwrap()]);
/// // Asked for whenever a connection is made: tokens that are good for some minutes.
/// let token = Login::provider(|| async { Ok(Credentials::new("sammy", fetch_token().await?)) });
/// # async fn fetch_token() -> Result<String, std::io::Error> { Ok(String::new()) }
/// let builder = Client::builder().login(token);
/// # let _ = (strict, builder);
/// ```
#[derive(Clone)]
pub struct Login {
    provider: Arc<dyn Fn() -> Provided + Send + Sync>,
    mechanisms: Arc<[Mechanism]>,
}

type Provided = Pin<Box<dyn Future<Output = Result<Credentials, ProviderError>> + Send>>;

/// Why there are no credentials; whatever error the provider has.
pub type ProviderError = Box<dyn std::error::Error + Send + Sync>;

impl Login {
    /// With credentials that stay the same.
    pub fn new(credentials: Credentials) -> Self {
        Self::provider(move || {
            let credentials = credentials.clone();
            async { Ok(credentials) }
        })
    }

    /// With credentials that are asked for whenever a connection is made, within its time limit.
    pub fn provider<F>(provider: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Credentials, ProviderError>> + Send + 'static,
    {
        Self {
            provider: Arc::new(move || Box::pin(provider())),
            mechanisms: Mechanism::DEFAULT.into(),
        }
    }

    /// The SASL mechanisms that may be used, best first; without this
    /// [`Mechanism::DEFAULT`]. Leave PLAIN out where the connection is not encrypted and somebody
    /// may listen.
    #[must_use]
    pub fn mechanisms(mut self, mechanisms: Vec<Mechanism>) -> Self {
        self.mechanisms = mechanisms.into();
        self
    }

    pub(crate) async fn credentials(&self) -> Result<Credentials, ProviderError> {
        (self.provider)().await
    }

    pub(crate) fn wanted(&self) -> &[Mechanism] {
        &self.mechanisms
    }
}

impl From<Credentials> for Login {
    fn from(credentials: Credentials) -> Self {
        Self::new(credentials)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("mechanisms", &self.mechanisms).finish_non_exhaustive()
    }
}
