//! Sources as text: what a command line or a URL says.

use std::{fmt, str::FromStr};

use crate::{Source, SourceError, Static};

/// A source of members as it is written down:
///
/// | text | source |
/// |---|---|
/// | `static:host[:port[:weight]],…` | [`Static`] |
///
/// Entries of lists may be separated by `+` as well as by a comma, for option lists that have
/// commas of their own.
///
/// ```
/// use nuthatch_discovery::SourceSpec;
///
/// let spec: SourceSpec = "static:cache-1.example+cache-2.example:11212".parse()?;
/// let source = spec.open()?;
/// assert_eq!(source.describe(), "a list of 2");
/// # Ok::<(), nuthatch_discovery::SourceError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SourceSpec(Kind);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Kind {
    Static(String),
}

impl SourceSpec {
    /// Makes the source. Nothing is asked yet.
    ///
    /// # Errors
    ///
    /// [`SourceError::Setting`] for what cannot work.
    pub fn open(&self) -> Result<Box<dyn Source>, SourceError> {
        match &self.0 {
            Kind::Static(list) => Ok(Box::new(Static::parse(list)?)),
        }
    }

    /// Whether it is asked over the network.
    pub fn is_remote(&self) -> bool {
        !matches!(self.0, Kind::Static(_))
    }
}

impl FromStr for SourceSpec {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        if let Some(list) = text.strip_prefix("static:") {
            let list = list.replace('+', ",");
            Static::parse(&list)?;
            return Ok(Self(Kind::Static(list)));
        }
        Err(SourceError::Setting(format!("'{text}' is no source of members")))
    }
}

impl fmt::Display for SourceSpec {
    /// As it was written, without passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Static(list) => write!(f, "static:{list}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_commas_or_pluses() {
        let commas: SourceSpec = "static:5@a,b:1".parse().unwrap();
        let pluses: SourceSpec = "static:5@a+b:1".parse().unwrap();
        assert_eq!(commas, pluses);
        assert_eq!(commas.to_string(), "static:5@a,b:1");
        assert!(!commas.is_remote());
    }

    #[test]
    fn what_is_no_source_is_refused() {
        for text in ["", "static", "static:", "static:a:b", "file:/x", "a:11211"] {
            assert!(text.parse::<SourceSpec>().is_err(), "{text}");
        }
    }
}
