//! The rules that join several options, applied once the whole command line is read; in
//! memcached's order, so that the same mistake gets the same message.

use nuthatch_discovery::SourceSpec;
use nuthatch_store::{Profile, Store};
use nuthatch_types::limits::{ITEM_SIZE_DEFAULT, ITEM_SIZE_MAX, ITEM_SIZE_MIN, PAGE_BYTES};

use super::{HOT_WARM_PCT_MAX, Options, Port, Protocol, UsageError, draft::Draft};

/// Makes a draft into options, or says what does not fit.
pub(super) fn finish(draft: Draft) -> Result<Options, UsageError> {
    let Draft {
        mut options,
        port_given,
        protocol_given,
        slab_chunk_max_given,
        growth_factor_given,
        chunk_size_min_given,
        hot_lru_pct_given,
        discovery_words,
        slab_sizes,
    } = draft;
    if options.napi_ids as usize > options.threads {
        return Err(UsageError::usage(format!(
            "Number of napi_ids({}) cannot be greater than number of threads({})",
            options.napi_ids, options.threads
        )));
    }
    let store = &mut options.store;
    if store.profile == Profile::Lean {
        // What the engine itself takes in that profile, where nothing else was asked for.
        let lean = Store::builder().profile(Profile::Lean).config();
        if !growth_factor_given {
            store.growth_factor = lean.growth_factor;
        }
        if !chunk_size_min_given {
            store.chunk_size_min = lean.chunk_size_min;
        }
        if !hot_lru_pct_given {
            store.hot_lru_pct = lean.hot_lru_pct;
        }
    }
    let item_size = store.item_size_max;

    if item_size < ITEM_SIZE_MIN {
        return Err(UsageError::usage("Item max size cannot be less than 1024 bytes."));
    }
    if item_size > options.memory_limit / 2 {
        return Err(UsageError::usage("Cannot set item size limit higher than 1/2 of memory max."));
    }
    if item_size > ITEM_SIZE_MAX {
        return Err(UsageError::usage("Cannot set item size limit higher than a gigabyte."));
    }
    // Items beyond a page must be in pieces, whatever `no_modern` said.
    if item_size > ITEM_SIZE_DEFAULT && !slab_chunk_max_given {
        store.slab_chunk_max = PAGE_BYTES / 2;
    }

    let chunk = store.slab_chunk_max;
    if chunk > item_size {
        return Err(UsageError::usage(format!(
            "slab_chunk_max (bytes: {chunk}) cannot be larger than -I (item_size_max {item_size})"
        )));
    }
    if !item_size.is_multiple_of(chunk) {
        return Err(UsageError::usage(format!(
            "-I (item_size_max: {item_size}) must be evenly divisible by slab_chunk_max \
             (bytes: {chunk})"
        )));
    }
    if !PAGE_BYTES.is_multiple_of(chunk) {
        return Err(UsageError::usage(format!(
            "slab_chunk_max (bytes: {chunk}) must divide evenly into {PAGE_BYTES} (slab_page_size)"
        )));
    }
    if let Some(list) = slab_sizes {
        store.slab_sizes = sizes(&list, store.chunk_size_min, chunk)?;
    }
    if store.hot_lru_pct + store.warm_lru_pct > HOT_WARM_PCT_MAX {
        return Err(UsageError::usage(
            "hot_lru_pct + warm_lru_pct cannot be more than 80% combined",
        ));
    }
    if store.temporary_ttl_secs.is_some() && !store.lru_segmented {
        return Err(UsageError::usage("temporary_ttl requires lru_maintainer to be enabled"));
    }
    if options.sasl {
        if !protocol_given {
            options.protocol = Protocol::Binary;
        } else if options.protocol != Protocol::Binary {
            return Err(UsageError::usage(
                "ERROR: You cannot allow the ASCII protocol while using SASL.",
            ));
        }
        if options.udp_port != Port::Off {
            return Err(UsageError::usage(
                "ERROR: Cannot enable UDP while using binary SASL authentication.",
            ));
        }
        if options.auth_file.is_some() {
            // memcached takes both, and then asks for neither SASL nor anything of the binary
            // protocol.
            return Err(UsageError::usage(
                "ERROR: -S is for the binary protocol and -Y for the ascii protocol: choose one.",
            ));
        }
    }
    if options.auth_file.is_some() {
        if !protocol_given {
            options.protocol = Protocol::Ascii;
        } else if options.protocol != Protocol::Ascii {
            return Err(UsageError::usage(
                "ERROR: You cannot allow the BINARY protocol while using ascii authentication \
                 tokens.",
            ));
        }
        if options.udp_port != Port::Off {
            return Err(UsageError::usage(
                "Cannot use UDP with ascii authentication enabled (-U 0 to disable)",
            ));
        }
    }
    if options.udp_port != Port::Off && !port_given {
        options.port = options.udp_port;
    }
    if options.tls.enabled && options.port == Port::Off {
        return Err(UsageError::usage("ERROR: You cannot enable SSL without a TCP port."));
    }
    if options.tls.enabled && options.udp_port != Port::Off {
        options.warnings.push(
            "WARNING: -U serves datagrams in the clear and asks nobody for a certificate, whatever \
             -Z does for TCP."
                .to_owned(),
        );
    }
    discovery(&mut options, &discovery_words)?;
    Ok(options)
}

