//! Networks as lists of addresses: whom a server trusts to be who they say they are.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use ipnet::IpNet;

/// A list of networks, written `10.0.0.0/8+192.0.2.7+2001:db8::/32`: joined with `+`, a network's
/// bits after a `/`, an address alone as a network of its own.
///
/// ```
/// use nuthatch_transport::Networks;
///
/// let networks: Networks = "10.0.0.0/8+2001:db8::1".parse()?;
/// assert!(networks.contain("10.1.2.3:11211".parse()?));
/// assert!(!networks.contain("[2001:db8::2]:11211".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Whether an address is in one of them. An IPv4 address in IPv6 dress counts as what it is.
    pub fn contain(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        self.0.iter().any(|network| network.contains(&ip))
    }

    /// Whether an address is in one of them, or of this machine: who is here is trusted anyway.
    pub fn contain_or_loopback(&self, address: SocketAddr) -> bool {
        address.ip().to_canonical().is_loopback() || self.contain(address)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Networks {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let network = |part: &str| match part.parse::<IpAddr>() {
            Ok(address) => Ok(IpNet::from(address)),
            Err(_) => part.parse().map_err(|_| NetworkError { text: part.to_owned() }),
        };
        text.split('+').map(network).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (idx, network) in self.0.iter().enumerate() {
            let join = if idx == 0 { "" } else { "+" };
            write!(f, "{join}{network}")?;
        }
        Ok(())
    }
}

/// Text that is neither an address nor a network.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("\"{text}\" is neither an address nor a network such as 10.0.0.0/8")]
pub struct NetworkError {
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contain(networks: &str, address: &str) -> bool {
        networks.parse::<Networks>().unwrap().contain(address.parse().unwrap())
    }

    #[test]
    fn addresses_are_in_networks_or_not() {
        for (networks, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1:1", "11.0.0.0:1"),
            ("192.0.2.7", "192.0.2.7:1", "192.0.2.8:1"),
            ("192.0.2.0/30+127.0.0.1", "192.0.2.3:1", "192.0.2.4:1"),
            ("2001:db8::/32", "[2001:db8:5::1]:1", "[2001:db9::1]:1"),
            ("10.0.0.0/8", "[::ffff:10.0.0.1]:1", "[::ffff:9.0.0.1]:1"),
            ("0.0.0.0/0", "203.0.113.9:1", "[2001:db8::1]:1"),
        ] {
            assert!(contain(networks, inside), "{networks} {inside}");
            assert!(!contain(networks, outside), "{networks} {outside}");
        }
        assert!(!Networks::default().contain("127.0.0.1:1".parse().unwrap()));
    }

    #[test]
    fn this_machine_may_count_as_one_of_them() {
        let networks: Networks = "10.0.0.0/8".parse().unwrap();
        for (address, is_trusted) in [
            ("127.0.0.1:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.1.2.3]:1", true),
            ("10.0.0.1:1", true),
            ("192.0.2.1:1", false),
        ] {
            assert_eq!(networks.contain_or_loopback(address.parse().unwrap()), is_trusted);
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "x", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/8+", "10.0.0.0:80"] {
            assert!(text.parse::<Networks>().is_err(), "{text}");
        }
        let error = "10.0.0.0/8+lan".parse::<Networks>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"lan\" is neither an address nor a network such as 10.0.0.0/8"
        );
    }

    #[test]
    fn what_is_printed_can_be_read() {
        let networks: Networks = "10.0.0.0/8+::1".parse().unwrap();
        assert_eq!(networks.to_string(), "10.0.0.0/8+::1/128");
        assert_eq!(networks.to_string().parse(), Ok(networks));
    }
}
