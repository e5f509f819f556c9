//! The rules, named after whose they are.

use std::fmt;
use std::sync::Arc;

use super::hash::HashKind;
use super::node::Node;
use super::ring::Ring;

/// A rule by which keys go to nodes, named after the client that has it.
///
/// What a client in other software calls its setting, and what equals it here:
///
/// | theirs | ours |
/// |---|---|
/// | libmemcached, pylibmc, PHP: nothing set, or `MODULA` | [`modula_libmemcached`](Self::modula_libmemcached) of [`HashKind::OneAtATime`] |
/// | … `KETAMA`, pylibmc `ketama`, PHP `DISTRIBUTION_CONSISTENT` | [`ketama_libmemcached`](Self::ketama_libmemcached) |
/// | … `KETAMA_WEIGHTED`, pylibmc `ketama_weighted`, PHP `OPT_LIBKETAMA_COMPATIBLE` | [`ketama_libmemcached_weighted`](Self::ketama_libmemcached_weighted) |
/// | … `CONSISTENT_KETAMA_SPY` | [`ketama_libmemcached_spy`](Self::ketama_libmemcached_spy) |
/// | AWS' libmemcached and PHP client | as libmemcached, with host names |
/// | AWS' Java client since 1.2, `KETAMA_HASH` | [`ketama_aws`](Self::ketama_aws) |
/// | spymemcached `KETAMA_HASH`, `NATIVE_HASH` | [`ketama_spymemcached`](Self::ketama_spymemcached), [`modula_spymemcached`](Self::modula_spymemcached) |
/// | twemproxy `ketama`, `modula` | [`ketama_twemproxy`](Self::ketama_twemproxy), [`modula_twemproxy`](Self::modula_twemproxy) |
/// | pymemcache `HashClient` | [`pymemcache`](Self::pymemcache) |
/// | emcache | [`emcache`](Self::emcache) |
/// | python-binary-memcached | [`bmemcached`](Self::bmemcached) |
/// | meta-memcache (Python) | [`meta_memcache`](Self::meta_memcache) |
/// | python-memcached | [`python_memcached`](Self::python_memcached) |
/// | dalli (Ruby) | [`dalli`](Self::dalli) |
/// | Cache::Memcached, Cache::Memcached::Fast | [`perl`](Self::perl), [`perl_ketama`](Self::perl_ketama) |
/// | npm `memcached`, `memcache-plus` | [`npm_memcached`](Self::npm_memcached) |
/// | npm `memcache`, `memjs` | [`npm_memcache`](Self::npm_memcache), [`npm_memjs`](Self::npm_memjs) |
/// | gomemcache | [`gomemcache`](Self::gomemcache) |
///
/// Those that begin with `modula`, and `python_memcached`, `perl`, `npm_memjs`, `gomemcache` and
/// `jump`, go by the order of the list of nodes; all others by the nodes' names.
///
/// A rule also has a name as text, for configuration:
///
/// ```
/// use nuthatch_client::route::{HashKind, Router};
///
/// let router: Router = "ketama-twemproxy:fnv1a_64".parse()?;
/// assert_eq!(router, Router::ketama_twemproxy(HashKind::Fnv1a64));
/// assert_eq!(Router::default().to_string(), "rendezvous");
/// # Ok::<(), nuthatch_client::route::RouterError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Router(pub(super) Rule);

#[derive(Clone, Default)]
pub(super) enum Rule {
    #[default]
    Rendezvous,
    Jump,
    KetamaLibmemcached(HashKind),
    KetamaLibmemcachedWeighted,
    KetamaLibmemcachedSpy,
    ModulaLibmemcached(HashKind),
    KetamaTwemproxy(HashKind),
    ModulaTwemproxy(HashKind),
    KetamaSpymemcached,
    ModulaSpymemcached,
    KetamaAws,
    Pymemcache,
    Emcache,
    Bmemcached,
    MetaMemcache,
    PythonMemcached,
    Dalli,
    Perl,
    PerlKetama(u16),
    NpmMemcached,
    NpmMemcache,
    NpmMemjs,
    Gomemcache,
    Custom(Custom),
}

/// A function from a key and the nodes to a position among them.
pub(super) type Custom = Arc<dyn Fn(&[u8], &[Node]) -> usize + Send + Sync>;

impl Router {
    /// Ours, for clusters that no other client uses: rendezvous hashing over 64-bit XXH3 of names
    /// (`host:port`) and keys. The order of the list has no meaning, keys move only to nodes that
    /// come and from nodes that go, shares are even to a per cent without any setting, and weights
    /// hold exactly. Costs about 30 instructions a node, so it is for clusters of tens, not thousands.
    pub fn rendezvous() -> Self {
        Self(Rule::Rendezvous)
    }

    /// Jump consistent hash over XXH3. For lists that grow and shrink at their end only: the
    /// position in the list is the node's identity. Weights have no meaning.
    pub fn jump() -> Self {
        Self(Rule::Jump)
    }

    /// libmemcached's `KETAMA`, with the hash it has if none is set.
    pub fn ketama_libmemcached() -> Self {
        Self::ketama_libmemcached_hash(HashKind::OneAtATime)
    }

    /// libmemcached's `KETAMA` with `HASH` set.
    ///
    /// As there, a weight above 1 turns the points into those of
    /// [`ketama_libmemcached_weighted`](Self::ketama_libmemcached_weighted), and keys keep their
    /// hash.
    pub fn ketama_libmemcached_hash(hash: HashKind) -> Self {
        Self(Rule::KetamaLibmemcached(hash))
    }

