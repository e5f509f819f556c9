//! Sources as text: what a command line or a URL says.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use crate::{Joining, Member, Source, SourceError, Static};

/// A source of members as it is written down:
///
/// | text | source |
/// |---|---|
/// | `static:[VERSION@]host[:port[:weight]],…` | a list that does not change, [`Static`] |
/// | `dns+host:port` | the addresses of a name |
/// | `dnssrv+_service._tcp.name` | the SRV records of a name |
/// | `etcd://host[:port],…/prefix` | keys in etcd; `etcds://` over TLS |
///
/// Entries of lists may be separated by `+` as well as by a comma, for option lists that have
/// commas of their own. A host without a port has 11211, or 2379 for etcd; the prefix is
/// `/nuthatch` where none is written.
///
/// ```
/// use nuthatch_discovery::{Access, SourceSpec};
///
/// let spec: SourceSpec = "static:cache-1.example+cache-2.example:11212".parse()?;
/// let source = spec.open(&Access::default())?;
/// assert_eq!(source.describe(), "a list of 2");
/// # Ok::<(), nuthatch_discovery::SourceError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SourceSpec(Kind);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Kind {
    Static(String),
    Dns { name: String, port: u16 },
    DnsSrv { name: String },
    Etcd { servers: Vec<(String, u16)>, prefix: String, tls: bool },
}

/// What a source is asked with that is not for everybody's eyes, or for special cases.
#[derive(Clone, Default, Eq, PartialEq)]
#[must_use]
pub struct Access {
    login: Option<(String, String)>,
    login_file: Option<PathBuf>,
    ca: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
    name_servers: Vec<SocketAddr>,
    is_member: bool,
}

impl Access {
    /// A user and a password, for etcd.
    pub fn login(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.login = Some((user.into(), password.into()));
        self
    }

    /// The file whose first line is `user:password`, for etcd. This file and those of certificates
    /// are read again whenever etcd has to be connected to anew.
    pub fn login_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.login_file = Some(file.into());
        self
    }

    /// The file of the certificates of those who may sign the server's, for TLS; the machine's own
    /// without it.
    pub fn ca(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca = Some(file.into());
        self
    }

    /// The files of the certificate that is shown to the server, and of its key, for TLS.
    pub fn identity(mut self, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.identity = Some((chain.into(), key.into()));
        self
    }

    /// The servers of DNS, in place of those of `/etc/resolv.conf`.
    pub fn name_servers(mut self, servers: Vec<SocketAddr>) -> Self {
        self.name_servers = servers;
        self
    }

    /// Whoever asks is a member and may write, so that it notes down for all who has left.
    pub fn member(mut self, is_member: bool) -> Self {
        self.is_member = is_member;
        self
    }
}

#[cfg(feature = "etcd")]
impl Access {
    /// Reads what etcd is shown.
    fn credentials(&self, tls: bool) -> Result<crate::etcd::Credentials, SourceError> {
        use nuthatch_transport::tls::ClientTls;

        let mut credentials =
            crate::etcd::Credentials { login: self.login.clone(), ..Default::default() };
        if let Some(file) = &self.login_file {
            let login = read_login(file)
                .map_err(|why| SourceError::Setting(format!("{}: {why}", file.display())))?;
            credentials.login = Some(login);
        }
        if tls {
            let mut tls = ClientTls::builder();
            if let Some(ca) = &self.ca {
                tls = tls.roots(ca);
            }
            if let Some((chain, key)) = &self.identity {
                tls = tls.identity(chain, key);
            }
            let tls = tls.build().map_err(|error| SourceError::Setting(error.to_string()))?;
            credentials.tls = Some(tls);
        }
        Ok(credentials)
    }
}

/// Reads the first line of a file, `user:password`.
#[cfg(feature = "etcd")]
fn read_login(file: &std::path::Path) -> Result<(String, String), String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let line = text.lines().next().unwrap_or_default();
    let (user, password) = line.split_once(':').ok_or("its first line is not user:password")?;
    Ok((user.to_owned(), password.to_owned()))
}

impl fmt::Debug for Access {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("user", &self.login.as_ref().map(|(user, _)| user))
            .field("login_file", &self.login_file)
            .field("ca", &self.ca)
            .field("identity", &self.identity)
            .field("name_servers", &self.name_servers)
            .field("is_member", &self.is_member)
            .finish()
    }
}

