//! Everything in one line: what a URL says of servers, logins and settings.
//!
//! ```text
//!   scheme://[user[:password]@]host[:port[:weight]][,host…][/][?setting=value&…]
//!   scheme://[user[:password]@]/path/of/a/socket[?…]
//! ```

use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use nuthatch_discovery::Access;
use nuthatch_transport::sasl::Mechanism;
use nuthatch_transport::tls::{ClientTls, MinVersion};
use percent_encoding::percent_decode_str;

use crate::builder::Builder;
use crate::discover::AutoDiscovery;
use crate::error::Kind;
use crate::login::{Credentials, Login};
use crate::options::{OnFailure, Protocol};

/// Where the nodes of a URL come from.
#[derive(Debug)]
pub(crate) enum Nodes {
    List(String),
    Auto(AutoDiscovery),
    /// From a source that writes itself as text.
    Source {
        spec: String,
        access: Access,
        is_by_name: bool,
    },
}

/// Reads a URL onto the settings that are there.
pub(crate) fn read(text: &str, builder: Builder) -> Result<(Builder, Nodes), Kind> {
    let (scheme, rest) = text.split_once("://").ok_or_else(|| bad("no scheme"))?;
    let (base, from) = scheme.split_once('+').unwrap_or((scheme, LIST));
    let from = Way::read(from, is_tls(base)?)?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    // Passwords may hold an `@` that nobody has escaped; hosts do not.
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, rest),
    };
    let mut settings = Settings {
        builder,
        from,
        // How is said with the builder, or by the settings that follow.
        tls: is_tls(base)?.then(ClientTls::builder),
        has_tls: false,
        mechanisms: None,
        poll: None,
        is_endpoint_only: false,
        is_by_name: false,
        access: Access::default(),
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, "true"));
        let set = settings.set(&decoded(name)?, &decoded(value)?);
        // What is taken for a setting may be the rest of a password, which no error is to show.
        let is_cut = login.is_none() && query.contains('@');
        set.map_err(|error| if is_cut { bad("a ? in user or password is %3F") } else { error })?;
    }
    let Settings { mut builder, tls, has_tls, mechanisms, poll, .. } = settings;
    if let Some(tls) = tls
        && (has_tls || builder.tls.is_none())
    {
        builder.tls = Some(tls.build().map_err(Kind::Tls)?);
    }
    if let Some(login) = login {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        builder.login = Some(Credentials::new(decoded(user)?, decoded(password)?).into());
    }
    if let Some(mechanisms) = mechanisms {
        let login = builder.login.take().ok_or_else(|| bad("mechanisms without a user"))?;
        builder.login = Some(Login::mechanisms(login, mechanisms));
    }
    let is_path = place.starts_with('/');
    let place = if is_path { decoded(place)? } else { decoded(place.trim_end_matches('/'))? };
    let source = |spec: String| Nodes::Source {
        spec,
        access: settings.access,
        is_by_name: settings.is_by_name,
    };
    let nodes = match from {
        Way::List => Nodes::List(place),
        Way::Nodes => {
            let mut cluster = AutoDiscovery::at(&place).map_err(bad)?;
            if let Some(poll) = poll {
                cluster = cluster.poll_every(poll);
            }
            if settings.is_endpoint_only {
                cluster = cluster.endpoint_only();
            }
            Nodes::Auto(if settings.is_by_name { cluster.by_name() } else { cluster })
        }
        Way::Dns => source(format!("dns+{place}")),
        Way::Srv => source(format!("dnssrv+{place}")),
        Way::Etcd => source(format!("etcd://{place}")),
        Way::EtcdTls => source(format!("etcds://{place}")),
    };
    Ok((builder, nodes))
}

/// What stands behind a scheme's plus sign.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    List,
    Nodes,
    Dns,
    Srv,
    Etcd,
    EtcdTls,
}

impl Way {
    fn read(text: &str, is_tls: bool) -> Result<Self, Kind> {
        Ok(match text {
            LIST => Self::List,
            "discover" => Self::Nodes,
            "dns" => Self::Dns,
            "srv" => Self::Srv,
            // Who encrypts what is cached does not mean to send the list of nodes in clear.
            "etcd" if !is_tls => Self::Etcd,
            "etcd" | "etcds" => Self::EtcdTls,
            _ => return Err(bad(format!("\"{text}\" is no way to find nodes"))),
        })
    }

