//! The table of `-o` words, and the reading of the list that `-o` takes.
//!
//! The words act in the order given: `no_modern` sets several things at once, and words after it
//! may set some of them back.

use std::{path::PathBuf, str::FromStr};

use nuthatch_discovery::Member;
use nuthatch_store::Profile;
use nuthatch_transport::tls::{KeyFormat, MinVersion};
use nuthatch_types::{Key, limits};

use crate::process::privileges::IS_SUPPORTED;

use super::{
    HOT_WARM_PCT_MAX, HashAlgorithm, Options, UsageError, VerifyMode,
    draft::{Draft, invalid},
};

/// One word.
pub(super) struct Word {
    pub(super) name: &'static str,
    /// What `-h` says; a line break starts an indented line. Empty for what `-h` leaves out.
    pub(super) doc: &'static str,
    /// What the manual says instead, in sentences; a line break ends a paragraph, and backquotes
    /// stand around what is typed. Empty where it says the same.
    pub(super) more: &'static str,
    /// What `-h` shows as the default, if anything.
    pub(super) default: Option<fn(&Options) -> String>,
    pub(super) action: WordAction,
}

/// What a word does.
pub(super) enum WordAction {
    /// Takes no value and changes the options.
    Set(fn(&mut Draft)),
    /// Takes a value, which it may find missing, and changes the options or refuses it.
    Take(Take),
    /// Is memcached's but not ours yet.
    Unsupported,
    /// Is memcached's and would make no sense here, for this reason.
    Refused(&'static str),
}

/// Acts on a word's value.
type Take = fn(&mut Draft, Option<&str>) -> Result<(), UsageError>;

/// Reads the list that follows one `-o`.
pub(super) fn read(draft: &mut Draft, list: &str) -> Result<(), UsageError> {
    // A comma at the very end closes the list; any other empty word is an error.
    let list = list.strip_suffix(',').unwrap_or(list);
    if list.is_empty() {
        return Ok(());
    }
    for item in list.split(',') {
        let (name, value) = match item.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (item, None),
        };
        let word = WORDS
            .iter()
            .find(|word| word.name == name)
            .ok_or_else(|| UsageError::value(format!("Illegal suboption \"{item}\"")))?;
        match (&word.action, value) {
            (WordAction::Set(set), None) => set(draft),
            (WordAction::Set(_), Some(_)) => {
                return Err(UsageError::value(format!("{name} takes no value")));
            }
            (WordAction::Take(take), value) => take(draft, value)?,
            (WordAction::Unsupported, _) => {
                return Err(UsageError::unsupported(format_args!("-o {name}")));
            }
            (WordAction::Refused(reason), _) => {
                return Err(UsageError::usage(format!("-o {name} is not supported: {reason}")));
            }
        }
    }
    Ok(())
}

