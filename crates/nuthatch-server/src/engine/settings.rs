//! `stats settings`: how the server runs, under memcached's names, in memcached's order.

use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;

use nuthatch_proto::Reply;
use nuthatch_store::Profile;
use nuthatch_store::types::ItemFlags;
use nuthatch_transport::tls::{KeyFormat, MinVersion};

use super::{Engine, ItemPin};
use crate::logger::Gate;
use crate::options::Port;

/// What memcached shows as `temporary_ttl` while TEMP is off.
const TEMPORARY_TTL_OFF: u32 = 61;

/// What memcached shows as `hashpower_init` when none was asked for.
const HASHPOWER_UNSET: u32 = 0;

impl Engine {
    pub(super) fn stats_settings(&self, reply: &mut Reply<'_, ItemPin>) {
        let options = &self.shared.options;
        let config = self.store.config();
        let yes = |is: bool| if is { "yes" } else { "no" };
        reply.stat("maxbytes", self.store.memory_limit());
        reply.stat("maxconns", options.conn_limit);
        reply.stat("tcpport", options.port.as_setting());
        reply.stat("udpport", options.udp_port.as_setting());
        reply.stat("inter", options.listen.as_deref().unwrap_or("NULL"));
        reply.stat("verbosity", self.shared.verbosity.load(Relaxed));
        reply.stat("oldest", self.store.flushed_until());
        reply.stat("evictions", if config.evictions { "on" } else { "off" });
        match &options.unix_socket {
            Some(path) => reply.stat("domain_socket", path.display()),
            None => reply.stat("domain_socket", "NULL"),
        }
        reply.stat("umask", format_args!("{:o}", options.unix_mask));
        reply.stat("shutdown_command", yes(options.shutdown_command));
        reply.stat("growth_factor", format_args!("{:.2}", config.growth_factor));
        reply.stat("chunk_size", config.chunk_size_min);
        reply.stat("num_threads", options.threads);
        let n_udp = if options.udp_port == Port::Off { 0 } else { options.threads };
        reply.stat("num_threads_per_udp", n_udp);
        reply.stat("stat_key_prefix", char::from(options.stat_key_prefix));
        reply.stat("detail_enabled", yes(self.gate.load() & Gate::DETAIL != 0));
        reply.stat("reqs_per_event", options.reqs_per_event);
        reply.stat("cas_enabled", yes(config.cas));
        reply.stat("tcp_backlog", options.backlog);
        reply.stat("binding_protocol", options.protocol.as_setting());
        reply.stat("auth_enabled_sasl", yes(options.sasl));
        match &options.auth_file {
            Some(path) => reply.stat("auth_enabled_ascii", path.display()),
            None => reply.stat("auth_enabled_ascii", "no"),
        }
        reply.stat("item_size_max", config.item_size_max);
        reply.stat("maxconns_fast", yes(options.maxconns_fast));
        reply.stat("hashpower_init", options.store.hashpower.unwrap_or(HASHPOWER_UNSET));
        let (automove, ratio, window) = self.store.automove();
        reply.stat("slab_reassign", yes(config.slab_reassign));
        reply.stat("slab_automove", automove.level());
        reply.stat("slab_automove_ratio", format_args!("{ratio:.2}"));
        reply.stat("slab_automove_window", window);
        reply.stat("slab_chunk_max", config.slab_chunk_max);
        reply.stat("lru_crawler", yes(config.crawler));
        reply.stat("lru_crawler_sleep", config.crawler_sleep.as_micros());
        reply.stat("lru_crawler_tocrawl", config.crawler_limit);
        reply.stat("tail_repair_time", 0);
        reply.stat("flush_enabled", yes(options.flush_enabled));
        reply.stat("dump_enabled", yes(options.dump_enabled));
        reply.stat("hash_algorithm", options.store.hash_algorithm.as_setting());
        reply.stat("lru_maintainer_thread", yes(self.is_maintained()));
        reply.stat("lru_segmented", yes(config.segmented));
        reply.stat("hot_lru_pct", config.hot_lru_pct);
        reply.stat("warm_lru_pct", config.warm_lru_pct);
        reply.stat("hot_max_factor", format_args!("{:.2}", config.hot_max_factor));
        reply.stat("warm_max_factor", format_args!("{:.2}", config.warm_max_factor));
        reply.stat("temp_lru", yes(config.temporary_ttl.is_some()));
        reply.stat("temporary_ttl", config.temporary_ttl.unwrap_or(TEMPORARY_TTL_OFF));
        reply.stat("idle_timeout", options.idle_timeout_secs);
        reply.stat("watcher_logbuf_size", options.watcher_logbuf_bytes);
        reply.stat("worker_logbuf_size", options.worker_logbuf_bytes);
        reply.stat("read_buf_mem_limit", options.read_buf_mem_limit);
        reply.stat("track_sizes", yes(options.store.track_sizes));
        reply.stat("inline_ascii_response", "no");
        reply.stat("drop_privileges", yes(options.drop_privileges));
        self.tls_settings(reply);
        reply.stat("num_napi_ids", options.napi_ids);
        // What memcached says when there is none.
        reply.stat("memory_file", "(null)");
        reply.stat("client_flags_size", size_of::<ItemFlags>());
        // Ours.
        reply.stat("profile", if config.profile == Profile::Lean { "lean" } else { "compat" });
    }

    fn tls_settings(&self, reply: &mut Reply<'_, ItemPin>) {
        let tls = &self.shared.options.tls;
        let yes = |is: bool| if is { "yes" } else { "no" };
        // memcached writes what is not set in two ways.
        let path = |path: &Option<PathBuf>, none: &'static str| match path {
            Some(path) => path.display().to_string(),
            None => none.to_owned(),
        };
        reply.stat("ssl_enabled", yes(tls.enabled));
        reply.stat("ssl_chain_cert", path(&tls.chain_cert, "(null)"));
        reply.stat("ssl_key", path(&tls.key, "(null)"));
        reply.stat("ssl_verify_mode", tls.verify_mode.as_setting());
        reply.stat("ssl_keyformat", if tls.key_format == KeyFormat::Der { 2 } else { 1 });
        reply.stat("ssl_ciphers", tls.ciphers.as_deref().unwrap_or("NULL"));
        reply.stat("ssl_ca_cert", path(&tls.ca_cert, "NULL"));
        reply.stat("ssl_wbuf_size", tls.wbuf_bytes);
        reply.stat("ssl_session_cache", yes(tls.session_cache));
        reply.stat("ssl_kernel_tls", "no");
        let is_13 = tls.min_version == MinVersion::Tls13;
        reply.stat("ssl_min_version", if is_13 { "tlsv1.3" } else { "tlsv1.2" });
    }
}