    /// libmemcached's `KETAMA_WEIGHTED`: what libketama and most other clients do. The best choice
    /// for a cluster that clients in several languages share.
    pub fn ketama_libmemcached_weighted() -> Self {
        Self(Rule::KetamaLibmemcachedWeighted)
    }

    /// libmemcached's `CONSISTENT_KETAMA_SPY`.
    pub fn ketama_libmemcached_spy() -> Self {
        Self(Rule::KetamaLibmemcachedSpy)
    }

    /// libmemcached as it is if nothing is set: the hash modulo the number of nodes. Weights have
    /// no meaning.
    pub fn modula_libmemcached(hash: HashKind) -> Self {
        Self(Rule::ModulaLibmemcached(hash))
    }

    /// twemproxy's `distribution: ketama` with `hash:` as given.
    ///
    /// With [`HashKind::Crc`], which twemproxy calls `crc32`, one node gets every key, as there.
    pub fn ketama_twemproxy(hash: HashKind) -> Self {
        Self(Rule::KetamaTwemproxy(hash))
    }

    /// twemproxy's `distribution: modula` with `hash:` as given.
    ///
    /// Wherever its servers stand in its file, it counts them in the order of their names (or of
    /// `host:port` where they have none): shorter ones first, those of one length by their bytes. The
    /// list of nodes must have that order.
    pub fn modula_twemproxy(hash: HashKind) -> Self {
        Self(Rule::ModulaTwemproxy(hash))
    }

    /// spymemcached's `KETAMA_HASH`: nodes are called `host/address:port`, so
    /// [addresses](Node::with_address) must be given where nodes are known by host names. Weights
    /// have no meaning.
    pub fn ketama_spymemcached() -> Self {
        Self(Rule::KetamaSpymemcached)
    }

    /// spymemcached's `NATIVE_HASH`, its default: Java's `hashCode` modulo the number of nodes.
    pub fn modula_spymemcached() -> Self {
        Self(Rule::ModulaSpymemcached)
    }

    /// `KETAMA_HASH` of AWS' Java client since 1.2.0, which is SHA-384 there: nodes are called
    /// `address:port`, with the address out of discovery. It agrees with no other client.
    pub fn ketama_aws() -> Self {
        Self(Rule::KetamaAws)
    }

    /// pymemcache's `HashClient`: rendezvous hashing over MurmurHash3. Weights have no meaning.
    pub fn pymemcache() -> Self {
        Self(Rule::Pymemcache)
    }

    /// emcache: rendezvous hashing over what it keeps of a MurmurHash3, which is little. Weights
    /// have no meaning.
    pub fn emcache() -> Self {
        Self(Rule::Emcache)
    }

    /// python-binary-memcached's distributed client, over uhashring. Nodes that are logged in to
    /// are called `host:port_user_password` there; give them that [name](Node::with_name).
    pub fn bmemcached() -> Self {
        Self(Rule::Bmemcached)
    }

    /// meta-memcache (Python), over uhashring. Keys that it hashes, since they are too long or no
    /// ASCII, must be given as it sends them.
    pub fn meta_memcache() -> Self {
        Self(Rule::MetaMemcache)
    }

    /// python-memcached.
    pub fn python_memcached() -> Self {
        Self(Rule::PythonMemcached)
    }

    /// dalli, for Ruby.
    pub fn dalli() -> Self {
        Self(Rule::Dalli)
    }

    /// Cache::Memcached, and Cache::Memcached::Fast without `ketama_points`.
    pub fn perl() -> Self {
        Self(Rule::Perl)
    }

    /// Cache::Memcached::Fast with `ketama_points`, for which its manual recommends 150.
    pub fn perl_ketama(points: u16) -> Self {
        Self(Rule::PerlKetama(points))
    }

    /// npm `memcached` and `memcache-plus`, over `hashring`. The same as
    /// [`ketama_libmemcached_weighted`](Self::ketama_libmemcached_weighted) on ports other than
    /// 11211.
    pub fn npm_memcached() -> Self {
        Self(Rule::NpmMemcached)
    }

    /// npm `memcache`, its `KetamaHash`.
    pub fn npm_memcache() -> Self {
        Self(Rule::NpmMemcache)
    }

    /// npm `memjs`.
    pub fn npm_memjs() -> Self {
        Self(Rule::NpmMemjs)
    }

    /// gomemcache. (From its source; no recording of it is among the vectors.)
    pub fn gomemcache() -> Self {
        Self(Rule::Gomemcache)
    }

    /// A rule of one's own: a function from a key and the nodes, of which there is at least one, to
    /// a position among them. What it returns is taken modulo their number.
    ///
    /// ```
    /// use nuthatch_client::route::{Node, Router};
    ///
    /// let by_length = Router::custom(|key, _nodes| key.len());
    /// let ring = by_length.ring(&[Node::new("a", 1), Node::new("b", 1)]);
    /// assert_eq!(ring.pick(b"odd"), Some(1));
    /// ```
    pub fn custom(pick: impl Fn(&[u8], &[Node]) -> usize + Send + Sync + 'static) -> Self {
        Self(Rule::Custom(Arc::new(pick)))
    }

    /// The rule applied to a list of nodes.
    ///
    /// Takes as long as hashing 40 to 160 names a node, for most rules; make it once.
    pub fn ring(&self, nodes: &[Node]) -> Ring {
        Ring::new(&self.0, nodes)
    }
}

impl PartialEq for Rule {
    /// Rules of one's own are equal to their clones only.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Custom(a), Self::Custom(b)) => Arc::ptr_eq(a, b),
            (Self::Custom(_), _) | (_, Self::Custom(_)) => false,
            _ => self.to_string() == other.to_string(),
        }
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
