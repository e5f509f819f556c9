//! Rules as text, for configuration: `name`, or `name:hash`.

use std::fmt;
use std::str::FromStr;

use super::hash::HashKind;
use super::router::{Router, Rule};

/// Text that names no router.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RouterError {
    /// No rule of this name.
    #[error("no router of this name; there are {list}", list = Names)]
    Rule,
    /// No hash function of this name.
    #[error("no hash function of this name; there are {list}", list = Hashes)]
    Hash,
    /// More after the name than the rule takes, or no number of points.
    #[error("router with a part that it does not take")]
    Part,
}

impl FromStr for Router {
    type Err = RouterError;

    /// Reads what [`Display`](fmt::Display) writes. A hash may be left out for the one that is the
    /// default in the software whose rule it is.
    fn from_str(text: &str) -> Result<Self, RouterError> {
        let (name, part) =
            text.split_once(':').map_or((text, None), |(name, part)| (name, Some(part)));
        let (_, rule) = RULES.iter().find(|(known, _)| *known == name).ok_or(RouterError::Rule)?;
        let Some(part) = part else { return Ok(Self(rule.clone())) };
        let rule = match rule {
            Rule::KetamaLibmemcached(_) => Rule::KetamaLibmemcached(part.parse()?),
            Rule::ModulaLibmemcached(_) => Rule::ModulaLibmemcached(part.parse()?),
            Rule::KetamaTwemproxy(_) => Rule::KetamaTwemproxy(part.parse()?),
            Rule::ModulaTwemproxy(_) => Rule::ModulaTwemproxy(part.parse()?),
            Rule::PerlKetama(_) => {
                let points = part.parse().ok().filter(|points| *points > 0);
                Rule::PerlKetama(points.ok_or(RouterError::Part)?)
            }
            _ => return Err(RouterError::Part),
        };
        Ok(Self(rule))
    }
}

impl fmt::Display for Router {
    /// Its name in configuration, or `custom`, which cannot be read back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let same = |known: &Self| std::mem::discriminant(known) == std::mem::discriminant(self);
        let known = RULES.iter().find(|(_, known)| same(known));
        f.write_str(known.map_or("custom", |(name, _)| name))?;
        match self {
            Self::KetamaLibmemcached(hash)
            | Self::ModulaLibmemcached(hash)
            | Self::KetamaTwemproxy(hash)
            | Self::ModulaTwemproxy(hash) => write!(f, ":{hash}"),
            Self::PerlKetama(points) => write!(f, ":{points}"),
            _ => Ok(()),
        }
    }
}

impl FromStr for HashKind {
    type Err = RouterError;

    /// Reads a name as libmemcached or twemproxy has it.
    fn from_str(name: &str) -> Result<Self, RouterError> {
        match name {
            "default" => Ok(Self::OneAtATime),
            // twemproxy's name for it.
            "crc32" => Ok(Self::Crc),
            _ => Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or(RouterError::Hash),
        }
    }
}

/// The names, each with the rule as it is if no more is said.
const RULES: &[(&str, Rule)] = &[
    ("rendezvous", Rule::Rendezvous),
    ("jump", Rule::Jump),
    ("ketama-libmemcached", Rule::KetamaLibmemcached(HashKind::OneAtATime)),
    ("ketama-libmemcached-weighted", Rule::KetamaLibmemcachedWeighted),
    ("ketama-libmemcached-spy", Rule::KetamaLibmemcachedSpy),
    ("modula-libmemcached", Rule::ModulaLibmemcached(HashKind::OneAtATime)),
    ("ketama-twemproxy", Rule::KetamaTwemproxy(HashKind::Fnv1a64)),
    ("modula-twemproxy", Rule::ModulaTwemproxy(HashKind::Fnv1a64)),
    ("ketama-spymemcached", Rule::KetamaSpymemcached),
    ("modula-spymemcached", Rule::ModulaSpymemcached),
    ("ketama-aws", Rule::KetamaAws),
    ("pymemcache", Rule::Pymemcache),
    ("emcache", Rule::Emcache),
    ("bmemcached", Rule::Bmemcached),
    ("meta-memcache", Rule::MetaMemcache),
    ("python-memcached", Rule::PythonMemcached),
    ("dalli", Rule::Dalli),
    ("perl", Rule::Perl),
    ("perl-ketama", Rule::PerlKetama(150)),
    ("npm-memcached", Rule::NpmMemcached),
    ("npm-memcache", Rule::NpmMemcache),
    ("npm-memjs", Rule::NpmMemjs),
    ("gomemcache", Rule::Gomemcache),
];

struct Names;

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        listed(f, RULES.iter().map(|(name, _)| *name))
    }
}

struct Hashes;

impl fmt::Display for Hashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        listed(f, HashKind::ALL.into_iter().map(HashKind::name))
    }
}

fn listed<'a>(f: &mut fmt::Formatter<'_>, names: impl Iterator<Item = &'a str>) -> fmt::Result {
    for (i, name) in names.enumerate() {
        f.write_str(if i == 0 { "" } else { ", " })?;
        f.write_str(name)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for (name, rule) in RULES {
            let router = Router(rule.clone());
            assert_eq!(name.parse(), Ok(router.clone()));
            assert_eq!(router.to_string().parse(), Ok(router));
        }
        for hash in HashKind::ALL {
            let router = Router::ketama_twemproxy(hash);
            assert_eq!(router.to_string().parse(), Ok(router));
        }
        assert_eq!("perl-ketama:7".parse(), Ok(Router::perl_ketama(7)));
        assert_eq!("ketama-twemproxy:crc32".parse(), Ok(Router::ketama_twemproxy(HashKind::Crc)));
        assert_eq!(
            "modula-libmemcached:default".parse(),
            Ok(Router::modula_libmemcached(HashKind::OneAtATime))
        );
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for (text, error) in [
            ("", RouterError::Rule),
            ("custom", RouterError::Rule),
            ("Rendezvous", RouterError::Rule),
            ("ketama-twemproxy:", RouterError::Hash),
            ("ketama-twemproxy:sha1", RouterError::Hash),
            ("perl-ketama:0", RouterError::Part),
            ("rendezvous:md5", RouterError::Part),
        ] {
            assert_eq!(text.parse::<Router>(), Err(error), "{text:?}");
        }
        assert!(RouterError::Rule.to_string().contains("there are rendezvous, jump, ketama-"));
        assert!(RouterError::Hash.to_string().ends_with("jenkins, murmur3"));
    }

    #[test]
    fn rules_of_ones_own_equal_their_clones() {
        let custom = Router::custom(|_, _| 0);
        assert_eq!(custom, custom.clone());
        assert_ne!(custom, Router::custom(|_, _| 0));
        assert_ne!(custom, Router::rendezvous());
        assert_eq!(custom.to_string(), "custom");
    }
}