    /// A setting has an effect with these or is refused.
    fn only(self, name: &str, whose: &[Self], what: &str) -> Result<(), Kind> {
        if whose.contains(&self) { Ok(()) } else { Err(bad(format!("{name} is for {what}"))) }
    }
}

/// What the query says.
struct Settings {
    builder: Builder,
    from: Way,
    tls: Option<nuthatch_transport::tls::ClientTlsBuilder>,
    /// Whether any of its settings was named.
    has_tls: bool,
    mechanisms: Option<Vec<Mechanism>>,
    poll: Option<Duration>,
    is_endpoint_only: bool,
    is_by_name: bool,
    access: Access,
}

impl Settings {
    fn set(&mut self, name: &str, value: &str) -> Result<(), Kind> {
        let wrong = || bad(format!("{name}={value} means nothing"));
        let builder = &mut self.builder;
        match name {
            "timeout" => builder.timeout = duration(value).ok_or_else(wrong)?,
            "connect_timeout" => builder.connect_timeout = duration(value).ok_or_else(wrong)?,
            "connections" => {
                *builder = builder.clone().connections_per_node(number(value).ok_or_else(wrong)?);
            }
            "queue" => *builder = builder.clone().queue_len(number(value).ok_or_else(wrong)?),
            "value_bytes_max" => {
                *builder = builder.clone().value_bytes_max(number(value).ok_or_else(wrong)?);
            }
            "any_keys" => builder.takes_any_key = yes(value).ok_or_else(wrong)?,
            "protocol" => {
                builder.protocol = match value {
                    "auto" => Protocol::Auto,
                    "meta" => Protocol::Meta,
                    "text" => Protocol::Text,
                    "binary" => Protocol::Binary,
                    _ => return Err(wrong()),
                };
            }
            "router" => builder.router = value.parse().map_err(bad)?,
            "on_failure" => {
                builder.on_failure = match value.split_once(':') {
                    None if value == "fail" => OnFailure::Fail,
                    None if value == "miss" => OnFailure::TreatAsMiss,
                    None if value == "next" => OnFailure::NextInRing { max: 1 },
                    Some(("next", max)) => {
                        OnFailure::NextInRing { max: number(max).ok_or_else(wrong)? }
                    }
                    _ => return Err(wrong()),
                };
            }
            "retries" => builder.retry.max = number(value).ok_or_else(wrong)?,
            "eject_after" => builder.ejection.failures = number(value).ok_or_else(wrong)?,
            "eject_after_timeouts" => {
                builder.ejection.timeouts = number(value).ok_or_else(wrong)?;
            }
            "mechanisms" => {
                let all = value.split(',').map(|name| Mechanism::parse(name.as_bytes()));
                self.mechanisms = Some(all.collect::<Option<_>>().ok_or_else(wrong)?);
            }
            "poll" | "endpoint_only" => {
                self.from.only(name, &[Way::Nodes], "memcached+discover://")?;
                match name {
                    "poll" => self.poll = Some(duration(value).ok_or_else(wrong)?),
                    _ => self.is_endpoint_only = yes(value).ok_or_else(wrong)?,
                }
            }
            "by_name" => {
                let listed = [Way::Nodes, Way::Srv, Way::Etcd, Way::EtcdTls];
                self.from.only(name, &listed, "lists with names and addresses")?;
                self.is_by_name = yes(value).ok_or_else(wrong)?;
            }
            _ if name.starts_with("discovery_") => return self.set_discovery(name, value),
            _ => return self.set_tls(name, value),
        }
        Ok(())
    }

    /// How the source is asked, by the names that the server has for the same.
    fn set_discovery(&mut self, name: &str, value: &str) -> Result<(), Kind> {
        let access = std::mem::take(&mut self.access);
        self.access = match name {
            "discovery_dns" => {
                self.from.only(name, &[Way::Dns, Way::Srv], "memcached+dns:// and +srv://")?;
                let servers = value.split(',').map(name_server).collect::<Option<Vec<_>>>();
                let why = || bad(format!("{name}={value}: no ADDRESS[:PORT] of a DNS server"));
                access.name_servers(servers.ok_or_else(why)?)
            }
            "discovery_login" => {
                self.from.only(name, &[Way::Etcd, Way::EtcdTls], "memcached+etcd://")?;
                // It is not repeated: who takes it for the login itself has written a password.
                let why = |error| bad(format!("{name} is no file that can be read: {error}"));
                std::fs::File::open(value).map_err(why)?;
                access.login_file(value)
            }
            "discovery_ca" => {
                self.from.only(name, &[Way::EtcdTls], "memcached+etcds://")?;
                access.ca(value)
            }
            "discovery_cert" => {
                self.from.only(name, &[Way::EtcdTls], "memcached+etcds://")?;
                let (chain, key) = chain_and_key(value);
                access.identity(chain, key)
            }
            _ => return Err(unknown(name)),
        };
        Ok(())
    }

