//! Addresses as text: what `-l` takes, what a client connects to, where a socket stands.
//!
//! memcached's form of a listen address is
//!
//! ```text
//! [notls:|btls:|mtls:] [proto[NAME]:] [tag[NAME]:|tag_NAME_:] host[:port]
//! ```
//!
//! where the host is a name, an IPv4 address, `*`, or an IPv6 address in brackets (or without
//! them, when no port follows). Besides, an address that begins with `/` or `unix:` is the path of
//! a Unix socket; memcached has `-s` for one such socket and no way to have both.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use nuthatch_types::limits::PORT_DEFAULT;

/// Where to listen, and what to speak there.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ListenAddr {
    /// The place.
    pub place: Place,
    /// What `proto[…]` says; `None` leaves it to the server's own default.
    pub protocol: Option<ListenProtocol>,
    /// What `tag[…]` says, 1 to 8 bytes: a name that the connections made there bear.
    pub tag: Option<Arc<str>>,
    /// What `notls:` and its like say; `None` leaves it to the server.
    pub tls: Option<ListenTls>,
}

/// What a listener can be told about TLS. Only a server that has TLS can honour it; who has none
/// refuses such an address with [`AddrError::TlsOnly`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ListenTls {
    /// `notls:`, none.
    Off,
    /// `btls:`, without asking clients for a certificate.
    Basic,
    /// `mtls:`, with a certificate from every client.
    Mutual,
}

impl ListenTls {
    const ALL: [Self; 3] = [Self::Off, Self::Basic, Self::Mutual];

    /// Its word in an address.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Off => "notls",
            Self::Basic => "btls",
            Self::Mutual => "mtls",
        }
    }
}

/// A place to listen at.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "callers build them")]
pub enum Place {
    /// TCP.
    Tcp {
        /// A name or an address; `None` is every address of the machine.
        host: Option<String>,
        /// The port; `None` is the server's default, 0 any free one.
        port: Option<u16>,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// The protocols that a listener can be told to speak.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ListenProtocol {
    /// Text alone.
    Ascii,
    /// The binary protocol alone.
    Binary,
    /// The client's first byte decides.
    Negotiating,
}

impl ListenAddr {
    /// Every address of the machine, on the default port: what a server without `-l` listens at.
    pub const ANY: Self =
        Self { place: Place::Tcp { host: None, port: None }, protocol: None, tag: None, tls: None };

    /// A Unix socket.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self { place: Place::Unix(path.into()), protocol: None, tag: None, tls: None }
    }

    /// Reads a list as `-l` takes it: entries separated by `,` or `;`, empty ones passed over.
    ///
    /// # Errors
    ///
    /// [`AddrError`] for the first entry that cannot be read.
    pub fn parse_list(list: &str) -> Result<Vec<Self>, AddrError> {
        list.split([',', ';']).filter(|entry| !entry.is_empty()).map(str::parse).collect()
    }
}

impl FromStr for ListenAddr {
    type Err = AddrError;

    fn from_str(entry: &str) -> Result<Self, AddrError> {
        let prefixed =
            |tls: ListenTls| Some((tls, entry.strip_prefix(tls.prefix())?.strip_prefix(':')?));
        let (tls, entry) = match ListenTls::ALL.into_iter().find_map(prefixed) {
            Some((tls, rest)) => (Some(tls), rest),
            None => (None, entry),
        };
        let (protocol, rest) = match entry.strip_prefix("proto[") {
            Some(rest) => {
                let (name, rest) = enclosed(rest, ']')
                    .ok_or_else(|| AddrError::Protocol { spec: entry.to_owned() })?;
                (Some(protocol(name, entry)?), rest)
            }
            None => (None, entry),
        };
        let tagged = match rest.strip_prefix("tag[") {
            Some(tagged) => Some((tagged, ']')),
            None => rest.strip_prefix("tag_").map(|tagged| (tagged, '_')),
        };
        let (tag, rest) = match tagged {
            Some((tagged, close)) => {
                let (tag, rest) = enclosed(tagged, close)
                    .ok_or_else(|| AddrError::Tag { spec: rest["tag".len()..].to_owned() })?;
                if !(1..=TAG_LEN_MAX).contains(&tag.len()) {
                    return Err(AddrError::TagLength { tag: tag.to_owned() });
                }
                (Some(tag.into()), rest)
            }
            None => (None, rest),
        };
        let place = match unix_path(rest) {
            Some(path) => {
                if let Some(tls @ (ListenTls::Basic | ListenTls::Mutual)) = tls {
                    return Err(AddrError::TlsOnUnix { prefix: tls.prefix() });
                }
                Place::Unix(path.to_owned())
            }
            None => {
                let (host, port) = host_and_port(rest)?;
                Place::Tcp { host: (host != "*").then(|| host.to_owned()), port }
            }
        };
        Ok(Self { place, protocol, tag, tls })
    }
}

