//! Asks a node over HTTP.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failure::Failure;
use crate::admin::MAX_LIMIT;
use crate::admin::view::{
    ClientsPage, ErrorView, Missing, RoutesPage, SlowSubscribersPage, SubscriptionsPage,
};

/// Which node is asked, and how its answer is shown.
#[derive(Debug, Args)]
pub(super) struct Client {
    #[command(flatten)]
    pub(super) target: Target,
    /// Print the answer as it came, in JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Which node is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Target {
    /// HTTP address of the node to ask
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:18083")]
    pub(super) http: String,
    /// A file with the secret that the node asks for, where it does [environment: RUMORMQ_HTTP_TOKEN_FILE]
    #[arg(long, value_name = "FILE")]
    pub(super) http_token_file: Option<PathBuf>,
}

/// Whom a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Scope {
    /// The node that is asked
    Node,
    /// All nodes, which that one asks
    Cluster,
}

impl Scope {
    pub(super) fn name(self) -> &'static str {
        match self {
            Scope::Node => "node",
            Scope::Cluster => "cluster",
        }
    }
}

/// Longest a node may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Longest answer, in bytes.
const MAX_BODY: u64 = 64 << 20;

impl Client {
    /// Asks for a path with parameters; the answer as it came.
    pub(super) fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<String, Failure> {
        self.target.ask(path, parameters)
    }

    /// Asks for all pages of a list, and joins them.
    pub(super) fn all<T: Paged>(
        &self,
        path: &str,
        parameters: &[(&str, Option<&str>)],
    ) -> Result<T, Failure> {
        let limit = MAX_LIMIT.to_string();
        let mut asked: Vec<(&str, &str)> = vec![("limit", &limit)];
        asked.extend(parameters.iter().filter_map(|(name, value)| Some((*name, (*value)?))));
        let mut all: T = parse(&self.ask(path, &asked)?)?;
        while let Some(cursor) = all.take_next() {
            let mut asked = asked.clone();
            asked.push(("cursor", &cursor));
            all.append(parse(&self.ask(path, &asked)?)?);
        }
        Ok(all)
    }
}

impl Target {
    /// Asks for a path with parameters; the answer as it came.
    pub(super) fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<String, Failure> {
        let request = agent().get(self.url(path)).query_pairs(parameters.iter().copied());
        self.body(self.with_token(request)?.call())
    }

    /// The same where the answer takes so long.
    pub(super) fn ask_after(
        &self,
        time: Duration,
        path: &str,
        parameters: &[(&str, &str)],
    ) -> Result<String, Failure> {
        let request = agent().get(self.url(path)).query_pairs(parameters.iter().copied());
        let request = request.config().timeout_global(Some(ANSWER_MAX + time)).build();
        self.body(self.with_token(request)?.call())
    }

    /// Asks for a change, as somebody who may make it; the answer as it came.
    pub(super) fn post(&self, path: &str, body: &str) -> Result<String, Failure> {
        let request = agent().post(self.url(path)).header("content-type", "application/json");
        self.body(self.with_token(request)?.send(body))
    }

    /// Asks, as somebody who may make changes, for an answer that comes bit by bit.
    pub(super) fn stream(&self, path: &str, body: &str) -> Result<impl Read + use<>, Failure> {
        let request = agent().post(self.url(path)).header("content-type", "application/json");
        let request = request.config().timeout_global(None).timeout_recv_response(Some(ANSWER_MAX)).build();
        let answer = self.with_token(request)?.send(body);
        match answer {
            Ok(answer) if answer.status().is_success() => Ok(answer.into_body().into_reader()),
            refused => Err(self.body(refused).err().unwrap_or_else(|| {
                Failure::Answer(format!("{} answers nothing that can be used", self.base()))
            })),
        }
    }

    /// Asks that something be removed, likewise.
    pub(super) fn delete(&self, path: &str, parameters: &[(&str, &str)]) -> Result<String, Failure> {
        let request = agent().delete(self.url(path)).header("content-type", "application/json");
        self.body(self.with_token(request.query_pairs(parameters.iter().copied()))?.call())
    }