/// What the `discovery_` words say has to have an effect.
fn discovery(options: &mut Options, words: &[&str]) -> Result<(), UsageError> {
    let discovery = &mut options.discovery;
    discovery.enabled |= discovery.source.is_some();
    if let Some(word) = words.first().filter(|_| !discovery.enabled) {
        return Err(UsageError::usage(format!(
            "{word} needs -o discovery or -o discovery_source=…"
        )));
    }
    let source = discovery.source.as_ref();
    let given = |word, is_given: bool, has_effect: bool, needs: &str| {
        let message = format!("{word} needs -o discovery_source={needs}");
        if is_given && !has_effect { Err(UsageError::usage(message)) } else { Ok(()) }
    };
    let keeps = source.is_some_and(SourceSpec::has_registrations);
    let is_tls = source.is_some_and(SourceSpec::is_tls);
    let is_dns = source.is_some_and(SourceSpec::is_dns);
    let with_ttl = words.contains(&"discovery_ttl");
    given("discovery_grace", discovery.grace_secs > 0, source.is_some(), "…")?;
    given("discovery_advertise", discovery.advertise.is_some(), keeps, "etcd://…")?;
    given("discovery_ttl", with_ttl, keeps, "etcd://…")?;
    given("discovery_login", discovery.login_file.is_some(), keeps, "etcd://…")?;
    given("discovery_ca", discovery.ca_cert.is_some(), is_tls, "etcds://…")?;
    given("discovery_cert", discovery.cert.is_some(), is_tls, "etcds://…")?;
    given(
        "discovery_key",
        discovery.key.is_some(),
        discovery.cert.is_some(),
        "etcds://…,discovery_cert=…",
    )?;
    given("discovery_dns", !discovery.name_servers.is_empty(), is_dns, "dns+… or dnssrv+…")?;
    if options.tls.enabled
        && let Some(source) = source.filter(|source| source.has_registrations())
        && !source.is_tls()
        && !source.is_on_this_machine()
    {
        return Err(UsageError::usage(format!(
            "with -Z nodes speak TLS to one another, and {source} is in clear: use etcds://"
        )));
    }
    if options.drop_privileges
        && let Some(source) = discovery.source.as_ref().filter(|source| source.is_remote())
    {
        return Err(UsageError::usage(format!(
            "drop_privileges gives up making connections, which discovery_source={source} needs"
        )));
    }
    Ok(())
}

/// Reads the list of `-o slab_sizes`, whose sizes are `-n` to `slab_chunk_max`.
fn sizes(list: &str, min: usize, max: usize) -> Result<Vec<usize>, UsageError> {
    let mut sizes: Vec<usize> = Vec::new();
    // Empty places count for nothing, as in memcached.
    for text in list.split('-').filter(|text| !text.is_empty()) {
        // What is no number is shown as 0.
        let size: usize = text.trim_start().parse().unwrap_or(0);
        if !(min..=max).contains(&size) {
            return Err(UsageError::usage(format!("slab size {size} is out of valid range")));
        }
        let last = sizes.last().copied().unwrap_or(0);
        if size <= last {
            return Err(UsageError::usage(format!(
                "slab size {size} cannot be lower than or equal to a previous class size"
            )));
        }
        if size <= last + CHUNK_ALIGN {
            return Err(UsageError::usage(format!(
                "slab size {size} must be at least {CHUNK_ALIGN} bytes larger than previous class"
            )));
        }
        sizes.push(size);
        if sizes.len() > SLAB_SIZES_MAX {
            return Err(UsageError::usage("too many slab classes specified"));
        }
    }
    if sizes.is_empty() {
        return Err(UsageError::usage("slab_sizes names no size"));
    }
    Ok(sizes)
}

/// Chunks begin at multiples of this, in bytes.
const CHUNK_ALIGN: usize = 8;

/// Classes have numbers from 1 to 63, and the last one is that of the largest chunk.
const SLAB_SIZES_MAX: usize = 62;
