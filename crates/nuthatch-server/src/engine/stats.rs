//! `stats`, `stats items`, `stats slabs`: figures under memcached's names, in memcached's order.
//!
//! What this server does not do has no line, as in a memcached built or started without it.

use std::sync::atomic::Ordering::Relaxed;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nuthatch_proto::Reply;
use nuthatch_store::{ClassStats, QueueStats};

use super::{Engine, ItemPin};
use crate::ServerStats;
use crate::cluster::Cluster;
use crate::options::{MEMCACHED_VERSION, NUTHATCH_VERSION};
use crate::process::limits::files_reserved;

/// The halves of a pair of connection buffers as it leaves the pool, in bytes.
const RECV_BYTES: u64 = 16 << 10;
const SEND_BYTES: u64 = 8 << 10;

impl Engine {
    pub(super) fn stats_general(&self, reply: &mut Reply<'_, ItemPin>) {
        let shared = &self.shared;
        let clock = self.store.clock();
        let store = self.store.stats();
        let server = shared.telemetry.as_ref().map(|telemetry| telemetry.stats());
        let config = self.store.config();

        reply.stat("pid", std::process::id());
        reply.stat("uptime", clock.now);
        reply.stat("time", clock.unix());
        reply.stat("version", MEMCACHED_VERSION);
        // memcached's own tests count the lines; where they are heeded there are no others.
        let has_own_lines = !shared.options.debug_commands;
        if has_own_lines {
            reply.stat("nuthatch_version", NUTHATCH_VERSION);
        }
        // Tools look for the line.
        reply.stat("libevent", "none");
        reply.stat("pointer_size", usize::BITS);
        if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
            reply.stat("rusage_user", seconds(usage.user_time()));
            reply.stat("rusage_system", seconds(usage.system_time()));
        }
        if let Some(server) = &server {
            self.stats_connections(server, reply);
        }
        let counters = &store.counters;
        let totals = &store.totals;
        let by_class = &totals.counters;
        reply.stat("cmd_get", counters.cmd_get);
        reply.stat("cmd_set", by_class.cmd_set);
        reply.stat("cmd_flush", since(&shared.cmd_flush, &shared.cmd_flush_base));
        reply.stat("cmd_touch", counters.cmd_touch);
        let discovery = shared.cluster.as_ref().map(Cluster::counts);
        if let Some((n_get, n_set, _)) = discovery {
            reply.stat("cmd_config_get", n_get);
            reply.stat("cmd_config_set", n_set);
        }
        reply.stat("cmd_meta", since(&shared.cmd_meta, &shared.cmd_meta_base));
        reply.stat("get_hits", totals.get_hits());
        reply.stat("get_misses", counters.get_misses);
        reply.stat("get_expired", counters.get_expired);
        reply.stat("get_flushed", counters.get_flushed);
        reply.stat("delete_misses", counters.delete_misses);
        reply.stat("delete_hits", by_class.delete_hits);
        reply.stat("incr_misses", counters.incr_misses);
        reply.stat("incr_hits", by_class.incr_hits);
        reply.stat("decr_misses", counters.decr_misses);
        reply.stat("decr_hits", by_class.decr_hits);
        reply.stat("cas_misses", counters.cas_misses);
        reply.stat("cas_hits", by_class.cas_hits);
        reply.stat("cas_badval", by_class.cas_badval);
        reply.stat("touch_hits", by_class.touch_hits);
        reply.stat("touch_misses", counters.touch_misses);
        reply.stat("store_too_large", counters.store_too_large);
        reply.stat("store_no_memory", counters.store_no_memory);
        reply.stat("auth_cmds", since(&shared.logins.auth_cmds, &shared.auth_cmds_base));
        reply.stat("auth_errors", since(&shared.logins.auth_errors, &shared.auth_errors_base));
        if let Some(server) = &server {
            if shared.options.idle_timeout_secs > 0 {
                reply.stat("idle_kicks", server.idle_kicks);
            }
            reply.stat("bytes_read", server.bytes_read);
            reply.stat("bytes_written", server.bytes_written);
        }
        reply.stat("limit_maxbytes", self.store.memory_limit());
        if let Some(server) = &server {
            reply.stat("accepting_conns", u8::from(server.accepting_conns));
            reply.stat("listen_disabled_num", server.listen_disabled_num);
            reply.stat("time_in_listen_disabled_us", server.time_in_listen_disabled_us);
            reply.stat("threads", server.threads);
            reply.stat("conn_yields", server.conn_yields);
            if has_own_lines {
                reply.stat("handler_panics", server.panics);
            }
        }
        // The index has no buckets of memcached's kind; this is the power of two that its room for
        // items comes to.
        reply.stat("hash_power_level", store.index_capacity.max(1).ilog2());
        reply.stat("hash_bytes", store.index_bytes);
        // A shard grows under its lock, in one go: nobody ever sees it growing.
        reply.stat("hash_is_expanding", 0);
        if let Some((.., n_stored)) = discovery {
            reply.stat("curr_config", n_stored);
        }
        if config.slab_reassign {
            reply.stat("slab_reassign_rescues", store.slab_reassign_rescues);
            reply.stat("slab_reassign_chunk_rescues", store.slab_reassign_chunk_rescues);
            if has_own_lines {
                // memcached had it until 1.6.33, and tools know it.
                reply.stat("slab_reassign_evictions_nomem", store.slab_reassign_evictions_nomem);
            }
            reply.stat("slab_reassign_inline_reclaim", store.slab_reassign_inline_reclaim);
            reply.stat("slab_reassign_busy_items", store.slab_reassign_busy_items);
            reply.stat("slab_reassign_busy_deletes", store.slab_reassign_busy_deletes);
            reply.stat("slab_reassign_busy_nomem", store.slab_reassign_busy_nomem);
            reply.stat("slab_reassign_last_busy_status", store.slab_reassign_last_busy_status);
            reply.stat("slab_reassign_running", u8::from(store.slab_reassign_running));
            reply.stat("slabs_moved", store.slabs_moved);
        }
        if config.crawler {
            reply.stat("lru_crawler_running", u8::from(store.lru_crawler_running));
            reply.stat("lru_crawler_starts", counters.lru_crawler_starts);
        }
        let is_maintained = self.is_maintained();
        if is_maintained {
            reply.stat("lru_maintainer_juggles", counters.lru_maintainer_juggles);
        }
        // A process whose allocator fails ends: one that answers has seen none fail.
        reply.stat("malloc_fails", 0);
        let log = shared.logger.stats();
        reply.stat("log_worker_dropped", log.worker_dropped);
        reply.stat("log_worker_written", log.worker_written);
        reply.stat("log_watcher_skipped", log.watcher_skipped);
        reply.stat("log_watcher_sent", log.watcher_sent);
        reply.stat("log_watchers", log.watchers);
        let server = server.unwrap_or_default();
        if let Some(tls) = &shared.tls {
            if tls.has_session_cache() {
                reply.stat("ssl_new_sessions", server.ssl_new_sessions);
            }
            reply.stat("ssl_handshake_errors", server.ssl_handshake_errors);
            reply.stat("ssl_proto_errors", server.ssl_proto_errors);
            let age = server.time_since_server_cert_refresh;
            reply.stat("time_since_server_cert_refresh", age);
        }
        reply.stat("unexpected_napi_ids", server.unexpected_napi_ids);
        reply.stat("round_robin_fallback", server.round_robin_fallback);
        reply.stat("bytes", store.bytes);
        reply.stat("curr_items", store.curr_items);
        reply.stat("total_items", counters.total_items);
        reply.stat("slab_global_page_pool", store.slab_global_page_pool);
        reply.stat("expired_unfetched", totals.expired_unfetched);
        reply.stat("evicted_unfetched", totals.evicted_unfetched);
        if is_maintained {
            reply.stat("evicted_active", totals.evicted_active);
        }
        reply.stat("evictions", totals.evicted);
        reply.stat("reclaimed", totals.reclaimed);
        reply.stat("crawler_reclaimed", totals.crawler_reclaimed);
        reply.stat("crawler_items_checked", totals.crawler_items_checked);
        reply.stat("lrutail_reflocked", totals.lrutail_reflocked);
        if is_maintained {
            reply.stat("moves_to_cold", totals.moves_to_cold);
            reply.stat("moves_to_warm", totals.moves_to_warm);
            reply.stat("moves_within_lru", totals.moves_within_lru);
            reply.stat("direct_reclaims", totals.direct_reclaims);
            reply.stat("lru_bumps_dropped", counters.lru_bumps_dropped);
        }
    }

    fn stats_connections(&self, server: &ServerStats, reply: &mut Reply<'_, ItemPin>) {
        let options = &self.shared.options;
        reply.stat("max_connections", server.max_connections);
        reply.stat("curr_connections", server.curr_connections);
        reply.stat("total_connections", server.total_connections);
        if options.maxconns_fast {
            reply.stat("rejected_connections", server.rejected_connections);
        }
        // A connection's structure is as old as its connection.
        reply.stat("connection_structures", server.curr_connections);
        // Answers are written into the second half of a pair of buffers.
        reply.stat("response_obj_oom", server.response_obj_oom);
        reply.stat("response_obj_count", server.buffers);
        reply.stat("response_obj_bytes", server.buffers * SEND_BYTES);
        reply.stat("read_buf_count", server.buffers);
        reply.stat("read_buf_bytes", server.buffers * RECV_BYTES);
        reply.stat("read_buf_bytes_free", server.buffers_free * RECV_BYTES);
        reply.stat("read_buf_oom", server.read_buf_oom);
        reply.stat("reserved_fds", files_reserved(options.threads, 1));
    }

    pub(super) fn stats_items(&self, reply: &mut Reply<'_, ItemPin>) {
        let config = self.store.config();
        let is_maintained = self.is_maintained();
        for class in self.store.class_stats().iter().filter(|class| class.number > 0) {
            let mut stat = |name: &str, value: u64| {
                reply.stat(format_args!("items:{}:{name}", class.class), value);
            };
            let [hot, warm, cold, temp]: [QueueStats; 4] = class.queues;
            stat("number", class.number);
            if is_maintained {
                stat("number_hot", hot.number);
                stat("number_warm", warm.number);
                stat("number_cold", cold.number);
                if config.temporary_ttl.is_some() {
                    stat("number_temp", temp.number);
                }
                stat("age_hot", hot.age);
                stat("age_warm", warm.age);
            }
            stat("age", cold.age);
            stat("mem_requested", class.mem_requested);
            stat("evicted", class.evicted);
            stat("evicted_nonzero", class.evicted_nonzero);
            stat("evicted_time", class.evicted_time);
            stat("outofmemory", class.outofmemory);
            // A reference ends with its holder here: none is ever lost, so none is repaired.
            stat("tailrepairs", 0);
            stat("reclaimed", class.reclaimed);
            stat("expired_unfetched", class.expired_unfetched);
            stat("evicted_unfetched", class.evicted_unfetched);
            if is_maintained {
                stat("evicted_active", class.evicted_active);
            }
            stat("crawler_reclaimed", class.crawler_reclaimed);
            stat("crawler_items_checked", class.crawler_items_checked);
            stat("lrutail_reflocked", class.lrutail_reflocked);
            if is_maintained {
                stat("moves_to_cold", class.moves_to_cold);
                stat("moves_to_warm", class.moves_to_warm);
                stat("moves_within_lru", class.moves_within_lru);
                stat("direct_reclaims", class.direct_reclaims);
                stat("hits_to_hot", class.counters.hits_to_hot);
                stat("hits_to_warm", class.counters.hits_to_warm);
                stat("hits_to_cold", class.counters.hits_to_cold);
                stat("hits_to_temp", class.counters.hits_to_temp);
            }
        }
    }

    pub(super) fn stats_slabs(&self, reply: &mut Reply<'_, ItemPin>) {
        let classes = self.store.class_stats();
        let active: Vec<&ClassStats> =
            classes.iter().filter(|class| class.total_pages > 0).collect();
        for class in &active {
            let mut stat = |name: &str, value: u64| {
                reply.stat(format_args!("{}:{name}", class.class), value);
            };
            let counters = &class.counters;
            stat("chunk_size", class.chunk_size);
            stat("chunks_per_page", class.chunks_per_page);
            stat("total_pages", class.total_pages);
            stat("total_chunks", class.total_chunks);
            stat("used_chunks", class.total_chunks - class.free_chunks);
            stat("free_chunks", class.free_chunks);
            stat("free_chunks_end", 0);
            stat("get_hits", class.get_hits());
            stat("cmd_set", counters.cmd_set);
            stat("delete_hits", counters.delete_hits);
            stat("incr_hits", counters.incr_hits);
            stat("decr_hits", counters.decr_hits);
            stat("cas_hits", counters.cas_hits);
            stat("cas_badval", counters.cas_badval);
            stat("touch_hits", counters.touch_hits);
        }
        let store = self.store.stats();
        reply.stat("active_slabs", active.len());
        reply.stat("total_malloced", store.pages * store.page_bytes + store.memory_in_use);
    }

    pub(super) fn reset_stats(&self) {
        let shared = &self.shared;
        self.store.reset_stats();
        shared.prefixes.clear();
        shared.logger.reset();
        if let Some(telemetry) = &shared.telemetry {
            telemetry.reset();
        }
        if let Some(cluster) = &shared.cluster {
            cluster.reset_counts();
        }
        shared.cmd_flush_base.store(shared.cmd_flush.load(Relaxed), Relaxed);
        shared.cmd_meta_base.store(shared.cmd_meta.load(Relaxed), Relaxed);
        shared.auth_cmds_base.store(shared.logins.auth_cmds.load(Relaxed), Relaxed);
        shared.auth_errors_base.store(shared.logins.auth_errors.load(Relaxed), Relaxed);
    }
}

/// A duration as memcached writes it: seconds, a dot, microseconds.
fn seconds(time: TimeVal) -> String {
    format!("{}.{:06}", time.tv_sec(), time.tv_usec())
}

fn since(counter: &std::sync::atomic::AtomicU64, base: &std::sync::atomic::AtomicU64) -> u64 {
    // Another worker may be resetting.
    counter.load(Relaxed).saturating_sub(base.load(Relaxed))
}
