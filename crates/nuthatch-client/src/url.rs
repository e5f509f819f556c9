//! Everything in one line: what a URL says of servers, logins and settings.
//!
//! ```text
//!   scheme://[user[:password]@]host[:port[:weight]][,host…][/][?setting=value&…]
//!   scheme://[user[:password]@]/path/of/a/socket[?…]
//! ```

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

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
    /// For the sources that write themselves as text.
    Source(String),
}

/// Reads a URL onto the settings that are there.
pub(crate) fn read(text: &str, builder: Builder) -> Result<(Builder, Nodes), Kind> {
    let (scheme, rest) = text.split_once("://").ok_or_else(|| bad("no scheme"))?;
    let (is_tls, from) = match scheme.split_once('+') {
        Some((base, from)) => (is_tls(base)?, Some(from)),
        None => (is_tls(scheme)?, None),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    // Passwords may hold an `@` that nobody has escaped; hosts do not.
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, rest),
    };
    let mut settings =
        Settings { builder, tls: None, mechanisms: None, poll: None, seeds: false, names: false };
    if is_tls {
        settings.tls = Some(ClientTls::builder());
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, "true"));
        settings.set(&decoded(name)?, &decoded(value)?)?;
    }
    let Settings { mut builder, tls, mechanisms, poll, seeds, names } = settings;
    if let Some(tls) = tls {
        builder.tls = Some(tls.build().map_err(Kind::Tls)?);
    }
    if let Some(login) = login {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        builder.login = Some(Credentials::new(decoded(user)?, decoded(password)?).into());
    }
    if let (Some(login), Some(mechanisms)) = (&mut builder.login, mechanisms) {
        *login = Login::mechanisms(login.clone(), mechanisms);
    }
    let is_path = place.starts_with('/');
    let place = if is_path { decoded(place)? } else { decoded(place.trim_end_matches('/'))? };
    let nodes = match from {
        None => Nodes::List(place),
        Some(DISCOVER) => {
            let mut cluster = AutoDiscovery::at(&place).map_err(bad)?;
            if let Some(poll) = poll {
                cluster = cluster.poll_every(poll);
            }
            if seeds {
                cluster = cluster.endpoint_only();
            }
            Nodes::Auto(if names { cluster.by_name() } else { cluster })
        }
        Some(DNS) => Nodes::Source(format!("dns+{place}")),
        Some(SRV) => Nodes::Source(format!("dnssrv+{place}")),
        Some(ETCD) if is_tls => Nodes::Source(format!("etcds://{place}")),
        Some(ETCD) => Nodes::Source(format!("etcd://{place}")),
        Some(other) => return Err(bad(format!("\"{other}\" is no way to find nodes"))),
    };
    Ok((builder, nodes))
}

/// What the query says.
struct Settings {
    builder: Builder,
    tls: Option<nuthatch_transport::tls::ClientTlsBuilder>,
    mechanisms: Option<Vec<Mechanism>>,
    poll: Option<Duration>,
    seeds: bool,
    names: bool,
}

impl Settings {
    fn set(&mut self, name: &str, value: &str) -> Result<(), Kind> {
        let wrong = || bad(format!("{name}={value}"));
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
            "poll" => self.poll = Some(duration(value).ok_or_else(wrong)?),
            "endpoint_only" => self.seeds = yes(value).ok_or_else(wrong)?,
            "by_name" => self.names = yes(value).ok_or_else(wrong)?,
            _ => return self.set_tls(name, value),
        }
        Ok(())
    }

    fn set_tls(&mut self, name: &str, value: &str) -> Result<(), Kind> {
        let wrong = || bad(format!("{name}={value}"));
        let known = ["ca", "cert", "server_name", "tls_min", ANY_NAME, ANY_CERTIFICATE];
        if !known.contains(&name) {
            return Err(bad(format!("no setting is called \"{name}\"")));
        }
        let Some(tls) = self.tls.take() else {
            return Err(bad(format!("{name} is for memcacheds://")));
        };
        self.tls = Some(match name {
            "ca" => tls.roots(value),
            // Both in one: a chain and a key, or one file that has them.
            "cert" => match value.split_once(',') {
                Some((chain, key)) => tls.identity(chain, key),
                None => tls.identity(value, value),
            },
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

/// What stands behind a scheme's plus sign.
const DISCOVER: &str = "discover";
const DNS: &str = "dns";
const SRV: &str = "srv";
const ETCD: &str = "etcd";

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
        let url = "memcached+discover://my.cfg.example:11211/?poll=5s&endpoint_only";
        let (_, nodes) = read(url, Builder::default()).unwrap();
        let Nodes::Auto(cluster) = nodes else { panic!("{nodes:?}") };
        assert_eq!(cluster.to_string(), "my.cfg.example:11211");
        for (url, source) in [
            ("memcached+dns://cache.example:11211", "dns+cache.example:11211"),
            ("memcached+srv://_memcached._tcp.example", "dnssrv+_memcached._tcp.example"),
            ("memcached+etcd://a:2379,b/prefix", "etcd://a:2379,b/prefix"),
        ] {
            let (_, nodes) = read(url, Builder::default()).unwrap();
            assert!(matches!(&nodes, Nodes::Source(own) if own == source), "{nodes:?}");
            if cfg!(feature = "etcd") || !source.starts_with("etcd") {
                assert!(source.parse::<nuthatch_discovery::SourceSpec>().is_ok(), "{source}");
            }
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for url in [
            "redis://a",
            "memcached+x://a",
            "memcached://a?nothing=1",
            "memcached://a?timeout=soon",
            "memcached://a?ca=/x",
            "memcached://a?router=none",
            "memcached://a?on_failure=next:x",
            "memcacheds://a?tls_min=1.1",
            "memcacheds://a?ca=/no/such/file",
        ] {
            assert!(read(url, Builder::default()).is_err(), "{url}");
        }
    }
}
