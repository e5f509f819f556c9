//! Keys where other clients have put them.
//!
//! Recorded from the real clients, proxies and libmemcached itself: a name that begins with `wire`
//! is a client that stored 200 keys on ten servers, any other is libmemcached 1.1.4 asked through
//! its library. `cargo xtask vectors` made the file; each of its lines says by its first word what
//! it is:
//!
//! ```text
//! set NUMBER COUNT        COUNT keys follow, one a line
//! file NAME               a recording: the three lines that follow
//! keys NUMBER             … of this set
//! servers HOST:PORT*WEIGHT …
//! at 0120-…               the position of the node of each key; - for a key that was not found
//! hashes COUNT NAME …     COUNT keys follow, each with its hashes
//! jumps COUNT             COUNT lines follow: a number, of buckets, the bucket
//! ```

use nuthatch_client::route::{HashKind, Node, Ring, Router, jump_bucket};

const PACKED: &str = include_str!("../vectors/routes.txt");

/// A recording.
struct Recording {
    name: &'static str,
    nodes: Vec<Node>,
    /// Keys, and the nodes that they were found on.
    keys: Vec<(&'static str, Option<usize>)>,
}

fn recordings() -> Vec<Recording> {
    let mut lines = PACKED.lines();
    let mut sets: Vec<Vec<&str>> = Vec::new();
    let mut recordings = Vec::new();
    while let Some(line) = lines.next() {
        let (word, rest) = line.split_once(' ').unwrap();
        match word {
            "set" => {
                let (number, count) = rest.split_once(' ').unwrap();
                assert_eq!(number.parse(), Ok(sets.len()));
                sets.push(lines.by_ref().take(count.parse().unwrap()).collect());
            }
            "file" => {
                let mut part =
                    |word| lines.next().unwrap().strip_prefix(word).unwrap().trim_start();
                let keys = &sets[part("keys").parse::<usize>().unwrap()];
                let nodes = part("servers").split(' ').map(node).collect();
                let places = part("at").bytes();
                assert_eq!(places.len(), keys.len());
                let places = places.map(|c| c.is_ascii_digit().then(|| usize::from(c - b'0')));
                let keys = keys.iter().copied().zip(places).collect();
                recordings.push(Recording { name: rest, nodes, keys });
            }
            _ => {}
        }
    }
    recordings
}

fn node(text: &str) -> Node {
    let (name, weight) = text.split_once('*').unwrap();
    let (host, port) = name.rsplit_once(':').unwrap();
    Node::new(host, port.parse().unwrap()).with_weight(weight.parse().unwrap())
}

/// The rule of a recording, by its name; by the name only, so that a rule cannot be tried until
/// one fits.
fn router(name: &str) -> Router {
    if let Some(client) = name.strip_prefix("wire-") {
        return wire_router(client);
    }
    let kind = ["-1-", "-3-", "-10-"].iter().find_map(|count| name.split_once(count)).unwrap().0;
    match kind {
        "ketama-weighted" => Router::ketama_libmemcached_weighted(),
        "ketama-unweighted-default" | "ketama-implicitweighted" => Router::ketama_libmemcached(),
        "ketama-unweighted-md5" => Router::ketama_libmemcached_hash(HashKind::Md5),
        "ketama-spy-md5" => Router::ketama_libmemcached_spy(),
        _ => match kind.strip_prefix("modula-") {
            Some(hash) => Router::modula_libmemcached(hash.parse().unwrap()),
            None => panic!("no rule for {name}"),
        },
    }
}

fn wire_router(client: &str) -> Router {
    if let Some(hash) = client.strip_prefix("twemproxy-ketama-") {
        return Router::ketama_twemproxy(hash.trim_end_matches("-weights").parse().unwrap());
    }
    if let Some(hash) = client.strip_prefix("twemproxy-modula-") {
        return Router::modula_twemproxy(hash.trim_end_matches("-weights").parse().unwrap());
    }
    match client {
        "aws-java-ketama" => Router::ketama_aws(),
        "bmemcached" => Router::bmemcached(),
        "dalli" => Router::dalli(),
        "emcache" => Router::emcache(),
        "meta-memcache" => Router::meta_memcache(),
        "npm-memcache" => Router::npm_memcache(),
        "npm-memcache-plus" | "npm-memcached" => Router::npm_memcached(),
        "npm-memjs" => Router::npm_memjs(),
        "perl-cache-memcached" | "perl-cmf-modulo" => Router::perl(),
        "perl-cmf-ketama150" => Router::perl_ketama(150),
        "php-memcached-consistent" | "pylibmc-consistent" | "pylibmc-ketama" => {
            Router::ketama_libmemcached()
        }
        "php-memcached-default" | "pylibmc-default" => {
            Router::modula_libmemcached(HashKind::OneAtATime)
        }
        "php-memcached-libketama" | "pylibmc-ketama_weighted" => {
            Router::ketama_libmemcached_weighted()
        }
        "pylibmc-md5modula" => Router::modula_libmemcached(HashKind::Md5),
        "pymemcache" => Router::pymemcache(),
        "python-memcached" => Router::python_memcached(),
        "spymemcached-default" => Router::modula_spymemcached(),
        "spymemcached-ketama" => Router::ketama_spymemcached(),
        _ => panic!("no rule for {client}"),
    }
}

/// How many keys of a recording were found, and how many of those lie elsewhere by a ring.
fn compared(recording: &Recording, ring: &Ring) -> (usize, usize) {
    let found = recording.keys.iter().filter_map(|(key, node)| Some((key, (*node)?)));
    let (mut n_found, mut n_wrong) = (0, 0);
    for (key, node) in found {
        n_found += 1;
        n_wrong += usize::from(ring.pick(key.as_bytes()) != Some(node));
    }
    (n_found, n_wrong)
}

#[test]
fn every_key_lies_where_the_other_client_put_it() {
    let recordings = recordings();
    let (mut n_keys, mut wrong) = (0, Vec::new());
    for recording in &recordings {
        let ring = router(recording.name).ring(&recording.nodes);
        let (n_found, n_wrong) = compared(recording, &ring);
        n_keys += n_found;
        if n_wrong > 0 {
            wrong.push(format!("{}: {n_wrong} of {n_found}", recording.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!((recordings.len(), n_keys), (198, 39_573));
}

#[test]
fn libhashkit_hashes_the_same() {
    let mut lines = PACKED.lines().skip_while(|line| !line.starts_with("hashes "));
    let head: Vec<_> = lines.next().unwrap().split(' ').collect();
    let (count, names) = (head[1].parse().unwrap(), &head[2..]);
    let mut n_hashes = 0;
    for line in lines.take(count) {
        let (key, hashes) = line.split_once(' ').unwrap();
        for (name, hash) in names.iter().zip(hashes.split(' ')) {
            // Debian builds libhashkit without this one; it answers 1 then.
            if *name == "hsieh" {
                assert_eq!(hash, "1");
                continue;
            }
            let kind: HashKind = name.parse().unwrap();
            assert_eq!(Ok(kind.hash(key.as_bytes())), hash.parse(), "{name} of {key}");
            n_hashes += 1;
        }
    }
    assert_eq!(n_hashes, 600);
}

#[test]
fn jump_hashes_the_same() {
    let mut lines = PACKED.lines().skip_while(|line| !line.starts_with("jumps "));
    let count = lines.next().unwrap()["jumps ".len()..].parse().unwrap();
    let mut n_jumps = 0;
    for line in lines.take(count) {
        let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
        let bucket = jump_bucket(numbers[0], numbers[1].try_into().unwrap());
        assert_eq!(u64::from(bucket), numbers[2], "{line}");
        n_jumps += 1;
    }
    assert_eq!(n_jumps, 240);
}

#[test]
fn recordings_can_be_told_apart_by_what_they_hold() {
    // The comparison can fail: no recording on several nodes follows rendezvous hashing.
    for recording in recordings().iter().filter(|recording| recording.nodes.len() > 1) {
        let (n_found, n_wrong) = compared(recording, &Router::rendezvous().ring(&recording.nodes));
        assert!(n_wrong * 3 > n_found, "{}: {n_wrong} of {n_found}", recording.name);
    }
}
