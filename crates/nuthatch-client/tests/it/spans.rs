//! What an application's subscriber is told of calls.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nuthatch_client::types::Ttl;
use nuthatch_client::{Client, Retry};
use nuthatch_testkit::Daemon;
use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

use crate::cluster::{address, list};
use crate::dialects::servers;

/// Spans that have ended, each with its fields and with its parents' names before its own.
#[derive(Clone, Debug, Default)]
struct Spans(Arc<Mutex<Vec<(String, Fields)>>>);

#[derive(Clone, Debug, Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        context.span(id).unwrap().extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        values.record(span.extensions_mut().get_mut::<Fields>().unwrap());
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let span = context.span(&id).unwrap();
        let names: Vec<_> = span.scope().from_root().map(|span| span.name()).collect();
        let fields = span.extensions_mut().remove::<Fields>().unwrap();
        self.0.lock().push((names.join("/"), fields));
    }
}

impl Spans {
    /// Those that have ended since it was last asked.
    fn take(&self) -> Vec<(String, Fields)> {
        std::mem::take(&mut self.0.lock())
    }
}

impl Fields {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// The calls run on this thread, whose subscriber it is.
#[tokio::test]
async fn calls_say_what_they_are_and_whom_they_ask() {
    let spans = Spans::default();
    // Of a single subscriber `tracing` asks the thread that comes to a span first whether it is
    // wanted, and remembers the answer; that may be another test's, which has none.
    let _second = tracing::Dispatch::new(Registry::default());
    let _guard = subscriber::set_default(Registry::default().with(spans.clone()));
    let Some(server) = servers().pop() else { return };
    let mut daemons: Vec<_> = (0..2).map(|_| Daemon::builder(&server).start().unwrap()).collect();
    let client = Client::builder().retry(Retry::NEVER).connect(&list(&daemons)).await.unwrap();
    spans.take();

    client.set("secret", "hidden", Ttl::NEVER).await.unwrap();
    let [(name, fields)] = &spans.take()[..] else { panic!("one call, one span") };
    assert_eq!(name, "memcached");
    assert_eq!(fields.get("db.system.name"), Some("memcached"));
    assert_eq!(fields.get("db.operation.name"), Some("set"));
    assert_eq!(fields.get("server.address"), Some(&*client.route("secret")[0]));
    assert_eq!(fields.get("error.type"), None);
    assert!(!format!("{fields:?}").contains("secret") && !format!("{fields:?}").contains("hidden"));

    client.nodes()[1].version().await.unwrap();
    let [(_, fields)] = &spans.take()[..] else { panic!("one call, one span") };
    assert_eq!(fields.get("db.operation.name"), Some("version"));
    assert_eq!(fields.get("server.address"), Some(client.nodes()[1].name()));

    let keys: Vec<_> = (0..50).map(|n| format!("secret{n}")).collect();
    client.get_many(&keys).await.unwrap();
    let ended = spans.take();
    let [(first, one), (second, other), (name, fields)] = &ended[..] else { panic!("{ended:?}") };
    assert_eq!([&**first, second, name], ["memcached/node", "memcached/node", "memcached"]);
    assert_eq!(fields.get("db.operation.name"), Some("get_many"));
    assert_eq!(fields.get("db.operation.batch.size"), Some("50"));
    let mut asked = [one, other].map(|fields| fields.get("server.address").unwrap());
    asked.sort_unstable();
    let nodes = client.nodes();
    let mut names: Vec<_> = nodes.iter().map(|node| node.name()).collect();
    names.sort_unstable();
    assert_eq!(names, asked);
    assert!(!format!("{ended:?}").contains("secret"));

    let dead = daemons.remove(0);
    let name = address(&dead);
    drop(dead);
    let hasty = client.with_timeout(Duration::from_secs(5));
    let n_errors = hasty.get_each(&keys).await.iter().filter(|found| found.is_err()).count();
    assert!(n_errors > 0);
    let failed: Vec<_> =
        spans.take().into_iter().filter(|(_, fields)| fields.get("error.type").is_some()).collect();
    let [(_, fields)] = &failed[..] else { panic!("{failed:?}") };
    assert_eq!(fields.get("server.address"), Some(&*name));
}
