//! The server's calls, one request and one answer each.
//!
//! Owns the connections, the limits on time and on the size of answers. Never retries.

use std::sync::Once;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{RequestBuilder, Response, Url};
use runcast_event::{Draft, Event, RunId};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::answer::{AppendAnswer, BatchAnswer, EventPage, FeedPage, RunInfo, RunList, WirePage};
use crate::error::{ClientError, Problem, network_reason};
use crate::request::{FeedQuery, ListQuery, PageQuery, Producer, RunDefinition};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request may take from its first byte to the answer's last. Follows have none.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A server, and the connections to it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) http: reqwest::Client,
    /// Without a slash at its end.
    base: String,
}

impl Client {
    /// A client of the server at `base_url`, such as `http://127.0.0.1:7070`. Connects to nothing yet.
    ///
    /// # Errors
    /// [`ClientError::BadUrl`] when the address is not an `http` or `https` one.
    pub fn new(base_url: &str) -> Result<Self, ClientError> {
        let bad = |reason: String| ClientError::BadUrl { url: base_url.to_owned(), reason };
        let url = Url::parse(base_url).map_err(|error| bad(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad(format!("its scheme is {:?}, not http or https", url.scheme())));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(bad("it must not have a query or a fragment".to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("it must not have a name or a password in it".to_owned()));
        }
        install_crypto();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("runcast/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .http1_only();
        if is_loopback(&url) {
            builder = builder.no_proxy();
        }
        if url.scheme() == "http" {
            // The system's certificates are not read for nothing; a system may have none.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| bad(network_reason(&error)))?;
        Ok(Self { http, base: url.as_str().trim_end_matches('/').to_owned() })
    }

    /// The server's address, without a slash at its end.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base
    }

    /// The address of a run's page, for people.
    #[must_use]
    pub fn page_url(&self, run: &RunId) -> String {
        format!("{}/runs/{run}", self.base)
    }

    /// Makes a run, or finds the one that was made before with the same definition.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn create_run(&self, definition: &RunDefinition) -> Result<RunInfo, ClientError> {
        let body = serde_json::to_vec(definition).map_err(|error| self.protocol(error))?;
        let request = self.http.post(self.address("/v1/runs"));
        self.ask_json(request.header(CONTENT_TYPE, "application/json").body(body)).await
    }

    /// A run's state.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn run(&self, run: &RunId) -> Result<RunInfo, ClientError> {
        self.ask_json(self.http.get(self.address(&format!("/v1/runs/{run}")))).await
    }

