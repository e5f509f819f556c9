//! What gives lists of members.

use std::{fmt, pin::Pin};

use crate::{Members, SourceError};

/// What [`Source::next`] answers with.
pub type Next<'a> = Pin<Box<dyn Future<Output = Result<Members, SourceError>> + Send + 'a>>;

/// Something that knows the members of a cluster: a list, a name in DNS, a store, a node that is
/// asked.
///
/// A source paces itself: it knows when its answer may be out of date, and waits until then. It
/// does not try again by itself, does not judge versions and remembers no list for others: that is
/// [`follow`](crate::follow)'s.
///
/// ```
/// use nuthatch_discovery::{Members, Next, Source, SourceError};
///
/// /// Asks somebody every minute.
/// #[derive(Debug)]
/// struct Poll {
///     asked: bool,
/// }
///
/// impl Source for Poll {
///     fn next(&mut self) -> Next<'_> {
///         Box::pin(async {
///             if std::mem::replace(&mut self.asked, true) {
///                 tokio::time::sleep(std::time::Duration::from_secs(60)).await;
///             }
///             ask().await
///         })
///     }
///
///     fn describe(&self) -> String {
///         "a friend".to_owned()
///     }
/// }
/// # async fn ask() -> Result<Members, SourceError> { Err(SourceError::Empty) }
/// ```
pub trait Source: Send + fmt::Debug {
    /// The whole list: at the first call as soon as it can be had, at later ones as soon as it may
    /// be another one. The same list may come again; that says that the source is well.
    ///
    /// It limits the time of what it asks by itself. After an error it is called again, after a
    /// pause; then it answers as at the first call. Dropped before it is done, it leaves the
    /// source in a state from which the next call goes on.
    ///
    /// # Errors
    ///
    /// [`SourceError`], the list of before being as good as it was.
    fn next(&mut self) -> Next<'_>;

    /// What it is, in a few words for a log: never a password.
    fn describe(&self) -> String;
}

impl Source for Box<dyn Source> {
    fn next(&mut self) -> Next<'_> {
        (**self).next()
    }

    fn describe(&self) -> String {
        (**self).describe()
    }
}