/// What a client connects to.
///
/// ```
/// use nuthatch_transport::ConnectAddr;
///
/// let tcp = |host: &str, port| ConnectAddr::Tcp { host: host.to_owned(), port };
/// assert_eq!("cache.example".parse(), Ok(tcp("cache.example", 11211)));
/// assert_eq!("[::1]:5".parse(), Ok(tcp("::1", 5)));
/// assert_eq!("/run/nuthatch.sock".parse(), Ok(ConnectAddr::Unix("/run/nuthatch.sock".into())));
/// ```
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "callers build them")]
pub enum ConnectAddr {
    /// TCP to a name or an address.
    Tcp {
        /// The name or address, an IPv6 one without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl FromStr for ConnectAddr {
    type Err = AddrError;

    /// Reads `host[:port]` (port 11211 where none is given), or the path of a Unix socket that
    /// begins with `/` or `unix:`. An optional `tcp:` may come first, so that what [`Local`] and
    /// [`Peer`](crate::Peer) print can be read back.
    fn from_str(text: &str) -> Result<Self, AddrError> {
        if let Some(path) = unix_path(text) {
            return Ok(Self::Unix(path.to_owned()));
        }
        let text = text.strip_prefix("tcp6:").or_else(|| text.strip_prefix("tcp:")).unwrap_or(text);
        let (host, port) = host_and_port(text)?;
        match port {
            Some(0) => Err(AddrError::Port { port: "0".to_owned() }),
            port => Ok(Self::Tcp { host: host.to_owned(), port: port.unwrap_or(PORT_DEFAULT) }),
        }
    }
}

impl fmt::Display for ConnectAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Where a bound socket stands; prints as `stats conns` writes it (`tcp:127.0.0.1:11211`,
/// `tcp6:[::1]:11211`, `udp:127.0.0.1:11211`, `unix:/run/nuthatch.sock`).
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "callers ask which it is")]
pub enum Local {
    /// TCP.
    Tcp(SocketAddr),
    /// UDP.
    Udp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write_ip(f, "tcp", *address),
            Self::Udp(address) => write_ip(f, "udp", *address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Writes an address as `stats conns` does.
pub(crate) fn write_ip(
    f: &mut fmt::Formatter<'_>,
    transport: &str,
    address: SocketAddr,
) -> fmt::Result {
    let family = if address.is_ipv4() { "" } else { "6" };
    write!(f, "{transport}{family}:{address}")
}

/// Why text is not an address.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AddrError {
    /// No host where one must be.
    #[error("address without a host: \"{entry}\"")]
    NoHost {
        /// The address.
        entry: String,
    },
    /// Not a port number.
    #[error("Invalid port number: \"{port}\"")]
    Port {
        /// What stands in its place.
        port: String,
    },
    /// A bracket that is not closed, or something after it that is not a port.
    #[error("Invalid IPV6 address: \"{entry}\"")]
    Ipv6 {
        /// The address.
        entry: String,
    },
    /// `proto[` without its end.
    #[error("Invalid protocol spec: \"{spec}\"")]
    Protocol {
        /// The address.
        spec: String,
    },
    /// A name that is no protocol's.
    #[error("Invalid protocol spec: \"{name}\" is no protocol")]
    UnknownProtocol {
        /// The name.
        name: String,
    },
    /// The protocol of memcached's proxy.
    #[error("Server not built with proxy: \"{entry}\"")]
    Proxy {
        /// The address.
        entry: String,
    },
    /// A prefix that only a server with TLS can honour.
    #[error("'{prefix}' option is valid only when SSL is enabled")]
    TlsOnly {
        /// The prefix.
        prefix: &'static str,
    },
    /// TLS where there is none.
    #[error("'{prefix}' needs a TCP address: Unix sockets are always plain")]
    TlsOnUnix {
        /// The prefix.
        prefix: &'static str,
    },
    /// A tag without its end.
    #[error("Invalid tag in socket config: \"{spec}\"")]
    Tag {
        /// The address from the tag on.
        spec: String,
    },
    /// A tag that is empty or longer than 8 bytes.
    #[error("Listener tags must be between 1 and 8 characters: \"{tag}\"")]
    TagLength {
        /// The tag.
        tag: String,
    },
}

/// The longest tag, in bytes; memcached's figure.
const TAG_LEN_MAX: usize = 8;

/// Splits what stands before `close` and a colon from what follows them.
fn enclosed(text: &str, close: char) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once(close)?;
    Some((name, rest.strip_prefix(':')?))
}

