//! Questions to etcd's JSON gateway.
//!
//! Each is a POST whose body is the request as JSON, keys and values in base64, 64-bit numbers as
//! strings. A watch is a POST whose answer goes on: a JSON object a line.

use std::{fmt, sync::Arc, time::Duration};

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header,
};
use nuthatch_transport::{ConnectAddr, Stream, tls::ClientTls};
use serde_json::{Value, json};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};

use super::{VERSION, io::Io};
use crate::SourceError;

/// Where etcd is, and how to be let in.
#[derive(Clone)]
pub struct EtcdSettings {
    /// Its servers, of which one at a time is asked: hosts and ports.
    pub(super) servers: Vec<(String, u16)>,
    pub(super) prefix: String,
    credentials: Credentials,
    renew: Option<Renew>,
    answer_within: Duration,
}

/// What etcd is shown, and whom it has to show.
#[derive(Clone, Default)]
pub(crate) struct Credentials {
    pub(crate) login: Option<(String, String)>,
    pub(crate) tls: Option<ClientTls>,
}

/// Reads them again.
type Renew = Arc<dyn Fn() -> Result<Credentials, SourceError> + Send + Sync>;

impl EtcdSettings {
    /// etcd's port for clients.
    pub const PORT: u16 = 2379;

    /// These servers of one cluster, hosts and ports, and what stands before `/nodes/` in the
    /// members' keys.
    pub fn new(servers: Vec<(String, u16)>, prefix: impl Into<String>) -> Self {
        let answer_within = Duration::from_secs(3);
        let credentials = Credentials::default();
        Self { servers, prefix: prefix.into(), credentials, renew: None, answer_within }
    }

    /// A user and a password.
    #[must_use]
    pub fn login(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials.login = Some((user.into(), password.into()));
        self
    }

    /// What `read` gives, now and whenever there is a new connection; what cannot be read then
    /// stays as it was.
    pub(crate) fn reading(
        mut self,
        read: impl Fn() -> Result<Credentials, SourceError> + Send + Sync + 'static,
    ) -> Result<Self, SourceError> {
        self.credentials = read()?;
        self.renew = Some(Arc::new(read));
        Ok(self)
    }

    /// Connections are TLS.
    #[must_use]
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.credentials.tls = Some(tls);
        self
    }

    /// How long a connection or an answer may take; 3 s by default.
    #[must_use]
    pub fn answer_within(mut self, limit: Duration) -> Self {
        self.answer_within = limit;
        self
    }
}

impl fmt::Debug for EtcdSettings {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdSettings")
            .field("servers", &self.servers)
            .field("prefix", &self.prefix)
            .field("user", &self.credentials.login.as_ref().map(|(user, _)| user))
            .field("tls", &self.credentials.tls.is_some())
            .finish_non_exhaustive()
    }
}

/// One who asks; it has one connection at a time, and another for each watch.
pub(super) struct Gateway {
    settings: EtcdSettings,
    /// Which server is asked.
    server: usize,
    connection: Option<Connection>,
    token: Option<String>,
}

impl Gateway {
    pub(super) fn new(settings: EtcdSettings) -> Self {
        Self { settings, server: 0, connection: None, token: None }
    }

    pub(super) fn servers(&self) -> String {
        let servers = self.settings.servers.iter();
        servers.map(|(host, port)| format!("{host}:{port}")).collect::<Vec<_>>().join(",")
    }

    pub(super) fn n_servers(&self) -> usize {
        self.settings.servers.len()
    }

    pub(super) fn forget_token(&mut self) {
        self.token = None;
    }

    /// Everything whose key begins so.
    pub(super) async fn range_prefix(&mut self, prefix: &str) -> Result<Value, SourceError> {
        let body = json!({ "key": base64(prefix), "range_end": base64(after(prefix)) });
        self.call("/v3/kv/range", &body).await
    }

    /// A key, if it is there.
    pub(super) async fn peek(&mut self, key: &str) -> Result<Value, SourceError> {
        self.call("/v3/kv/range", &json!({ "key": base64(key) })).await
    }

    /// Writes what is to be added to revisions, if nobody has since that was written at `seen` (0:
    /// never). Another store, which has come to be behind the same address, is left alone too.
    pub(super) async fn write_base(
        &mut self,
        prefix: &str,
        seen: u64,
        base: u64,
    ) -> Result<Value, SourceError> {
        let key = base64(format!("{prefix}{VERSION}"));
        let body = json!({
            "compare": [{
                "key": key, "target": "MOD", "result": "EQUAL", "mod_revision": seen.to_string(),
            }],
            "success": [{ "request_put": { "key": key, "value": base64(base.to_string()) } }],
        });
        self.call("/v3/kv/txn", &body).await
    }

