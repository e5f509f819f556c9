//! The commands that serve the operator.

use std::sync::atomic::Ordering::Relaxed;

use nuthatch_proto::{Admin, ArgError, Outcome, Reply, ShutdownMode, Stats};
use nuthatch_store::types::Ttl;
use nuthatch_transport::tls::ServerTls;

use super::{Engine, ItemPin};
use crate::End;
use crate::logger::Gate;
use crate::options::VERSION_LINE;

/// What a command gets that this server does not know: what memcached answers when it was built
/// without the feature.
const UNKNOWN: &str = "ERROR";

impl Engine {
    pub(super) fn admin(&self, admin: Admin<'_>, reply: &mut Reply<'_, ItemPin>) -> Outcome {
        let shared = &self.shared;
        match admin {
            Admin::Version => reply.line(VERSION_LINE),
            Admin::Stats(Stats::Cachedump(Ok(of))) if shared.options.dump_enabled => {
                return self.cachedump(of.class, of.limit, reply);
            }
            Admin::Stats(Stats::Detail(Ok(detail))) if shared.options.dump_enabled => {
                return self.stats_detail(detail, reply);
            }
            Admin::Stats(stats) => self.stats(stats, reply),
            Admin::Verbosity(level) => {
                let level = u8::try_from(level).unwrap_or(2).min(2);
                shared.verbosity.store(level, Relaxed);
                self.gate.set(Gate::VERBOSE, level > 1);
                crate::log::set_level(level);
                reply.line("OK");
            }
            Admin::Slabs(slabs) => self.slabs(slabs, reply),
            Admin::Lru(lru) => self.lru(lru, reply),
            Admin::LruCrawler(command) => return self.lru_crawler(command, reply),
            Admin::CacheMemlimit(mebibytes) => self.cache_memlimit(mebibytes, reply),
            Admin::FlushAll(when) => self.flush_all(when, reply),
            Admin::Shutdown(mode) => {
                let Some(stop) = shared.stop.as_ref().filter(|_| shared.options.shutdown_command)
                else {
                    // The colon is memcached's.
                    reply.error("SERVER_ERROR: shutdown not enabled");
                    return Outcome::Done;
                };
                match mode {
                    Ok(mode) => {
                        // There is no state to save, so a graceful end is an end with a word.
                        stop.stop(match mode {
                            ShutdownMode::Now => End::AtOnce,
                            ShutdownMode::Graceful => End::Graceful,
                        });
                        return Outcome::Close;
                    }
                    Err(error) => reply.error(error.line()),
                }
            }
            Admin::Watch(kinds) => return self.watch(kinds, reply),
            // memcached takes these without external storage, to no effect.
            Admin::Extstore(_) => reply.error("CLIENT_ERROR external storage is not enabled"),
            Admin::Config(config) => self.config(config, reply),
            Admin::RefreshCerts => self.refresh_certs(reply),
            Admin::DebugTime(change) if shared.options.debug_commands => {
                self.debug_time(change, reply);
            }
            Admin::Misbehave if shared.options.debug_commands => super::debug::misbehave(reply),
            Admin::DebugItem { action, key } if shared.options.debug_commands => {
                return self.debug_item(action, key, reply);
            }
            _ => reply.error(UNKNOWN),
        }
        Outcome::Done
    }

    fn refresh_certs(&self, reply: &mut Reply<'_, ItemPin>) {
        match self.shared.tls.as_ref().map(ServerTls::reload) {
            None => reply.line("Error TLS not enabled"),
            Some(Ok(())) => {
                if let Some(telemetry) = &self.shared.telemetry {
                    telemetry.certs_refreshed();
                }
                reply.line("OK");
            }
            Some(Err(error)) => reply.line(&error.to_string()),
        }
    }

    fn flush_all(&self, when: Result<Option<Ttl>, ArgError>, reply: &mut Reply<'_, ItemPin>) {
        let is_allowed = self.shared.options.flush_enabled;
        // memcached counts what it forbids, but not in the binary protocol.
        if is_allowed || !reply.is_binary() {
            self.shared.cmd_flush.fetch_add(1, Relaxed);
        }
        if !is_allowed {
            reply.error("CLIENT_ERROR flush_all not allowed");
            return;
        }
        match when {
            Ok(when) => {
                self.store.flush_all(when);
                reply.line("OK");
            }
            Err(error) => reply.error(error.line()),
        }
    }

    fn stats(&self, stats: Stats<'_>, reply: &mut Reply<'_, ItemPin>) {
        let shared = &self.shared;
        let is_dump_allowed = shared.options.dump_enabled;
        match stats {
            Stats::General => self.stats_general(reply),
            Stats::Settings => self.stats_settings(reply),
            // There are no pages outside of memory.
            Stats::Extstore => {}
            Stats::Conns => self.stats_conns(reply),
            Stats::Items => self.stats_items(reply),
            Stats::Slabs => self.stats_slabs(reply),
            Stats::Reset => {
                self.reset_stats();
                reply.line("RESET");
                return;
            }
            Stats::Detail(_) if !is_dump_allowed => {
                reply.error("CLIENT_ERROR stats detail not allowed");
                return;
            }
            Stats::Detail(Err(error)) => {
                reply.error(error.line());
                return;
            }
            Stats::Cachedump(_) if !is_dump_allowed => {
                reply.error("CLIENT_ERROR stats cachedump not allowed");
                return;
            }
            Stats::Cachedump(Err(error)) => {
                reply.error(error.line());
                return;
            }
            Stats::Sizes if shared.options.store.track_sizes => {
                self.store.sizes().iter().for_each(|(bytes, n_items)| reply.stat(bytes, n_items));
            }
            Stats::Sizes => reply.stat("sizes_status", "disabled"),
            Stats::Other(b"cluster") if shared.cluster.is_some() => {
                shared.cluster.iter().for_each(|cluster| Self::stats_cluster(cluster, reply));
            }
            // An `ERROR` is what a server without them answers.
            _ => {
                reply.error(UNKNOWN);
                return;
            }
        }
        reply.end();
    }
}