/// Names may be shortened, as in memcached; the empty one may not.
fn protocol(name: &str, entry: &str) -> Result<ListenProtocol, AddrError> {
    let is = |whole: &str| !name.is_empty() && whole.starts_with(name);
    if is("ascii") {
        Ok(ListenProtocol::Ascii)
    } else if is("binary") {
        Ok(ListenProtocol::Binary)
    } else if is("negotiating") {
        Ok(ListenProtocol::Negotiating)
    } else if is("proxy") {
        Err(AddrError::Proxy { entry: entry.to_owned() })
    } else {
        Err(AddrError::UnknownProtocol { name: name.to_owned() })
    }
}

fn unix_path(text: &str) -> Option<&Path> {
    match text.strip_prefix("unix:") {
        Some(path) if !path.is_empty() => Some(Path::new(path)),
        None if text.starts_with('/') => Some(Path::new(text)),
        _ => None,
    }
}

/// Splits a host from a port. Two colons or more without brackets are an IPv6 address without a
/// port.
fn host_and_port(entry: &str) -> Result<(&str, Option<u16>), AddrError> {
    let (host, port) = if let Some(rest) = entry.strip_prefix('[') {
        let malformed = || AddrError::Ipv6 { entry: entry.to_owned() };
        let (host, rest) = rest.split_once(']').ok_or_else(malformed)?;
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err(malformed()),
        }
    } else {
        match entry.split_once(':') {
            Some((_, rest)) if rest.contains(':') => (entry, None),
            Some((host, port)) => (host, Some(port)),
            None => (entry, None),
        }
    };
    if host.is_empty() {
        return Err(AddrError::NoHost { entry: entry.to_owned() });
    }
    let port = port.map(parse_port).transpose()?;
    Ok((host, port))
}