    fn set_tls(&mut self, name: &str, value: &str) -> Result<(), Kind> {
        let wrong = || bad(format!("{name}={value} means nothing"));
        let known = ["ca", "cert", "server_name", "tls_min", ANY_NAME, ANY_CERTIFICATE];
        if !known.contains(&name) {
            return Err(unknown(name));
        }
        let Some(tls) = self.tls.take() else {
            return Err(bad(format!("{name} is for memcacheds://")));
        };
        self.has_tls = true;
        self.tls = Some(match name {
            "ca" => tls.roots(value),
            "cert" => {
                let (chain, key) = chain_and_key(value);
                tls.identity(chain, key)
            }
            "server_name" => tls.server_name(value),
            "tls_min" => tls.min_version(match value {
                "1.2" => MinVersion::Tls12,
                "1.3" => MinVersion::Tls13,
                _ => return Err(wrong()),
            }),
            ANY_NAME => tls.danger_accept_any_name(yes(value).ok_or_else(wrong)?),
            _ => tls.danger_accept_any_certificate(yes(value).ok_or_else(wrong)?),
        });
        Ok(())
    }
}

fn unknown(name: &str) -> Kind {
    // As the cluster clients of ElastiCache call them.
    match name {
        "skip_hostname_verify" => bad(format!("{name} is called {ANY_NAME} here")),
        "skip_cert_verify" => bad(format!("{name} is called {ANY_CERTIFICATE} here")),
        _ => bad(format!("no setting is called \"{name}\"")),
    }
}

/// The files of a certificate and of its key: two, or one that has both.
fn chain_and_key(value: &str) -> (&str, &str) {
    value.split_once(',').unwrap_or((value, value))
}

/// `address[:port]`, an IPv6 address with a port in brackets.
fn name_server(text: &str) -> Option<SocketAddr> {
    let alone = || text.parse().ok().map(|address| SocketAddr::new(address, DNS_PORT));
    text.parse().ok().or_else(alone)
}

fn is_tls(scheme: &str) -> Result<bool, Kind> {
    match scheme {
        "memcached" => Ok(false),
        "memcacheds" => Ok(true),
        _ => Err(bad(format!("\"{scheme}\" is neither memcached nor memcacheds"))),
    }
}

fn decoded(text: &str) -> Result<String, Kind> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(bad("bytes that are no UTF-8")),
    }
}