    /// Asks for changes of keys that begin so, from a revision on.
    pub(super) async fn watch(&mut self, prefix: &str, from: u64) -> Result<Watch, SourceError> {
        let body = json!({ "create_request": {
            "key": base64(prefix),
            "range_end": base64(after(prefix)),
            "start_revision": from.to_string(),
        }});
        match self.begin_watch(&body).await {
            Err(SourceError::Refused(_)) if self.token.is_some() => {
                // Tokens run out, and a server that was started again knows none.
                self.token = None;
                self.begin_watch(&body).await
            }
            begun => begun,
        }
    }

    async fn begin_watch(&mut self, body: &Value) -> Result<Watch, SourceError> {
        self.log_in().await?;
        let limit = self.settings.answer_within;
        let begun = timeout(limit, async {
            let mut connection = self.connect().await?;
            let answer = connection.send("/v3/watch", body, self.token.as_deref()).await?;
            if answer.status() != StatusCode::OK {
                let status = answer.status();
                let said = whole(answer).await?;
                return Err(refusal(status, &said));
            }
            let mut watch = Watch {
                _connection: connection,
                body: answer.into_body(),
                lines: Lines::default(),
            };
            // The first thing it says is that it watches, or why not.
            let said = watch.next().await?;
            if said["canceled"] == true && number(&said["compact_revision"]) == 0 {
                return Err(SourceError::Refused(shown(&said["cancel_reason"])));
            }
            if said["canceled"] == true || said["events"].is_array() {
                // Said with the first word; it is to be heard again.
                let line = json!({ "result": said }).to_string() + "\n";
                watch.lines.put_back(line.as_bytes());
            }
            Ok(watch)
        });
        let begun = begun.await.unwrap_or_else(|_| Err(too_late()));
        self.note(begun)
    }

    /// Asks, and logs in where that is needed.
    pub(super) async fn call(&mut self, path: &str, body: &Value) -> Result<Value, SourceError> {
        self.log_in().await?;
        match self.ask(path, body).await {
            Err(SourceError::Refused(_)) if self.token.is_some() => {
                // Tokens run out.
                self.token = None;
                self.log_in().await?;
                self.ask(path, body).await
            }
            answer => answer,
        }
    }

    async fn log_in(&mut self) -> Result<(), SourceError> {
        if self.token.is_some() {
            return Ok(());
        }
        let Some((user, password)) = self.settings.credentials.login.clone() else {
            return Ok(());
        };
        let body = json!({ "name": user, "password": password });
        let answer = self.ask("/v3/auth/authenticate", &body).await?;
        self.token = Some(text(&answer["token"]));
        Ok(())
    }

    async fn ask(&mut self, path: &str, body: &Value) -> Result<Value, SourceError> {
        let asked = timeout(self.settings.answer_within, async {
            let mut connection = match self.connection.take().filter(Connection::is_open) {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            let answer = connection.send(path, body, self.token.as_deref()).await?;
            let status = answer.status();
            let said = whole(answer).await?;
            self.connection = Some(connection);
            if status == StatusCode::OK { Ok(said) } else { Err(refusal(status, &said)) }
        });
        let answer = asked.await.unwrap_or_else(|_| Err(too_late()));
        self.note(answer)
    }

    /// After a server that could not be reached the next one is asked. One that refuses is asked by
    /// a new connection, for which passwords and certificates are read again.
    fn note<T>(&mut self, answer: Result<T, SourceError>) -> Result<T, SourceError> {
        if matches!(answer, Err(SourceError::Refused(_))) {
            self.connection = None;
        }
        if matches!(answer, Err(SourceError::Unreachable(_))) {
            self.connection = None;
            self.server = (self.server + 1) % self.settings.servers.len().max(1);
        }
        answer
    }

    async fn renew(&mut self) {
        let Some(renew) = self.settings.renew.clone() else { return };
        // Files are read where nobody waits for them but who asks.
        let Ok(Ok(credentials)) = spawn_blocking(move || renew()).await else { return };
        if credentials.login != self.settings.credentials.login {
            self.token = None;
        }
        self.settings.credentials = credentials;
    }

    async fn connect(&mut self) -> Result<Connection, SourceError> {
        self.renew().await;
        let Some((host, port)) = self.settings.servers.get(self.server) else {
            return Err(SourceError::Setting("etcd without a server".to_owned()));
        };
        let unreachable =
            |error: &dyn fmt::Display| SourceError::Unreachable(format!("{host}:{port}: {error}"));
        let address = ConnectAddr::Tcp { host: host.clone(), port: *port };
        let mut stream = Stream::connect(&address).await.map_err(|error| unreachable(&error))?;
        if let Some(tls) = &self.settings.credentials.tls {
            stream = tls.connect(stream, host).await.map_err(|error| unreachable(&error))?;
        }
        let (sender, driven) =
            http1::handshake(Io::new(stream)).await.map_err(|error| unreachable(&error))?;
        let host = address.to_string();
        // What goes wrong with it is told to who has asked.
        let driver = tokio::spawn(async move { driven.await.unwrap_or_default() });
        Ok(Connection { sender, driver, host })
    }
}

/// A connection to a server.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    host: String,
}

