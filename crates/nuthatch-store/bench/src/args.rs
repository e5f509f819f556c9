//! Command line words: `--name value` and `--name`, each taken by whoever wants it; what is left
//! over in the end is an error.

use std::str::FromStr;

use crate::Result;

/// The words after the mode.
pub(crate) struct Args(Vec<String>);

impl Args {
    pub(crate) fn new(words: Vec<String>) -> Self {
        Self(words)
    }

    /// Takes `--name VALUE`.
    pub(crate) fn take(&mut self, name: &str) -> Result<Option<String>> {
        let Some(at) = self.0.iter().position(|word| word == name) else { return Ok(None) };
        if at + 1 == self.0.len() {
            return Err(format!("{name} wants a value").into());
        }
        let value = self.0.remove(at + 1);
        self.0.remove(at);
        Ok(Some(value))
    }

    /// Takes `--name NUMBER`, or the default.
    pub(crate) fn number<T: FromStr>(&mut self, name: &str, default: T) -> Result<T> {
        match self.take(name)? {
            None => Ok(default),
            Some(word) => word.parse().map_err(|_| format!("{name}: {word}?").into()),
        }
    }

    /// Takes `--name a,b,c`, or the default.
    pub(crate) fn list(&mut self, name: &str, default: &str) -> Result<Vec<String>> {
        let words = self.take(name)?.unwrap_or_else(|| default.to_owned());
        Ok(words.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect())
    }

    /// Takes a word that must be there.
    pub(crate) fn need(&mut self, name: &str) -> Result<String> {
        self.take(name)?.ok_or_else(|| format!("{name} is missing").into())
    }

    /// Refuses what nobody took.
    pub(crate) fn end(self) -> Result<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(format!("unknown: {}", self.0.join(" ")).into())
        }
    }
}