/// `250ms`, `5s`, `2m`; a number alone is seconds.
fn duration(text: &str) -> Option<Duration> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let secs = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * secs).ok()
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn yes(text: &str) -> Option<bool> {
    match text {
        "true" | "yes" | "1" | "" => Some(true),
        "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

fn bad(reason: impl Display) -> Kind {
    Kind::Url(reason.to_string())
}

/// What stands behind the plus sign of a scheme that has none.
const LIST: &str = "";

/// Of DNS servers.
const DNS_PORT: u16 = 53;

const ANY_NAME: &str = "danger_accept_any_name";
const ANY_CERTIFICATE: &str = "danger_accept_any_certificate";

/// Whether it is a URL rather than a list of addresses.
pub(crate) fn is_url(text: &str) -> bool {
    text.contains("://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn list(url: &str) -> (Builder, String) {
        match read(url, Builder::default()).unwrap() {
            (builder, Nodes::List(list)) => (builder, list),
            (_, other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn nodes_and_settings_are_read() {
        let (builder, nodes) = list(
            "memcached://sam%40x:p%3Aw@a:1,b:2:3/?timeout=250ms&connect_timeout=2\
             &protocol=meta&router=ketama-twemproxy:fnv1a_64&on_failure=next:2&connections=4\
             &retries=0&any_keys",
        );
        assert_eq!(nodes, "a:1,b:2:3");
        assert_eq!(builder.timeout, Duration::from_millis(250));
        assert_eq!(builder.connect_timeout, Duration::from_secs(2));
        assert_eq!(builder.protocol, Protocol::Meta);
        assert_eq!(builder.router.to_string(), "ketama-twemproxy:fnv1a_64");
        assert_eq!(builder.on_failure, OnFailure::NextInRing { max: 2 });
        assert_eq!((builder.n_connections, builder.retry.max), (4, 0));
        assert!(builder.takes_any_key && builder.tls.is_none() && builder.login.is_some());
        assert_eq!(list("memcached:///run/a%20b.sock?timeout=1").1, "/run/a b.sock");
        assert_eq!(list("memcached://[::1]:5").1, "[::1]:5");
    }

    #[test]
    fn clusters_are_read() {
        let url = "memcached+discover://my.cfg.example:11211/?poll=5s&endpoint_only&by_name";
        let (_, nodes) = read(url, Builder::default()).unwrap();
        let Nodes::Auto(cluster) = nodes else { panic!("{nodes:?}") };
        assert_eq!(cluster.to_string(), "my.cfg.example:11211");
        assert!(cluster.is_by_name());
        for (url, source) in [
            ("memcached+dns://cache.example:11211", "dns+cache.example:11211"),
            ("memcached+srv://_memcached._tcp.example", "dnssrv+_memcached._tcp.example"),
            ("memcached+etcd://a:2379,b/prefix", "etcd://a:2379,b/prefix"),
            ("memcached+etcds://a/prefix", "etcds://a/prefix"),
            ("memcacheds+etcd://a?danger_accept_any_certificate", "etcds://a"),
        ] {
            let (_, nodes) = read(url, Builder::default()).unwrap();
            assert!(matches!(&nodes, Nodes::Source { spec, .. } if spec == source), "{nodes:?}");
            source.parse::<nuthatch_discovery::SourceSpec>().unwrap();
        }
    }

    #[test]
    fn sources_are_asked_as_is_said() {
        for (url, expected) in [
            (
                "memcached+srv://_memcached._tcp.service.consul?discovery_dns=127.0.0.1:8600,::1",
                Access::default().name_servers(vec![
                    "127.0.0.1:8600".parse().unwrap(),
                    "[::1]:53".parse().unwrap(),
                ]),
            ),
            (
                // Any file that can be read.
                "memcached+etcd://a/x?discovery_login=Cargo.toml&by_name",
                Access::default().login_file("Cargo.toml"),
            ),
            (
                "memcached+etcds://a/x?discovery_ca=/ca&discovery_cert=/chain,/key",
                Access::default().ca("/ca").identity("/chain", "/key"),
            ),
            (
                "memcached+etcds://a/x?discovery_cert=/both",
                Access::default().identity("/both", "/both"),
            ),
        ] {
            let (_, nodes) = read(url, Builder::default()).unwrap();
            let Nodes::Source { access, is_by_name, .. } = nodes else { panic!("{nodes:?}") };
            assert!(access == expected, "{url}: {access:?}");
            assert_eq!(is_by_name, url.contains("by_name"));
        }
    }

    #[test]
    fn the_other_settings_are_read() {
        let url = "memcached://sammy@a?queue=7&value_bytes_max=1000&eject_after=3\
                   &eject_after_timeouts=9&mechanisms=PLAIN,SCRAM-SHA-256&on_failure=miss\
                   &protocol=binary&timeout=2m&any_keys=no";
        let (builder, _) = list(url);
        assert_eq!((builder.queue_len, builder.value_bytes_max), (7, 1000));
        assert_eq!((builder.ejection.failures, builder.ejection.timeouts), (3, 9));
        assert_eq!(builder.on_failure, OnFailure::TreatAsMiss);
        assert_eq!(builder.protocol, Protocol::Binary);
        assert_eq!(builder.timeout, Duration::from_secs(120));
        assert!(!builder.takes_any_key);
        let mechanisms = builder.login.as_ref().unwrap().wanted().to_vec();
        assert_eq!(mechanisms.len(), 2);
        assert_eq!(Some(mechanisms[0]), Mechanism::parse(b"PLAIN"));
        // Without settings of its own, TLS is as the builder has it.
        let tls = ClientTls::builder().danger_accept_any_certificate(true);
        let own = tls.server_name("cache.example").build().unwrap();
        let (builder, _) = read("memcacheds://a", Builder::default().tls(own)).unwrap();
        assert!(format!("{:?}", builder.tls).contains("cache.example"));
    }

    #[track_caller]
    fn refused(url: &str, why: &str) {
        let error = crate::Error::from(read(url, Builder::default()).unwrap_err());
        assert!(error.is_connect(), "{url}");
        assert!(error.to_string().contains(why), "{url}: {error}");
    }

    #[test]
    fn what_means_nothing_is_refused() {
        refused("redis://a", "\"redis\" is neither memcached nor memcacheds");
        refused("memcached+x://a", "\"x\" is no way to find nodes");
        refused("memcached://a?nothing=1", "no setting is called \"nothing\"");
        refused("memcached+srv://a?discovery_x=1", "no setting is called \"discovery_x\"");
        for (name, value) in [
            ("timeout", "soon"),
            ("connect_timeout", "5h"),
            ("connections", "many"),
            ("queue", "-1"),
            ("value_bytes_max", "1k"),
            ("any_keys", "maybe"),
            ("protocol", "http"),
            ("on_failure", "next:x"),
            ("retries", "x"),
            ("eject_after", "x"),
            ("eject_after_timeouts", "x"),
            ("mechanisms", "PLAIN,X"),
        ] {
            refused(&format!("memcached://u@a?{name}={value}"), &format!("{name}={value}"));
        }
        refused("memcached://a?router=none", "no router of this name");
        refused("memcached://a?mechanisms=PLAIN", "mechanisms without a user");
        refused("memcacheds://a?tls_min=1.1", "tls_min=1.1");
        refused("memcacheds://a?danger_accept_any_name=x", "danger_accept_any_name=x");
        refused("memcacheds://a?skip_cert_verify", "called danger_accept_any_certificate here");
        refused("memcacheds://a?skip_hostname_verify", "called danger_accept_any_name here");
        refused("memcacheds://a?ca=/no/such/file", "/no/such/file");
        refused("memcacheds://a?server_name=%20", "name");
    }

    #[test]
    fn what_would_have_no_effect_is_refused() {
        refused("memcached://a?ca=/x", "ca is for memcacheds://");
        refused("memcached+etcds://a?ca=/x", "ca is for memcacheds://");
        refused("memcached://a?poll=5s", "poll is for memcached+discover://");
        refused("memcached+dns://a?endpoint_only", "endpoint_only is for memcached+discover://");
        refused("memcached+dns://a?by_name", "by_name is for lists");
        refused("memcached://a?discovery_dns=::1", "discovery_dns is for memcached+dns://");
        refused("memcached+srv://a?discovery_dns=dns.example", "no ADDRESS[:PORT]");
        refused("memcached+srv://a?discovery_login=u:p", "discovery_login is for");
        refused("memcached+etcd://a?discovery_ca=/x", "discovery_ca is for memcached+etcds://");
        refused("memcached+etcd://a?discovery_cert=/x", "discovery_cert is for");
        refused("memcached+etcd://a?discovery_login=u:secret", "discovery_login is no file");
        let url = "memcached+etcd://a?discovery_login=u:secret";
        let error = crate::Error::from(read(url, Builder::default()).unwrap_err());
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn every_setting_is_documented() {
        let docs = include_str!("builder.rs");
        for name in [
            "timeout",
            "connect_timeout",
            "protocol",
            "router",
            "on_failure",
            "connections",
            "queue",
            "value_bytes_max",
            "any_keys",
            "retries",
            "eject_after",
            "eject_after_timeouts",
            "mechanisms",
            "poll",
            "endpoint_only",
            "by_name",
            "discovery_dns",
            "discovery_login",
            "discovery_ca",
            "discovery_cert",
            "ca",
            "cert",
            "server_name",
            "tls_min",
            ANY_NAME,
            ANY_CERTIFICATE,
        ] {
            assert!(docs.contains(&format!("/// | `{name}`")), "{name}");
            let url = format!("memcached://a?{name}=~");
            // It is known: wrong, or out of place.
            if let Err(error) = read(&url, Builder::default()) {
                assert!(!crate::Error::from(error).to_string().contains("no setting"), "{name}");
            }
        }
    }
}