impl Connection {
    fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    async fn send(
        &mut self,
        path: &str,
        body: &Value,
        token: Option<&str>,
    ) -> Result<Response<Incoming>, SourceError> {
        let unreachable = |error: hyper::Error| SourceError::Unreachable(error.to_string());
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request
            .body(Full::from(body.to_string()))
            .map_err(|error| SourceError::Setting(error.to_string()))?;
        self.sender.ready().await.map_err(unreachable)?;
        self.sender.send_request(request).await.map_err(unreachable)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Changes as they come.
pub(super) struct Watch {
    _connection: Connection,
    body: Incoming,
    lines: Lines,
}

impl Watch {
    /// The next thing it says. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Value, SourceError> {
        loop {
            if let Some(line) = self.lines.next() {
                let said: Value = serde_json::from_slice(&line).map_err(not_json)?;
                if said["error"].is_object() {
                    return Err(refusal(StatusCode::INTERNAL_SERVER_ERROR, &said["error"]));
                }
                return Ok(said["result"].clone());
            }
            if self.lines.len() > ANSWER_BYTES_MAX {
                return Err(SourceError::Answer("an event without an end".to_owned()));
            }
            match self.body.frame().await {
                None => return Err(SourceError::Unreachable("the watch has ended".to_owned())),
                Some(Err(error)) => return Err(SourceError::Unreachable(error.to_string())),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.lines.push(&data);
                    }
                }
            }
        }
    }
}

/// Bytes that come as they like, and are lines.
#[derive(Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// Where the next line begins, and up to where there is known to be no end of it.
    start: usize,
    searched: usize,
}

impl Lines {
    fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    fn put_back(&mut self, line: &[u8]) {
        self.bytes.splice(..self.start, line.iter().copied());
        (self.start, self.searched) = (0, 0);
    }

    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        let Some(found) = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.bytes.len();
            return None;
        };
        let line = self.bytes[self.start..self.searched + found].to_vec();
        self.start = self.searched + found + 1;
        self.searched = self.start;
        Some(line)
    }
}

async fn whole(answer: Response<Incoming>) -> Result<Value, SourceError> {
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| SourceError::Unreachable(error.to_string()))?.to_bytes();
    serde_json::from_slice(&body).map_err(not_json)
}

fn not_json(error: serde_json::Error) -> SourceError {
    SourceError::Answer(format!("no JSON: {error}"))
}

fn too_late() -> SourceError {
    SourceError::Unreachable("no answer in time".to_owned())
}

/// What etcd says besides an answer. `code` is gRPC's.
fn refusal(status: StatusCode, said: &Value) -> SourceError {
    let why = match (&said["message"], &said["error"]) {
        (why @ Value::String(_), _) | (_, why @ Value::String(_)) => shown(why),
        _ => status.to_string(),
    };
    // Invalid argument (a password), permission denied, failed precondition (logins that are off),
    // unauthenticated.
    let code = said["code"].as_u64().or_else(|| said["grpc_code"].as_u64());
    match code {
        Some(3 | 7 | 9 | 16) => SourceError::Refused(why),
        _ if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            SourceError::Refused(why)
        }
        _ => SourceError::Unreachable(why),
    }
}

/// A 64-bit number, which JSON has as a string. None of etcd's is larger than this makes it.
pub(super) fn number(value: &Value) -> u64 {
    let number = value.as_str().and_then(|text| text.parse().ok()).or_else(|| value.as_u64());
    number.unwrap_or(0).min(i64::MAX as u64)
}

/// What somebody else says, for a line of a log or of statistics.
pub(super) fn shown(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    text.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(super) fn bytes_of(value: &Value) -> Vec<u8> {
    Base64::decode_vec(value.as_str().unwrap_or_default()).unwrap_or_default()
}

pub(super) fn base64(bytes: impl AsRef<[u8]>) -> String {
    Base64::encode_string(bytes.as_ref())
}

/// The first key after all those that begin so.
fn after(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    // A prefix ends in a slash.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

/// How much of what somebody else says is shown, in characters.
const SHOWN_MAX: usize = 200;

/// The longest answer, in bytes: a thousand members take a tenth of it.
const ANSWER_BYTES_MAX: usize = 4 << 20;