    /// A page of runs, newest first.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn list(&self, query: &ListQuery) -> Result<RunList, ClientError> {
        let mut url = self.parsed("/v1/runs")?;
        {
            let mut pairs = url.query_pairs_mut();
            for status in &query.statuses {
                pairs.append_pair("status", status);
            }
            for tag in &query.tags {
                pairs.append_pair("tag", tag);
            }
            if let Some(workflow) = &query.workflow {
                pairs.append_pair("workflow", workflow);
            }
            if let Some(limit) = query.limit {
                pairs.append_pair("limit", &limit.to_string());
            }
            if let Some(cursor) = &query.cursor {
                pairs.append_pair("cursor", cursor);
            }
        }
        self.ask_json(self.http.get(url)).await
    }

    /// Deletes a run with all its events.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn delete(&self, run: &RunId) -> Result<(), ClientError> {
        self.ask(self.http.delete(self.address(&format!("/v1/runs/{run}")))).await.map(|_| ())
    }

    /// Appends a batch, stored whole or not at all. Makes the run if need be.
    ///
    /// # Errors
    /// See [`ClientError`]. After [`ClientError::Unreachable`] the batch may be stored or not.
    pub async fn append(&self, run: &RunId, events: &[Draft]) -> Result<AppendAnswer, ClientError> {
        let body = serde_json::to_vec(events).map_err(|error| self.protocol(error))?;
        let request = self.http.post(self.address(&format!("/v1/runs/{run}/events")));
        let request = request.header(CONTENT_TYPE, "application/json").body(body);
        let batch: BatchAnswer = self.ask_json(request).await?;
        let mut answer = AppendAnswer::default();
        answer.absorb(&batch);
        Ok(answer)
    }

    /// Appends events that are already lines of JSON. Makes the run if need be.
    ///
    /// The server cuts the lines into batches of its own: after an error the first lines may be
    /// stored. With a `producer` the same lines can be sent again, or again in another cut, and
    /// each is stored once.
    ///
    /// # Errors
    /// See [`ClientError`]. The `line` of a problem is counted from 1 in `lines`.
    pub async fn append_lines(
        &self,
        run: &RunId,
        lines: Bytes,
        producer: Option<&Producer>,
    ) -> Result<AppendAnswer, ClientError> {
        let mut request = self
            .http
            .post(self.address(&format!("/v1/runs/{run}/events")))
            .header(CONTENT_TYPE, "application/x-ndjson");
        if let Some(producer) = producer {
            request = request
                .header("Producer-Id", producer.id.as_str())
                .header("Producer-Epoch", producer.epoch)
                .header("Producer-Seq", producer.sequence);
        }
        let body = match self.ask(request.body(lines)).await {
            Err(ClientError::Problem(problem)) => {
                return Err(ClientError::Problem(Box::new(problem.placed_behind(0))));
            }
            answer => answer?,
        };
        self.read_line_answers(&body)
    }

    /// A page of events.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn page(&self, run: &RunId, query: &PageQuery) -> Result<EventPage, ClientError> {
        let mut url = self.parsed(&format!("/v1/runs/{run}/events"))?;
        {
            let mut pairs = url.query_pairs_mut();
            pairs.append_pair("after", &query.after.to_string());
            if let Some(limit) = query.limit {
                pairs.append_pair("limit", &limit.to_string());
            }
            if let Some(wait_ms) = query.wait_ms {
                pairs.append_pair("wait", &wait_ms.to_string());
            }
        }
        let mut request = self.http.get(url).header(ACCEPT, "application/json");
        if let Some(wait_ms) = query.wait_ms {
            request = request.timeout(REQUEST_TIMEOUT + Duration::from_millis(wait_ms.into()));
        }
        let page: WirePage = self.ask_json(request).await?;
        let events = page.events.iter().map(|raw| Event::from_json(raw.get().as_bytes()));
        Ok(EventPage {
            events: events.collect::<Result<_, _>>().map_err(|error| self.protocol(error))?,
            next: page.next,
            last: page.last,
            closed: page.closed,
            gap: page.gap,
        })
    }

    /// A page of the feed of all runs.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn feed(&self, query: &FeedQuery) -> Result<FeedPage, ClientError> {
        let mut url = self.parsed("/v1/feed")?;
        {
            let mut pairs = url.query_pairs_mut();
            pairs.append_pair("after", &query.after.to_string());
            pairs.extend_pairs(query.tags.iter().map(|tag| ("tag", tag)));
            if let Some(workflow) = &query.workflow {
                pairs.append_pair("workflow", workflow);
            }
            if let Some(wait_ms) = query.wait_ms {
                pairs.append_pair("wait", &wait_ms.to_string());
            }
        }
        let mut request = self.http.get(url).header(ACCEPT, "application/json");
        if let Some(wait_ms) = query.wait_ms {
            request = request.timeout(REQUEST_TIMEOUT + Duration::from_millis(wait_ms.into()));
        }
        self.ask_json(request).await
    }

    /// Reads the answer to NDJSON: a line a batch, and one at the end.
    fn read_line_answers(&self, body: &[u8]) -> Result<AppendAnswer, ClientError> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Line {
            Problem { problem: Problem },
            Done { done: bool },
            Batch(BatchAnswer),
        }
        let mut answer = AppendAnswer::default();
        let mut lines_before = 0;
        for line in body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            let line: Line = serde_json::from_slice(line).map_err(|error| self.protocol(error))?;
            match line {
                Line::Problem { problem } => {
                    let problem = problem.placed_behind(lines_before);
                    return Err(ClientError::Problem(Box::new(problem)));
                }
                Line::Done { done: true } => return Ok(answer),
                Line::Done { done: false } => {}
                Line::Batch(batch) => {
                    lines_before = batch.lines.unwrap_or(lines_before);
                    answer.absorb(&batch);
                }
            }
        }
        let reason = "the answer broke off".to_owned();
        Err(ClientError::Unreachable { url: self.base.clone(), reason, may_be_sent: true })
    }

    pub(crate) async fn ask_json<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, ClientError> {
        let body = self.ask(request).await?;
        serde_json::from_slice(&body).map_err(|error| self.protocol(error))
    }

    /// Sends a request and reads its whole answer.
    pub(crate) async fn ask(&self, request: RequestBuilder) -> Result<Bytes, ClientError> {
        let (client, request) = request.build_split();
        let mut request = request.map_err(|error| self.protocol(network_reason(&error)))?;
        request.timeout_mut().get_or_insert(REQUEST_TIMEOUT);
        let sent = client.execute(request).await;
        let response = sent.map_err(|error| self.cut_off(&error))?;
        let status = response.status();
        let body = self.read_whole(response).await?;
        if status.is_success() {
            return Ok(body);
        }
        Err(ClientError::Problem(Box::new(Problem::from_answer(status.as_u16(), &body))))
    }

    async fn read_whole(&self, mut response: Response) -> Result<Bytes, ClientError> {
        let mut whole = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.cut_off(&error))? {
            if whole.len() + chunk.len() > ANSWER_BYTES_MAX {
                let reason = format!("its answer is larger than {ANSWER_BYTES_MAX} bytes");
                return Err(self.protocol(reason));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    pub(crate) fn address(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(crate) fn parsed(&self, path: &str) -> Result<Url, ClientError> {
        Url::parse(&self.address(path)).map_err(|error| ClientError::BadUrl {
            url: self.base.clone(),
            reason: error.to_string(),
        })
    }

    pub(crate) fn cut_off(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Unreachable {
            url: self.base.clone(),
            reason: network_reason(error),
            may_be_sent: !error.is_connect(),
        }
    }

    pub(crate) fn protocol(&self, reason: impl std::fmt::Display) -> ClientError {
        ClientError::Protocol { url: self.base.clone(), reason: reason.to_string() }
    }
}

/// Whether requests stay on this machine, where no proxy of the environment belongs.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Chooses the one provider of cryptography, unless the program has chosen before.
fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error says that one is installed, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        Client::new("http://127.0.0.1:1/").unwrap()
    }

    #[test]
    fn an_address_that_is_not_http_is_refused_with_the_reason() {
        for bad in ["", "127.0.0.1:7070", "ftp://x", "http://h/?q", "http://u:p@h", "http://"] {
            assert!(matches!(Client::new(bad), Err(ClientError::BadUrl { .. })), "{bad}");
        }
        assert_eq!(client().base_url(), "http://127.0.0.1:1");
        assert!(Client::new("https://example.org/runcast").is_ok());
    }

    #[test]
    fn the_answers_of_all_batches_are_added_up() {
        let body = br#"{"run":"a","epoch":1,"first":1,"last":2,"stored":2,"duplicates":0,"lines":2}
{"run":"a","epoch":1,"first":null,"last":null,"stored":0,"duplicates":3,"lines":5}
{"run":"a","epoch":1,"first":3,"last":3,"stored":1,"duplicates":0,"lines":6}
{"done":true,"stored":3,"duplicates":3,"lines":6}
"#;
        let answer = client().read_line_answers(body).unwrap();
        assert_eq!((answer.stored, answer.duplicates), (3, 3));
        assert_eq!(answer.first.map(|o| o.get()), Some(1));
        assert_eq!(answer.last.map(|o| o.get()), Some(3));
    }

    #[test]
    fn an_answer_that_breaks_off_is_worth_a_retry_and_a_problem_in_it_is_found() {
        let broken =
            br#"{"run":"a","epoch":1,"first":1,"last":2,"stored":2,"duplicates":0,"lines":2}"#;
        assert!(client().read_line_answers(broken).unwrap_err().is_retryable());
        let refused = br#"{"problem":{"type":"x","status":400,"code":"invalid_event","detail":"d","line":4711}}"#;
        let error = client().read_line_answers(refused).unwrap_err();
        let ClientError::Problem(problem) = error else { panic!("{error}") };
        assert_eq!((problem.status, problem.number("line")), (400, Some(4711)));
    }

    #[test]
    fn an_event_of_a_later_batch_is_named_by_its_line() {
        let body =
            br#"{"run":"a","epoch":1,"first":1,"last":2,"stored":2,"duplicates":0,"lines":200}
{"problem":{"type":"x","status":409,"code":"not_possible","detail":"d","event":3}}"#;
        let error = client().read_line_answers(body).unwrap_err();
        let ClientError::Problem(problem) = error else { panic!("{error}") };
        assert_eq!(problem.number("line"), Some(203));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_unreachable_with_the_reason() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let client = Client::new(&format!("http://{free}")).unwrap();
        let error = client.run(&RunId::new("a").unwrap()).await.unwrap_err();
        assert!(error.is_retryable());
        assert_eq!(error.to_string(), format!("cannot reach http://{free}: connection refused"));
    }
}