impl SourceSpec {
    /// Makes the source. Nothing is asked yet.
    ///
    /// # Errors
    ///
    /// [`SourceError::Setting`] for what cannot work: a file that cannot be read, a kind of source
    /// that is not built in.
    #[cfg_attr(
        not(any(feature = "dns", feature = "etcd")),
        expect(unused_variables, reason = "lists need no access")
    )]
    pub fn open(&self, access: &Access) -> Result<Box<dyn Source>, SourceError> {
        match &self.0 {
            Kind::Static(list) => Ok(Box::new(Static::parse(list)?)),
            #[cfg(feature = "dns")]
            Kind::Dns { name, port } => {
                Ok(Box::new(crate::Dns::addresses(name, *port).at(access.name_servers.clone())))
            }
            #[cfg(feature = "dns")]
            Kind::DnsSrv { name } => {
                Ok(Box::new(crate::Dns::services(name).at(access.name_servers.clone())))
            }
            #[cfg(feature = "etcd")]
            Kind::Etcd { .. } => {
                let source = crate::Etcd::new(self.etcd_settings(access)?);
                Ok(Box::new(source.marking(access.is_member)))
            }
            #[cfg(not(feature = "dns"))]
            Kind::Dns { .. } | Kind::DnsSrv { .. } => Err(not_built_in("dns")),
            #[cfg(not(feature = "etcd"))]
            Kind::Etcd { .. } => Err(not_built_in("etcd")),
        }
    }

    /// Prepares to make a member of whoever calls, if members keep the list themselves
    /// ([`has_registrations`](Self::has_registrations)). `ttl` is how long it stays in the list
    /// after it was last heard of, at least 2 s.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open); [`SourceError::Setting`] where members do not.
    #[cfg_attr(
        not(feature = "etcd"),
        expect(unused_variables, reason = "only etcd has registrations")
    )]
    pub fn register(
        &self,
        access: &Access,
        member: &Member,
        ttl: Duration,
    ) -> Result<Joining, SourceError> {
        match &self.0 {
            #[cfg(feature = "etcd")]
            Kind::Etcd { .. } => {
                let (settings, member) = (self.etcd_settings(access)?, member.clone());
                Ok(Joining::new(move || crate::register(settings, &member, ttl)))
            }
            #[cfg(not(feature = "etcd"))]
            Kind::Etcd { .. } => Err(not_built_in("etcd")),
            _ => Err(SourceError::Setting(format!("members cannot register in {self}"))),
        }
    }

    #[cfg(feature = "etcd")]
    fn etcd_settings(&self, access: &Access) -> Result<crate::EtcdSettings, SourceError> {
        let Kind::Etcd { servers, prefix, tls } = &self.0 else {
            return Err(SourceError::Setting(format!("{self} is not etcd")));
        };
        let (access, tls) = (access.clone(), *tls);
        let settings = crate::EtcdSettings::new(servers.clone(), prefix);
        settings.reading(move || access.credentials(tls))
    }

    /// Whether it is asked over the network.
    pub fn is_remote(&self) -> bool {
        !matches!(self.0, Kind::Static(_))
    }

    /// Whether it is DNS.
    pub fn is_dns(&self) -> bool {
        matches!(self.0, Kind::Dns { .. } | Kind::DnsSrv { .. })
    }

    /// Whether it is asked over TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self.0, Kind::Etcd { tls: true, .. })
    }

    /// Whether nothing that is said to it leaves this machine, by its loopback addresses.
    pub fn is_on_this_machine(&self) -> bool {
        let is_local = |host: &str| {
            host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        };
        match &self.0 {
            Kind::Static(_) => true,
            Kind::Etcd { servers, .. } => servers.iter().all(|(host, _)| is_local(host)),
            // Who knows whom a resolver asks.
            Kind::Dns { .. } | Kind::DnsSrv { .. } => false,
        }
    }

    /// Whether members keep the list themselves, each by a registration of its own.
    pub fn has_registrations(&self) -> bool {
        matches!(self.0, Kind::Etcd { .. })
    }
}

#[cfg(not(all(feature = "dns", feature = "etcd")))]
fn not_built_in(feature: &str) -> SourceError {
    SourceError::Setting(format!(
        "{feature} is not built in (Cargo feature {feature}), so it is no source of members here"
    ))
}