    /// Whether anybody answers.
    pub(super) fn is_answered(&self) -> bool {
        agent().get(self.url("/healthz")).call().is_ok()
    }

    fn with_token<B>(&self, request: ureq::RequestBuilder<B>) -> Result<ureq::RequestBuilder<B>, Failure> {
        let from_environment = || std::env::var_os("RUMORMQ_HTTP_TOKEN_FILE").map(PathBuf::from);
        match self.http_token_file.clone().or_else(from_environment) {
            None => Ok(request),
            Some(file) => {
                let token = read_token(&file)?;
                Ok(request.header("authorization", format!("Bearer {token}")))
            }
        }
    }

    fn body(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<String, Failure> {
        let base = self.base();
        let failed = |error: ureq::Error| {
            Failure::Answer(format!(
                "no answer from {base}: {error}; is the node running, and is this its HTTP address (--http)?"
            ))
        };
        let mut answer = answer.map_err(failed)?;
        let body = answer.body_mut().with_config().limit(MAX_BODY).read_to_string().map_err(failed)?;
        if answer.status().is_success() {
            return Ok(body);
        }
        let reason = serde_json::from_str::<ErrorView>(&body).map_or(body, |view| view.error);
        Err(Failure::Answer(format!("{base} answers {}: {reason}", answer.status())))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base())
    }

    /// An address alone is one, too.
    pub(super) fn base(&self) -> String {
        let url = self.http.trim_end_matches('/');
        if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
    }
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let token = std::fs::read_to_string(path);
    let token = token.map_err(|error| Failure::File { path: path.to_owned(), error })?;
    Ok(token.trim().to_owned())
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(ANSWER_MAX))
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .new_agent()
}

/// Reads an answer.
pub(super) fn parse<T: DeserializeOwned>(body: &str) -> Result<T, Failure> {
    serde_json::from_str(body)
        .map_err(|error| Failure::Answer(format!("the answer is not that of a RumorMQ node: {error}")))
}

/// Writes an answer that was put together of several.
pub(super) fn unparse(view: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(view).map_err(|error| Failure::Answer(error.to_string()))
}

/// What stands in a path as it is, and nothing that would mean something there.
pub(super) fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// A list that comes in pages.
pub(super) trait Paged: DeserializeOwned + Serialize {
    /// Where the next page begins; the page has none any more.
    fn take_next(&mut self) -> Option<String>;
    /// Puts the next page behind this one.
    fn append(&mut self, next: Self);
}

impl Paged for RoutesPage {
    fn take_next(&mut self) -> Option<String> {
        self.next.take()
    }

    fn append(&mut self, next: RoutesPage) {
        self.routes.extend(next.routes);
        self.next = next.next;
    }
}

impl Paged for ClientsPage {
    fn take_next(&mut self) -> Option<String> {
        self.next.take()
    }

    fn append(&mut self, next: ClientsPage) {
        self.clients.extend(next.clients);
        self.next = next.next;
        add_missing(&mut self.missing, next.missing);
    }
}

impl Paged for SubscriptionsPage {
    fn take_next(&mut self) -> Option<String> {
        self.next.take()
    }

    fn append(&mut self, next: SubscriptionsPage) {
        self.subscriptions.extend(next.subscriptions);
        self.next = next.next;
        add_missing(&mut self.missing, next.missing);
    }
}

impl Paged for SlowSubscribersPage {
    fn take_next(&mut self) -> Option<String> {
        self.next.take()
    }

    fn append(&mut self, next: SlowSubscribersPage) {
        self.slow_subscribers.extend(next.slow_subscribers);
        self.next = next.next;
        add_missing(&mut self.missing, next.missing);
    }
}

/// Who has missed one page is missing.
fn add_missing(missing: &mut Vec<Missing>, more: Vec<Missing>) {
    for missed in more {
        if !missing.iter().any(|known| known.node == missed.node) {
            missing.push(missed);
        }
    }
    missing.sort();
}