/// A port; -1 is any free one, as for `-p`.
fn parse_port(port: &str) -> Result<u16, AddrError> {
    match port {
        "-1" => Ok(0),
        _ if port.starts_with('+') => Err(AddrError::Port { port: port.to_owned() }),
        _ => port.parse().map_err(|_| AddrError::Port { port: port.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: Option<u16>) -> ListenAddr {
        let host = (host != "*").then(|| host.to_owned());
        ListenAddr { place: Place::Tcp { host, port }, protocol: None, tag: None, tls: None }
    }

    #[test]
    fn hosts_and_ports() {
        for (text, expected) in [
            ("127.0.0.1", tcp("127.0.0.1", None)),
            ("127.0.0.1:5", tcp("127.0.0.1", Some(5))),
            ("localhost:11211", tcp("localhost", Some(11211))),
            ("*", tcp("*", None)),
            ("*:11212", tcp("*", Some(11212))),
            ("::1", tcp("::1", None)),
            ("::", tcp("::", None)),
            ("[::1]", tcp("::1", None)),
            ("[::1]:5", tcp("::1", Some(5))),
            ("host:-1", tcp("host", Some(0))),
            ("/run/x.sock", ListenAddr::unix("/run/x.sock")),
            ("unix:x.sock", ListenAddr::unix("x.sock")),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn lists() {
        let list = ListenAddr::parse_list("127.0.0.1,::1;[::2]:5,,*").unwrap();
        assert_eq!(
            list,
            [tcp("127.0.0.1", None), tcp("::1", None), tcp("::2", Some(5)), tcp("*", None)]
        );
        assert_eq!(ListenAddr::parse_list("").unwrap(), []);
        assert!(ListenAddr::parse_list("127.0.0.1,x:y").is_err());
    }

    #[test]
    fn protocols() {
        let ascii: ListenAddr = "proto[ascii]:127.0.0.1:5".parse().unwrap();
        assert_eq!(
            ascii,
            ListenAddr { protocol: Some(ListenProtocol::Ascii), ..tcp("127.0.0.1", Some(5)) }
        );
        for (name, protocol) in [
            ("nego", ListenProtocol::Negotiating),
            ("a", ListenProtocol::Ascii),
            ("bin", ListenProtocol::Binary),
        ] {
            let short: ListenAddr = format!("proto[{name}]:*").parse().unwrap();
            assert_eq!(short.protocol, Some(protocol));
        }
        for name in ["", "asciii", "http"] {
            let error = format!("proto[{name}]:*").parse::<ListenAddr>().unwrap_err();
            assert_eq!(error, AddrError::UnknownProtocol { name: name.to_owned() });
        }
        let error = "proto[proxy]:*".parse::<ListenAddr>().unwrap_err();
        assert_eq!(error.to_string(), "Server not built with proxy: \"proto[proxy]:*\"");
        for spec in ["proto[ascii:*", "proto[ascii]*"] {
            let error = spec.parse::<ListenAddr>().unwrap_err();
            assert_eq!(error, AddrError::Protocol { spec: spec.to_owned() });
        }
        // A host may be called so.
        assert_eq!("proto.example:5".parse(), Ok(tcp("proto.example", Some(5))));
    }

    #[test]
    fn tags() {
        let tag = |text: &str| {
            let ListenAddr { place, tag, .. } = text.parse().unwrap();
            (place, tag.as_deref().map(str::to_owned))
        };
        let host = |host: &str, port| tcp(host, port).place;
        assert_eq!(tag("tag[a]:*"), (host("*", None), Some("a".to_owned())));
        assert_eq!(tag("tag_tools123_:127.0.0.1").1.as_deref(), Some("tools123"), "eight fit");
        assert_eq!(tag("tag_x_:[::1]:5"), (host("::1", Some(5)), Some("x".to_owned())));
        assert_eq!(
            tag("proto[ascii]:tag[b]:/run/x.sock"),
            (Place::Unix("/run/x.sock".into()), Some("b".to_owned()))
        );
        // A host may be called so.
        assert_eq!(tag("tag.example"), (host("tag.example", None), None));
        let error = |text: &str| text.parse::<ListenAddr>().unwrap_err().to_string();
        for (text, spec) in [("tag[a:*", "[a:*"), ("tag_a:*", "_a:*"), ("tag[a]*", "[a]*")] {
            assert_eq!(error(text), format!("Invalid tag in socket config: \"{spec}\""));
        }
        for name in ["", "ninebytes"] {
            assert_eq!(
                error(&format!("tag[{name}]:*")),
                format!("Listener tags must be between 1 and 8 characters: \"{name}\"")
            );
        }
    }

    #[test]
    fn tls_is_said_first() {
        let tls = |text: &str| {
            let ListenAddr { place, tag, tls, .. } = text.parse().unwrap();
            (place, tag.as_deref().map(str::to_owned), tls)
        };
        let place = tcp("h", Some(5)).place;
        for said in ListenTls::ALL {
            let text = format!("{}:proto[ascii]:tag[t]:h:5", said.prefix());
            assert_eq!(tls(&text), (place.clone(), Some("t".to_owned()), Some(said)));
        }
        assert_eq!(tls("h:5"), (place, None, None));
        // A host may be called so.
        assert_eq!(tls("mtls.example"), (tcp("mtls.example", None).place, None, None));
        assert_eq!(tls("notls:/run/x").2, Some(ListenTls::Off));
        let error = "mtls:/run/x".parse::<ListenAddr>().unwrap_err();
        assert_eq!(error, AddrError::TlsOnUnix { prefix: "mtls" });
        assert_eq!(
            AddrError::TlsOnly { prefix: "btls" }.to_string(),
            "'btls' option is valid only when SSL is enabled"
        );
    }

    #[test]
    fn malformed_addresses() {
        let error = |text: &str| text.parse::<ListenAddr>().unwrap_err();
        for port in ["x", "", "65536", "-2", "+5", "5x"] {
            assert_eq!(error(&format!("host:{port}")), AddrError::Port { port: port.to_owned() });
        }
        for entry in ["[::1", "[::1]x"] {
            assert_eq!(error(entry), AddrError::Ipv6 { entry: entry.to_owned() });
        }
        for entry in [":5", "", "[]:5"] {
            assert_eq!(error(entry), AddrError::NoHost { entry: entry.to_owned() });
        }
    }

    #[test]
    fn what_is_printed_can_be_connected_to() {
        for (local, expected) in [
            (Local::Tcp("127.0.0.1:5".parse().unwrap()), "127.0.0.1:5"),
            (Local::Tcp("[::1]:5".parse().unwrap()), "[::1]:5"),
            (Local::Unix("/x".into()), "unix:/x"),
        ] {
            let address: ConnectAddr = local.to_string().parse().unwrap();
            assert_eq!(address.to_string(), expected);
            assert_eq!(address.to_string().parse(), Ok(address));
        }
        assert!("host:0".parse::<ConnectAddr>().is_err());
    }
}
