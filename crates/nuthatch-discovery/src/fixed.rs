//! A list that does not change.

use nuthatch_types::Node;

use crate::{Member, Members, Next, Source, SourceError, clock, spec::host_and_rest};

/// A list that was written down: `host[:port[:weight]],…`, or with addresses beside the names, for
/// clients that look only at these: `host|address|port[|weight],…`.
///
/// Nobody tells its version, unless the list does: `VERSION@host,…`. Otherwise it is the time at
/// which the list was read, in seconds since 1970, so that a list that an operator changes between
/// two starts has a higher version after the second. Nodes that are started with the same list at
/// different times then give it different versions; who needs them to agree writes a version.
///
/// ```
/// use nuthatch_discovery::Static;
///
/// let list = Static::parse("3@10.0.0.1, cache.example:11212, [2001:db8::7]:11211:2")?;
/// assert_eq!(list.members().version(), 3);
/// let members: Vec<_> = list.members().members().iter().map(ToString::to_string).collect();
/// assert_eq!(
///     members,
///     ["10.0.0.1|10.0.0.1|11211", "2001:db8::7|2001:db8::7|11211 weight 2", "cache.example||11212"]
/// );
/// # Ok::<(), nuthatch_discovery::SourceError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Static {
    members: Members,
    told: bool,
}

impl Static {
    /// memcached's port, where a list names none.
    pub const PORT: u16 = 11211;

    /// Of a list in memory.
    pub fn new(members: Members) -> Self {
        Self { members, told: false }
    }

    /// Reads a list. An IPv6 address with a port stands in brackets. A host that is an address has
    /// it as its name too, so that clients that look at either find it.
    ///
    /// # Errors
    ///
    /// [`SourceError::Setting`] naming the first entry that cannot be read.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let (version, list) = match text.split_once('@') {
            Some((version, list)) => {
                let version = version.trim().parse().map_err(|_| {
                    SourceError::Setting(format!("'{version}' before @ is no version of a list"))
                })?;
                (version, list)
            }
            None => (clock::unix_seconds(), text),
        };
        let members: Vec<_> = list
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(member)
            .collect::<Result<_, _>>()?;
        if members.is_empty() {
            return Err(SourceError::Setting("a list without members".to_owned()));
        }
        Ok(Self::new(Members::new(version, members)))
    }

    /// The list.
    pub fn members(&self) -> &Members {
        &self.members
    }
}

impl Source for Static {
    fn next(&mut self) -> Next<'_> {
        Box::pin(async {
            if std::mem::replace(&mut self.told, true) {
                std::future::pending::<()>().await;
            }
            Ok(self.members.clone())
        })
    }

    fn describe(&self) -> String {
        format!("a list of {}", self.members.len())
    }
}

/// Reads `host|address|port[|weight]` or `host[:port[:weight]]`.
fn member(entry: &str) -> Result<Member, SourceError> {
    let wrong = |why: &str| SourceError::Setting(format!("'{entry}': {why}"));
    if entry.contains('|') {
        return Member::parse(entry).map_err(|error| wrong(&error.to_string()));
    }
    let is_bare = entry.parse::<std::net::Ipv6Addr>().is_ok();
    let cut = if is_bare { Some((entry, None)) } else { host_and_rest(entry) };
    let (host, rest) = cut.ok_or_else(|| wrong("no host[:port[:weight]]"))?;
    let mut parts = rest.unwrap_or_default().split(':');
    let port = match parts.next().filter(|port| !port.is_empty()) {
        Some(port) => port.parse().map_err(|_| wrong("no port"))?,
        None => Static::PORT,
    };
    let weight = match parts.next() {
        Some(weight) => {
            weight.parse().ok().filter(|weight| *weight > 0).ok_or_else(|| wrong("no weight"))?
        }
        None => Member::WEIGHT,
    };
    if parts.next().is_some() {
        return Err(wrong("more than host:port:weight"));
    }
    let address = if host.parse::<std::net::IpAddr>().is_ok() { host } else { "" };
    let node = Node::new(host, address, port).map_err(|error| wrong(&error.to_string()))?;
    Ok(Member::new(node).with_weight(weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn listed(text: &str, expected: &[&str]) {
        let list = Static::parse(text).unwrap();
        let members: Vec<_> = list.members().members().iter().map(ToString::to_string).collect();
        assert_eq!(members, expected, "{text}");
    }

    #[test]
    fn entries() {
        listed("a", &["a||11211"]);
        listed("a:1", &["a||1"]);
        listed("a:1:9", &["a||1 weight 9"]);
        listed("host::9", &["host||11211 weight 9"]);
        listed("b,a,", &["a||11211", "b||11211"]);
        listed("10.0.0.1:5", &["10.0.0.1|10.0.0.1|5"]);
        listed("a|10.0.0.1|5", &["a|10.0.0.1|5"]);
        listed("a||5|2,b:1", &["a||5 weight 2", "b||1"]);
        listed("::1", &["::1|::1|11211"]);
        listed("[::1]", &["::1|::1|11211"]);
        listed("[::1]:5:2", &["::1|::1|5 weight 2"]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for text in [
            "", ",", "a:0", "a:65536", "a:x", "a:1:0", "a:1:x", "a:1:1:1", "a|b", "a|b|0",
            "a|b|1|0", "a|b|c|1", "[::1", ":1",
        ] {
            let error = Static::parse(text).unwrap_err();
            assert!(matches!(error, SourceError::Setting(_)), "{text}: {error}");
        }
        assert!(Static::parse("x@a").unwrap_err().to_string().contains('x'));
    }

    #[test]
    fn a_list_without_a_version_gets_the_time() {
        // After this was written, and before 2100.
        let version = Static::parse("a").unwrap().members().version();
        assert!((1_700_000_000..4_102_444_800).contains(&version), "{version}");
    }
}