impl FromStr for SourceSpec {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let wrong = |why: &str| SourceError::Setting(format!("'{text}': {why}"));
        if let Some(list) = text.strip_prefix("static:") {
            let list = list.replace('+', ",");
            Static::parse(&list)?;
            return Ok(Self(Kind::Static(list)));
        }
        if let Some(name) = text.strip_prefix("dnssrv+") {
            let name = (is_host(name) && !name.contains(':')).then(|| name.to_owned());
            let name = name.ok_or_else(|| wrong("no name of a service, which has no port"))?;
            return Ok(Self(Kind::DnsSrv { name }));
        }
        if let Some(rest) = text.strip_prefix("dns+") {
            let (name, port) =
                host_port(rest, Static::PORT).ok_or_else(|| wrong("no host:port"))?;
            return Ok(Self(Kind::Dns { name, port }));
        }
        let (tls, rest) = match (text.strip_prefix("etcd://"), text.strip_prefix("etcds://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(wrong("no source of members (static:, dns+, dnssrv+, etcd://)")),
        };
        if rest.contains('@') {
            // It would be seen in lists of processes.
            return Err(wrong("passwords have no place here"));
        }
        let (servers, prefix) = match rest.split_once('/') {
            Some((servers, prefix)) => (servers, format!("/{}", prefix.trim_end_matches('/'))),
            None => (rest, String::new()),
        };
        let prefix = if prefix.len() > 1 { prefix } else { ETCD_PREFIX.to_owned() };
        if prefix.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err(wrong("no prefix"));
        }
        let servers: Option<Vec<_>> =
            servers.split([',', '+']).map(|server| host_port(server, ETCD_PORT)).collect();
        let servers = servers.ok_or_else(|| wrong("no host[:port] of etcd"))?;
        Ok(Self(Kind::Etcd { servers, prefix, tls }))
    }
}

/// Cuts at the colon after the host, if there is one; an IPv6 address is in brackets.
pub(crate) fn host_and_rest(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']')?;
        return Some((host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) }));
    }
    Some(text.split_once(':').map_or((text, None), |(host, rest)| (host, Some(rest))))
}

/// Reads `host[:port]`.
fn host_port(text: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = host_and_rest(text)?;
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port != 0)?,
        None => default,
    };
    is_host(host).then(|| (host.to_owned(), port))
}

/// Whether that can be a name or an address, as far as a list of them, a line of a log and who
/// looks for passwords are concerned.
fn is_host(text: &str) -> bool {
    let is_odd = |c: char| c.is_control() || c.is_whitespace() || "/|,+@".contains(c);
    !text.is_empty() && !text.contains(is_odd)
}

impl fmt::Display for SourceSpec {
    /// As it may be written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host_port = |(host, port): &(String, u16)| {
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
        };
        match &self.0 {
            Kind::Static(list) => write!(f, "static:{list}"),
            Kind::Dns { name, port } => write!(f, "dns+{}", host_port(&(name.clone(), *port))),
            Kind::DnsSrv { name } => write!(f, "dnssrv+{name}"),
            Kind::Etcd { servers, prefix, tls } => {
                let scheme = if *tls { "etcds" } else { "etcd" };
                let servers: Vec<_> = servers.iter().map(host_port).collect();
                write!(f, "{scheme}://{}{prefix}", servers.join(","))
            }
        }
    }
}

/// etcd's port for clients.
const ETCD_PORT: u16 = 2379;

/// What stands before members' keys where nothing else is said.
const ETCD_PREFIX: &str = "/nuthatch";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_commas_or_pluses() {
        let commas: SourceSpec = "static:5@a,b:1".parse().unwrap();
        let pluses: SourceSpec = "static:5@a+b:1".parse().unwrap();
        assert_eq!(commas, pluses);
        assert!(!commas.is_remote());
    }

    #[test]
    fn what_is_written_is_shown() {
        for (text, shown) in [
            ("static:5@a+b:1", "static:5@a,b:1"),
            ("dns+cache.example", "dns+cache.example:11211"),
            ("dns+cache.example:5", "dns+cache.example:5"),
            ("dnssrv+_memcached._tcp.cache.example", "dnssrv+_memcached._tcp.cache.example"),
            ("etcd://a", "etcd://a:2379/nuthatch"),
            ("etcd://a:1+[::1]:2,c/some/prefix/", "etcd://a:1,[::1]:2,c:2379/some/prefix"),
            ("etcds://a/", "etcds://a:2379/nuthatch"),
        ] {
            let spec: SourceSpec = text.parse().unwrap();
            assert_eq!(spec.to_string(), shown);
            assert_eq!(shown.parse::<SourceSpec>().unwrap(), spec);
            assert_eq!(spec.is_remote(), !text.starts_with("static"));
            assert_eq!(spec.is_tls(), text.starts_with("etcds"));
        }
    }

    #[test]
    fn what_is_no_source_is_refused() {
        for text in [
            "",
            "static",
            "static:",
            "static:a:b",
            "file:/x",
            "a:11211",
            "dns+",
            "dns+:1",
            "dns+a:0",
            "dnssrv+",
            "dnssrv+a:1",
            "dnssrv+a@b",
            "dnssrv+a\nb",
            "dns+a\tb",
            "etcd://a/x\ny",
            "etcd://",
            "etcd://a,/x",
            "etcd://a:x/",
            "etcd://u:p@a/x",
        ] {
            assert!(text.parse::<SourceSpec>().is_err(), "{text}");
        }
    }
}