pub(super) const WORDS: &[Word] = &[
    Word {
        name: "maxconns_fast",
        doc: "immediately close new connections after limit",
        more: "A client above the limit of `-c` is told so and closed.",
        default: Some(|options| on_off(options.maxconns_fast)),
        action: WordAction::Set(|draft| draft.options.maxconns_fast = true),
    },
    Word {
        name: "no_maxconns_fast",
        doc: "let new connections after limit wait instead",
        more: "A client above the limit of `-c` waits, unaccepted, until another one leaves.",
        default: None,
        action: WordAction::Set(|draft| draft.options.maxconns_fast = false),
    },
    Word {
        name: "idle_timeout",
        doc: "seconds after which idle TCP connections are closed; 0 is never",
        more: "Closes TCP connections that have sent no request for so many seconds; `0` is \
               never.",
        default: Some(|options| options.idle_timeout_secs.to_string()),
        action: WordAction::Take(|draft, value| {
            let text = value.ok_or_else(|| missing("numeric argument for idle_timeout"))?;
            draft.options.idle_timeout_secs = number("idle_timeout", text)?;
            Ok(())
        }),
    },
    Word {
        name: "hashpower",
        doc: "make the hash table for 2 to this power items at once, 12 to 32",
        more: "Makes the index for 2 to this power items at once, 12 to 32. It grows by \
               itself, so this only saves the growing.",
        default: None,
        action: WordAction::Take(|draft, value| {
            let text = value.ok_or_else(|| missing("numeric argument for hashpower"))?;
            let power: i32 = number("hashpower", text)?;
            if power < 12 {
                return Err(UsageError::value(format!(
                    "Initial hashtable multiplier of {power} is too low"
                )));
            }
            if power > 32 {
                return Err(UsageError::value(format!(
                    "Initial hashtable multiplier of {power} is too high\n\
                     Choose a value based on \"STAT hash_power_level\" from a running instance"
                )));
            }
            draft.options.store.hashpower = Some(power.unsigned_abs());
            Ok(())
        }),
    },
    Word {
        name: "hash_algorithm",
        doc: "jenkins, murmur3 or xxh3: the name shown in stats settings; the hash\n\
              itself is this server's own and the same for all",
        more: "`jenkins`, `murmur3` or `xxh3`: the name that `stats settings` shows. The hash \
               of the index is this server's own, seeded at random, and the same for all.",
        default: Some(|options| options.store.hash_algorithm.as_setting().to_owned()),
        action: WordAction::Take(|draft, value| {
            draft.options.store.hash_algorithm = match value {
                None => return Err(missing("hash_algorithm argument")),
                Some("jenkins") => HashAlgorithm::Jenkins,
                Some("murmur3") => HashAlgorithm::Murmur3,
                Some("xxh3") => HashAlgorithm::Xxh3,
                Some(_) => {
                    return Err(UsageError::value(
                        "Unknown hash_algorithm option (jenkins, murmur3, xxh3)",
                    ));
                }
            };
            Ok(())
        }),
    },
    Word {
        name: "profile",
        doc: "compat: memcached's slab classes and LRU; lean: finer classes, smaller\n\
              items, and S3-FIFO to choose what is evicted",
        more: "`compat` has memcached's slab classes and LRU. `lean` has classes 8 % apart \
               that begin at 48 bytes, smaller items, and S3-FIFO to choose what is evicted: it \
               holds more and hits more.",
        default: Some(|_| "compat".to_owned()),
        action: WordAction::Take(|draft, value| {
            draft.options.store.profile = match value {
                Some("compat") => Profile::Compat,
                Some("lean") => Profile::Lean,
                None => return Err(missing("profile argument")),
                Some(_) => return Err(UsageError::value("Unknown profile (compat, lean)")),
            };
            Ok(())
        }),
    },
    Word {
        name: "slab_chunk_max",
        doc: "largest chunk in kilobytes; larger items are stored in pieces",
        more: "The largest chunk, in kilobytes; larger items are stored in pieces. It must \
               divide a megabyte and `-I`.",
        default: Some(|options| (options.store.slab_chunk_max >> 10).to_string()),
        action: WordAction::Take(|draft, value| {
            let text = value.ok_or_else(|| missing("slab_chunk_max argument"))?;
            let kilobytes: i32 = text
                .trim_start()
                .parse()
                .map_err(|_| UsageError::value("could not parse argument to slab_chunk_max"))?;
            if kilobytes <= 0 {
                return Err(UsageError::value("slab_chunk_max must be >= 0"));
            }
            if kilobytes > 1 << 10 {
                return Err(UsageError::value("slab_chunk_max must be specified in kilobytes."));
            }
            draft.options.store.slab_chunk_max = (kilobytes.unsigned_abs() as usize) << 10;
            draft.slab_chunk_max_given = true;
            Ok(())
        }),
    },
    Word {
        name: "slab_sizes",
        doc: "chunk sizes of all slab classes but the last, in bytes, dash separated\n\
              ex: -o slab_sizes=100-200-300-400",
        more: "The chunk sizes of all slab classes but the last, in bytes, separated by \
               dashes: ascending, more than 8 apart, at most 62, from `-n` to `slab_chunk_max`. \
               Replaces `-f`.",
        default: None,
        action: WordAction::Take(|draft, value| {
            let text = value.ok_or_else(|| missing("slab_sizes argument"))?;
            draft.slab_sizes = Some(text.to_owned());
            Ok(())
        }),
    },
    Word {
        name: "slab_reassign",
        doc: "let slab pages move between classes",
        more: "Lets pages of memory move from one slab class to another.",
        default: Some(|options| on_off(options.store.slab_reassign)),
        action: WordAction::Set(|draft| draft.options.store.slab_reassign = true),
    },
    Word {
        name: "no_slab_reassign",
        doc: "keep slab pages with their class",
        more: "Keeps pages with the class that got them first.",
        default: None,
        action: WordAction::Set(|draft| draft.options.store.slab_reassign = false),
    },
    Word {
        name: "slab_automove",
        doc: "0 moves no slab page without being asked, 1 moves one a second at most,\n\
              2 moves one for every eviction",
        more: "`0` moves no page without being asked, `1` moves one now and then to the class \
               whose items are thrown out youngest, `2` with every eviction.",
        default: Some(|options| options.store.slab_automove.to_string()),
        action: WordAction::Take(|draft, value| {
            let level: i32 = value.map_or(Ok(1), |text| number("slab_automove", text))?;
            draft.options.store.slab_automove = u8::try_from(level)
                .ok()
                .filter(|level| *level <= 2)
                .ok_or_else(|| UsageError::value("slab_automove must be between 0 and 2"))?;
            Ok(())
        }),
    },
    Word {
        name: "no_slab_automove",
        doc: "as slab_automove=0",
        more: "",
        default: None,
        action: WordAction::Set(|draft| draft.options.store.slab_automove = 0),
    },
    Word {
        name: "slab_automove_ratio",
        doc: "how much younger a class's oldest items are than another's before it\n\
              gets a page",
        more: "A class gets a page of another one when its oldest items are younger than this \
               share of the other's; above 0, at most 1.",
        default: Some(|options| format!("{:.2}", options.store.slab_automove_ratio)),
        action: WordAction::Take(|draft, value| {
            let text = value.ok_or_else(|| missing("slab_automove_ratio argument"))?;
            let ratio: f64 = number("slab_automove_ratio", text)?;
            if !(ratio > 0.0 && ratio <= 1.0) {
                return Err(UsageError::value("slab_automove_ratio must be > 0 and < 1"));
            }
            draft.options.store.slab_automove_ratio = ratio;
            Ok(())
        }),
    },
    Word {
        name: "slab_automove_window",
        doc: "over how many seconds slab_automove watches before it decides",
        more: "Over how many seconds `slab_automove` watches before it decides; 3 to 1800.",
        default: Some(|options| options.store.slab_automove_window.to_string()),
        action: WordAction::Take(|draft, value| {
            let text = value.ok_or_else(|| missing("slab_automove_window argument"))?;
            let window: i32 = number("slab_automove_window", text)?;
            if !(3..=1800).contains(&window) {
                return Err(UsageError::value("slab_automove_window must be > 2 and < 1800"));
            }
            draft.options.store.slab_automove_window = window.unsigned_abs();
            Ok(())
        }),
    },
    Word {
        name: "no_chunked_items",
        doc: "store every item in one chunk, of up to a page",
        more: "",
        default: None,
        action: WordAction::Set(|draft| draft.options.store.slab_chunk_max = limits::PAGE_BYTES),
    },
    Word {
        name: "lru_crawler",
        doc: "look for expired items in the background",
        more: "",
        default: Some(|options| on_off(options.store.lru_crawler)),
        action: WordAction::Set(|draft| draft.options.store.lru_crawler = true),
    },
    Word {
        name: "no_lru_crawler",
        doc: "leave expired items until they are looked at",
        more: "",
        default: None,
        action: WordAction::Set(|draft| draft.options.store.lru_crawler = false),
    },
    Word {
        name: "lru_crawler_sleep",
        doc: "microseconds to rest after every 1000 items",
        more: "How many microseconds the search for expired items rests after every 1000 \
               items; at most 1000000.",
        default: Some(|options| options.store.lru_crawler_sleep_us.to_string()),
        action: WordAction::Take(|draft, value| {
            let text = value.ok_or_else(|| missing("lru_crawler_sleep value"))?;
            let sleep: i64 = number("lru_crawler_sleep", text)?;
            draft.options.store.lru_crawler_sleep_us =
                u32::try_from(sleep).ok().filter(|sleep| *sleep <= 1_000_000).ok_or_else(|| {
                    UsageError::value("LRU crawler sleep must be between 0 and 1 second")
                })?;
            Ok(())
        }),
    },
    Word {
        name: "lru_crawler_tocrawl",
        doc: "most items to look at in each list; 0 is all",
        more: "How many items of each list a search for expired items looks at; `0` is all.",
        default: Some(|options| options.store.lru_crawler_tocrawl.to_string()),
        action: WordAction::Take(|draft, value| {
            let text = value.ok_or_else(|| missing("lru_crawler_tocrawl value"))?;
            draft.options.store.lru_crawler_tocrawl = text.trim_start().parse().map_err(|_| {
                UsageError::value("lru_crawler_tocrawl takes a numeric 32bit value")
            })?;
            Ok(())
        }),
    },
    Word {
        name: "lru_maintainer",
        doc: "segmented LRU with a background thread",
        more: "Cuts the LRU of each class into HOT, WARM and COLD, between which a background \
               thread moves items: what is read again stays.",
        default: Some(|options| on_off(options.store.lru_segmented)),
        action: WordAction::Set(|draft| draft.options.store.lru_segmented = true),
    },
    Word {
        name: "no_lru_maintainer",
        doc: "one LRU list a class, without the background thread",
        more: "",
        default: None,
        action: WordAction::Set(|draft| draft.options.store.lru_segmented = false),
    },
    Word {
        name: "hot_lru_pct",
        doc: "pct of slab memory to reserve for hot lru",
        more: "The share of a class's memory for HOT, 1 to 79; with `warm_lru_pct` at most \
               80.",
        default: Some(|options| options.store.hot_lru_pct.to_string()),
        action: WordAction::Take(|draft, value| {
            draft.options.store.hot_lru_pct = percent("hot_lru_pct", value)?;
            draft.hot_lru_pct_given = true;
            Ok(())
        }),
    },
    Word {
        name: "warm_lru_pct",
        doc: "pct of slab memory to reserve for warm lru",
        more: "The share of a class's memory for WARM, 1 to 79; with `hot_lru_pct` at most \
               80.",
        default: Some(|options| options.store.warm_lru_pct.to_string()),
        action: WordAction::Take(|draft, value| {
            draft.options.store.warm_lru_pct = percent("warm_lru_pct", value)?;
            Ok(())
        }),
    },
    Word {
        name: "hot_max_factor",
        doc: "items idle > cold lru age * this drop from hot lru",
        more: "An item leaves HOT when it has been idle for longer than the age of COLD's \
               oldest item times this.",
        default: Some(|options| format!("{:.2}", options.store.hot_max_factor)),
        action: WordAction::Take(|draft, value| {
            draft.options.store.hot_max_factor = factor("hot_max_factor", value)?;
            Ok(())
        }),
    },
    Word {
        name: "warm_max_factor",
        doc: "items idle > cold lru age * this drop from warm lru",
        more: "An item leaves WARM when it has been idle for longer than the age of COLD's \
               oldest item times this.",
        default: Some(|options| format!("{:.2}", options.store.warm_max_factor)),
        action: WordAction::Take(|draft, value| {
            draft.options.store.warm_max_factor = factor("warm_max_factor", value)?;
            Ok(())
        }),
    },
    Word {
        name: "temporary_ttl",
        doc: "items that live no longer than so many seconds get a separate LRU and\n\
              are not evicted (needs lru_maintainer; default: off)",
        more: "Items that live no longer than so many seconds get a list of their own and are \
               never evicted; needs `lru_maintainer`. Off unless given.",
        default: None,
        action: WordAction::Take(|draft, value| {
            let text = value.ok_or_else(|| missing("temporary_ttl argument"))?;
            draft.options.store.temporary_ttl_secs = Some(number("temporary_ttl", text)?);
            Ok(())
        }),
    },
    Word {
        name: "read_buf_mem_limit",
        doc: "limit in megabytes for the memory that requests are read into\n\
              (default: 0, unlimited)",
        more: "How much the buffers that requests are read into may take together, in \
               megabytes; `0` is no limit. Leave it unless there are tens of thousands of clients.",
        default: None,
        action: WordAction::Take(|draft, value| {
            draft.options.read_buf_mem_limit = bytes("read_buf_mem_limit", value, 1 << 20)?;
            Ok(())
        }),
    },
    Word {
        name: "watcher_logbuf_size",
        doc: "size in kilobytes of per-watcher write buffer",
        more: "How much may wait to be sent to one `watch` client, in kilobytes; what does \
               not fit is left out and counted.",
        default: Some(|options| (options.watcher_logbuf_bytes >> 10).to_string()),
        action: WordAction::Take(|draft, value| {
            draft.options.watcher_logbuf_bytes = bytes("watcher_logbuf_size", value, 1 << 10)?;
            Ok(())
        }),
    },
    Word {
        name: "worker_logbuf_size",
        doc: "size in kilobytes of per-worker-thread buffer read by logger",
        more: "How much one worker may have to tell watchers before somebody takes it, in \
               kilobytes; what does not fit is left out and counted.",
        default: Some(|options| (options.worker_logbuf_bytes >> 10).to_string()),
        action: WordAction::Take(|draft, value| {
            draft.options.worker_logbuf_bytes = bytes("worker_logbuf_size", value, 1 << 10)?;
            Ok(())
        }),
    },
    Word {
        name: "track_sizes",
        doc: "count how many items there are of each size, for stats sizes",
        more: "Counts how many items there are of each size, for `stats sizes`.",
        default: None,
        action: WordAction::Set(|draft| draft.options.store.track_sizes = true),
    },
    Word {
        name: "udp_trust",
        doc: "networks, joined with +, whose UDP packets come from whom they say; other\n\
              addresses but this machine's get answers of at most three times\n\
              their request (ours, not memcached's)",
        more: "Networks, joined with `+` (`10.0.0.0/8+fd00::/8`), whose UDP packets come from whom \
               they say. Other addresses but this machine's get answers of at most three times \
               their request, so that nobody can have others flooded with them.",
        default: None,
        action: WordAction::Take(|draft, value| {
            let text = value.ok_or_else(|| missing("udp_trust argument"))?;
            draft.options.udp_trust =
                text.parse().map_err(|error| UsageError::value(format!("udp_trust: {error}")))?;
            Ok(())
        }),
    },
    Word {
        name: "sock_cookie_id",
        doc: "mark listening sockets with this number, for the packet filter",
        more: "Marks listening sockets with this number (`SO_MARK`), for the system's packet \
               filter; needs the right to do so.",
        default: None,
        action: WordAction::Take(|draft, value| {
            let text = value.ok_or_else(|| missing("sock_cookie_id argument"))?;
            let id: u32 = number("sock_cookie_id", text)?;
            draft.options.sock_cookie_id = (id != 0).then_some(id);
            Ok(())
        }),
    },
    Word {
        name: "ssl_chain_cert",
        doc: "certificate chain file in PEM format",
        more: "The file, in PEM, of the server's certificate and of what leads from it to an \
               authority. SIGHUP and `refresh_certs` read it and the others again; where one is \
               broken, all stay as they were.",
        default: None,
        action: WordAction::Take(|draft, value| {
            draft.options.tls.chain_cert = Some(file("ssl_chain_cert", value)?);
            Ok(())
        }),
    },
    Word {
        name: "ssl_key",
        doc: "private key, if not part of the ssl_chain_cert file",
        more: "The file of the private key, where it is not in that of the certificates.",
        default: None,
        action: WordAction::Take(|draft, value| {
            draft.options.tls.key = Some(file("ssl_key", value)?);
            Ok(())
        }),
    },
    Word {
        name: "ssl_keyformat",
        doc: "private key format, 1 (PEM) or 2 (DER)",
        more: "How the key is written: `1` is PEM, `2` is DER.",
        default: Some(|options| (options.tls.key_format as u8 + 1).to_string()),
        action: WordAction::Take(|draft, value| {
            draft.options.tls.key_format = match choice("ssl_keyformat", value)? {
                1 => KeyFormat::Pem,
                2 => KeyFormat::Der,
                _ => return Err(UsageError::usage("Error loading the key: bad ssl filetype")),
            };
            Ok(())
        }),
    },
    Word {
        name: "ssl_verify_mode",
        doc: "peer certificate verification mode: 0 (none), 1 (request),\n\
              2 (require) or 3 (once, which is the same as 2)",
        more: "Whether clients must show certificates: `0` asks none, `1` asks and lets clients \
               decline, `2` requires one. `3` is the same as `2`.",
        default: Some(|options| (options.tls.verify_mode as u8).to_string()),
        action: WordAction::Take(|draft, value| {
            let mode = choice("ssl_verify_mode", value)?;
            let known = usize::try_from(mode).ok().and_then(|mode| VerifyMode::ALL.get(mode));
            draft.options.tls.verify_mode = *known.ok_or_else(|| {
                UsageError::value("Invalid ssl_verify_mode. Use help to see valid options.")
            })?;
            Ok(())
        }),
    },
    Word {
        name: "ssl_ciphers",
        doc: "what TLS 1.2 may use, as OpenSSL writes it",
        more: "What TLS 1.2 may use, as OpenSSL writes it (`ECDHE-RSA-AES128-GCM-SHA256`, \
               `HIGH:!CHACHA20`), out of the six suites there are: ECDHE with AES-GCM or \
               ChaCha20-Poly1305. TLS 1.3 has its own.",
        default: None,
        action: WordAction::Take(|draft, value| {
            let list = value.ok_or_else(|| missing("ssl_ciphers argument"))?;
            draft.options.tls.ciphers = Some(list.to_owned());
            Ok(())
        }),
    },
    Word {
        name: "ssl_ca_cert",
        doc: "PEM format file of acceptable client CA's",
        more: "The file, in PEM, of the certificates of those who may sign clients' certificates. \
               Without it no client's certificate holds.",
        default: None,
        action: WordAction::Take(|draft, value| {
            draft.options.tls.ca_cert = Some(file("ssl_ca_cert", value)?);
            Ok(())
        }),
    },
    Word {
        name: "ssl_wbuf_size",
        doc: "size in kilobytes of per-connection SSL output buffer",
        more: "How many kilobytes of answers are enciphered at a time; twice as much of a connection may \
               wait to be sent.",
        default: Some(|options| (options.tls.wbuf_bytes >> 10).to_string()),
        action: WordAction::Take(|draft, value| {
            let size = bytes("ssl_wbuf_size", value, 1 << 10)?;
            if size == 0 {
                return Err(UsageError::value("ssl_wbuf_size must be at least 1"));
            }
            draft.options.tls.wbuf_bytes = size;
            Ok(())
        }),
    },
    Word {
        name: "ssl_session_cache",
        doc: "enable server-side SSL session cache, to support session\n\
              resumption by clients that take no tickets",
        more: "Keeps sessions for clients that take no tickets, so that they come back quickly; \
               those that take them do so in any case.",
        default: None,
        action: WordAction::Set(|draft| draft.options.tls.session_cache = true),
    },
    Word {
        name: "ssl_min_version",
        doc: "minimum protocol version to accept: 2 (tlsv1.2) or 3 (tlsv1.3)",
        more: "The oldest version that is spoken: `2` is TLS 1.2, `3` is TLS 1.3. memcached's `0` \
               and `1` stand for TLS 1.0 and 1.1, which are not spoken here: they give a warning and \
               mean `2`.",
        default: Some(|options| (options.tls.min_version as u8 + 2).to_string()),
        action: WordAction::Take(|draft, value| {
            draft.options.tls.min_version = match choice("ssl_min_version", value)? {
                old @ (0 | 1) => {
                    draft.options.warnings.push(format!(
                        "ssl_min_version={old}: TLS 1.{old} is broken and not spoken here; serving \
                         TLS 1.2 and later"
                    ));
                    MinVersion::Tls12
                }
                2 => MinVersion::Tls12,
                3 => MinVersion::Tls13,
                _ => {
                    return Err(UsageError::value(
                        "Invalid ssl_min_version. Use help to see valid options.",
                    ));
                }
            };
            Ok(())
        }),
    },
    Word {
        name: "discovery",
        doc: "serve config get, config set and config delete, by which cluster clients\n\
              find the nodes (ours, not memcached's)",
        more: "Serves `config get`, `config set` and `config delete`, by which the clients of \
               ElastiCache find the nodes of a cluster. Whoever may change a list stores it with \
               `config set`, unless `discovery_source` says where it comes from.",
        default: None,
        action: WordAction::Set(|draft| draft.options.discovery.enabled = true),
    },
    Word {
        name: "discovery_source",
        doc: "where the list of nodes comes from:\n\
              static:host:port:weight+host:port, dns+host:port,\n\
              dnssrv+_service._tcp.name, etcd://host:port+host:port/prefix",
        more: "Where the list of nodes comes from; entries are separated by `+`. It turns \
               `discovery` on, and no client can change that list. While the source does not \
               answer, the last list stays, and the log and `stats cluster` say so.\n\
               `static:host[:port[:weight]]+…` or `static:host|address|port[|weight]+…` is a list that \
               does not change. Its version is the time of the start; `static:VERSION@…` says another, for \
               nodes that are to agree on it.\n\
               `dns+HOST:PORT` are the addresses of a name, `dnssrv+_memcached._tcp.NAME` the SRV records \
               of a service with their weights; both are asked for again when they expire, after 5 to 60 \
               seconds. The version is the time at which this server first saw the list.\n\
               `etcd://HOST[:PORT]+…/PREFIX` are keys in etcd, `etcds://…` over TLS. There the nodes keep the list themselves: \
               each puts a key `PREFIX/nodes/NAME:PORT` when it starts and removes it when it ends; that of one which dies goes after \
               `discovery_ttl`. All nodes agree on versions. With `-Z`, `etcd://` is for an etcd on this machine only.",
        default: None,
        action: WordAction::Take(|draft, value| {
            let text = value.ok_or_else(|| missing("discovery_source argument"))?;
            draft.options.discovery.source = Some(
                text.parse()
                    .map_err(|error| UsageError::value(format!("discovery_source: {error}")))?,
            );
            Ok(())
        }),
    },
    Word {
        name: "discovery_advertise",
        doc: "host|address|port|weight: what this server calls itself in etcd\n\
              (default: the machine's name and the first TCP listener)",
        more: "`HOST|ADDRESS|PORT` or `HOST|ADDRESS|PORT|WEIGHT` (in quotes): what this server calls itself in etcd. \
               Without it that is the machine's name with address and port of the first TCP listener, \
               the address alone where that is a loopback one, the name alone where it is every address.",
        default: None,
        action: WordAction::Take(|draft, value| {
            let text = value.ok_or_else(|| missing("discovery_advertise argument"))?;
            draft.options.discovery.advertise = Some(
                Member::parse(text)
                    .map_err(|error| UsageError::value(format!("discovery_advertise: {error}")))?,
            );
            draft.discovery_words.push("discovery_advertise");
            Ok(())
        }),
    },
    Word {
        name: "discovery_ttl",
        doc: "seconds after which a node that died has left the list in etcd",
        more: "For how many seconds this server stays in the list in etcd after it was last heard \
               of, 2 to 3600. It is heard of three times as often, and every ten seconds at least.",
        default: Some(|options| options.discovery.ttl_secs.to_string()),
        action: WordAction::Take(|draft, value| {
            let text = value.ok_or_else(|| missing("discovery_ttl argument"))?;
            let secs = number("discovery_ttl", text)?;
            if !(2..=3600).contains(&secs) {
                return Err(UsageError::value("discovery_ttl must be between 2 and 3600"));
            }
            draft.options.discovery.ttl_secs = secs;
            draft.discovery_words.push("discovery_ttl");
            Ok(())
        }),
    },
    Word {
        name: "discovery_login",
        doc: "file with user:password for etcd",
        more: "The file whose first line is `USER:PASSWORD`, for etcd. Like those of certificates it is \
               read again whenever etcd has to be connected to anew, as the user of `-u` then.",
        default: None,
        action: WordAction::Take(|draft, value| {
            draft.options.discovery.login_file = Some(file("discovery_login", value)?);
            draft.discovery_words.push("discovery_login");
            Ok(())
        }),
    },
    Word {
        name: "discovery_ca",
        doc: "PEM format file of the CA's of etcd's certificate",
        more: "The file, in PEM, of the certificates of those who may sign etcd's, for `etcds://`; \
               without it those that the machine trusts.",
        default: None,
        action: WordAction::Take(|draft, value| {
            draft.options.discovery.ca_cert = Some(file("discovery_ca", value)?);
            draft.discovery_words.push("discovery_ca");
            Ok(())
        }),
    },
    Word {
        name: "discovery_cert",
        doc: "PEM format file of the certificate to show to etcd",
        more: "The file, in PEM, of the certificate that etcd is shown when it asks for one.",
        default: None,
        action: WordAction::Take(|draft, value| {
            draft.options.discovery.cert = Some(file("discovery_cert", value)?);
            draft.discovery_words.push("discovery_cert");
            Ok(())
        }),
    },
    Word {
        name: "discovery_key",
        doc: "its private key, if not part of the discovery_cert file",
        more: "The file, in PEM, of that certificate's key, where it is not in the same file.",
        default: None,
        action: WordAction::Take(|draft, value| {
            draft.options.discovery.key = Some(file("discovery_key", value)?);
            draft.discovery_words.push("discovery_key");
            Ok(())
        }),
    },
    Word {
        name: "discovery_dns",
        doc: "DNS servers to ask, address:port joined with +, in place of the system's",
        more: "The DNS servers that are asked, `ADDRESS:PORT` joined with `+`, in place of those of \
               `/etc/resolv.conf`: Consul's, for one.",
        default: None,
        action: WordAction::Take(|draft, value| {
            let text = value.ok_or_else(|| missing("discovery_dns argument"))?;
            draft.options.discovery.name_servers =
                text.split('+').map(str::parse).collect::<Result<_, _>>().map_err(|_| {
                    UsageError::value(format!("discovery_dns: {text}: no ADDRESS:PORT"))
                })?;
            draft.discovery_words.push("discovery_dns");
            Ok(())
        }),
    },
    Word {
        name: "discovery_name",
        doc: "name of the list of nodes, for config get",
        more: "The name under which `config get` has the list of nodes; clients ask for the default.",
        default: Some(|options| options.discovery.name.clone()),
        action: WordAction::Take(|draft, value| {
            let name = value.ok_or_else(|| missing("discovery_name argument"))?;
            Key::new(name)
                .map_err(|error| UsageError::value(format!("discovery_name: {error}")))?;
            draft.options.discovery.name = name.to_owned();
            draft.discovery_words.push("discovery_name");
            Ok(())
        }),
    },
    Word {
        name: "discovery_allow",
        doc: "networks, joined with +, from where lists may be changed, besides this\n\
              machine",
        more: "Networks, joined with `+` (`10.0.0.0/8+fd00::/8`), from where `config set` and \
               `config delete` are taken. Without it that is this machine: its loopback addresses \
               and Unix sockets. Who comes by a proxy on this machine comes from this machine. Where \
               clients must log in, they must here too.",
        default: None,
        action: WordAction::Take(|draft, value| {
            let text = value.ok_or_else(|| missing("discovery_allow argument"))?;
            draft.options.discovery.allow = text
                .parse()
                .map_err(|error| UsageError::value(format!("discovery_allow: {error}")))?;
            draft.discovery_words.push("discovery_allow");
            Ok(())
        }),
    },
    Word {
        name: "no_discovery_mirror",
        doc: "do not tell the list under the key AmazonElastiCache:cluster as well",
        more: "Without it, who gets the key `AmazonElastiCache:cluster` is told the list of nodes, \
               once there is one, and not what somebody has stored there: old clients ask so.",
        default: None,
        action: WordAction::Set(|draft| {
            draft.options.discovery.mirror = false;
            draft.discovery_words.push("no_discovery_mirror");
        }),
    },
    Word {
        name: "discovery_grace",
        doc: "seconds that a node stays in the list which its source no longer names",
        more: "For how many seconds a node stays in the list which its source no longer names. \
               Other changes wait with it.",
        default: Some(|options| options.discovery.grace_secs.to_string()),
        action: WordAction::Take(|draft, value| {
            let text = value.ok_or_else(|| missing("discovery_grace argument"))?;
            draft.options.discovery.grace_secs = number("discovery_grace", text)?;
            Ok(())
        }),
    },
    Word {
        name: "ssl_watch_certs",
        doc: "read certificates, key and CA's again when their files change\n\
              (ours, not memcached's)",
        more: "Looks at the files of `ssl_chain_cert`, `ssl_key` and `ssl_ca_cert` every second, and \
               reads them again when one has changed, or a symbolic link to it, and a second has passed \
               since. Where one is broken, all stay as they were, and standard error is told once.",
        default: None,
        action: WordAction::Set(|draft| draft.options.tls.watch_certs = true),
    },
    Word {
        name: "modern",
        doc: "the defaults of the next major version; currently the same",
        more: "",
        default: None,
        action: WordAction::Set(|_| {}),
    },
    Word {
        name: "no_modern",
        doc: "uses defaults of previous major version (1.4.x)",
        more: "The defaults of memcached 1.4: no moving of pages, one LRU list without \
               crawler or maintainer, chunks of up to a page, waiting at the connection limit.",
        default: None,
        action: WordAction::Set(|draft| {
            if !draft.slab_chunk_max_given {
                draft.options.store.slab_chunk_max = limits::PAGE_BYTES;
            }
            draft.options.maxconns_fast = false;
            let store = &mut draft.options.store;
            store.slab_reassign = false;
            store.slab_automove = 0;
            store.lru_segmented = false;
            store.lru_crawler = false;
            store.hash_algorithm = HashAlgorithm::Jenkins;
        }),
    },
    Word {
        name: "drop_privileges",
        doc: if IS_SUPPORTED {
            "once the server is up, give up the system calls that it does not need;\n\
             whatever uses one all the same ends it"
        } else {
            ""
        },
        more: "Once the server is up, gives up the system calls that it does not need, for \
               all threads and for good (Linux, seccomp). Opening files fails then; making sockets, \
               connecting, starting programs or mapping code ends the process at once, and the \
               kernel's log names the call. The password file of `-Y` may still be read again.",
        default: None,
        action: if IS_SUPPORTED {
            WordAction::Set(|draft| draft.options.drop_privileges = true)
        } else {
            WordAction::Unsupported
        },
    },
    Word {
        name: "no_drop_privileges",
        doc: if IS_SUPPORTED { "keep all system calls (default)" } else { "" },
        more: "",
        default: None,
        action: WordAction::Set(|draft| draft.options.drop_privileges = false),
    },
    Word {
        name: "relaxed_privileges",
        doc: "serve debugging commands, heed T_MEMD_INITIAL_MALLOC",
        more: "Serves `debugtime`, `debugitem` and `misbehave`, and heeds \
               `T_MEMD_INITIAL_MALLOC`: for memcached's own tests.",
        default: Some(|options| on_off(options.debug_commands)),
        action: WordAction::Set(|draft| draft.options.debug_commands = true),
    },
    // Words that memcached itself has left without effect.
    Word {
        name: "inline_ascii_resp",
        doc: "",
        more: "",
        default: None,
        action: WordAction::Set(|_| {}),
    },
    Word {
        name: "no_inline_ascii_resp",
        doc: "",
        more: "",
        default: None,
        action: WordAction::Set(|_| {}),
    },
    Word {
        name: "resp_obj_mem_limit",
        doc: "",
        more: "",
        default: None,
        action: WordAction::Take(|draft, _| {
            draft.options.warnings.push(
                "DEPRECATED: resp_obj_mem_limit no longer used. See read_buf_mem_limit".to_owned(),
            );
            Ok(())
        }),
    },
    // Words that would do harm or nothing.
    refused("no_hashexpand", "an index that may not grow would have to refuse items"),
    refused("tail_repair_time", "references are never lost here, so that there is none to repair"),
    refused("ssl_kernel_tls", "Kernel TLS offload is not available"),
    // Words that ask for what this build does not have.
    unsupported("ext_compact_under"),
    unsupported("ext_drop_under"),
    unsupported("ext_drop_unread"),
    unsupported("ext_io_depth"),
    unsupported("ext_item_age"),
    unsupported("ext_item_size"),
    unsupported("ext_low_ttl"),
    unsupported("ext_max_frag"),
    unsupported("ext_max_sleep"),
    unsupported("ext_page_size"),
    unsupported("ext_path"),
    unsupported("ext_recache_rate"),
    unsupported("ext_threads"),
    unsupported("ext_wbuf_size"),
    unsupported("proxy_arg"),
    unsupported("proxy_config"),
    unsupported("proxy_memprofile"),
    unsupported("proxy_uring"),
    unsupported("slab_automove_freeratio"),
];

const fn unsupported(name: &'static str) -> Word {
    Word { name, doc: "", more: "", default: None, action: WordAction::Unsupported }
}

const fn refused(name: &'static str, reason: &'static str) -> Word {
    Word { name, doc: "", more: "", default: None, action: WordAction::Refused(reason) }
}

fn on_off(enabled: bool) -> String {
    if enabled { "enabled" } else { "disabled" }.to_owned()
}

fn missing(what: &str) -> UsageError {
    UsageError::value(format!("Missing {what}"))
}

fn number<T: FromStr>(name: &str, text: &str) -> Result<T, UsageError> {
    text.trim_start().parse().map_err(|_| invalid(name, text))
}

/// A number of units, as bytes.
fn bytes(name: &str, value: Option<&str>, unit: usize) -> Result<usize, UsageError> {
    let text = value.ok_or_else(|| missing(&format!("{name} argument")))?;
    let number: Option<u32> = text.trim_start().parse().ok();
    number
        .and_then(|number| (number as usize).checked_mul(unit))
        .ok_or_else(|| UsageError::value(format!("could not parse argument to {name}")))
}

/// The path of a file.
fn file(name: &str, value: Option<&str>) -> Result<PathBuf, UsageError> {
    value.map(PathBuf::from).ok_or_else(|| missing(&format!("{name} argument")))
}

/// One of the numbers that stand for something.
fn choice(name: &str, value: Option<&str>) -> Result<i32, UsageError> {
    let text = value.ok_or_else(|| missing(&format!("{name} argument")))?;
    text.trim_start()
        .parse()
        .map_err(|_| UsageError::value(format!("could not parse argument to {name}")))
}

fn percent(name: &str, value: Option<&str>) -> Result<u8, UsageError> {
    let text = value.ok_or_else(|| missing(&format!("{name} argument")))?;
    let percent: i32 = number(name, text)?;
    u8::try_from(percent)
        .ok()
        .filter(|percent| (1..HOT_WARM_PCT_MAX).contains(percent))
        .ok_or_else(|| UsageError::value(format!("{name} must be > 1 and < 80")))
}

fn factor(name: &str, value: Option<&str>) -> Result<f64, UsageError> {
    let text = value.ok_or_else(|| missing(&format!("{name} argument")))?;
    let factor: f64 = number(name, text)?;
    if factor > 0.0 && factor.is_finite() {
        Ok(factor)
    } else {
        Err(UsageError::value(format!("{name} must be > 0")))
    }
}
