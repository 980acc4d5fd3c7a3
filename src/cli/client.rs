//! Asks a node over HTTP.

use std::time::Duration;

use clap::Args;
use serde::de::DeserializeOwned;

use super::failure::Failure;
use crate::admin::view::ErrorView;

/// Which node is asked, and how its answer is shown.
#[derive(Debug, Args)]
pub(super) struct Client {
    /// HTTP address of the node to ask
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:18083")]
    pub(super) http: String,
    /// Print the answer as it came, in JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Longest a node may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Longest answer, in bytes.
const MAX_BODY: u64 = 64 << 20;

impl Client {
    /// Asks for a path with parameters; the answer as it came.
    pub(super) fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<String, Failure> {
        let request = agent().get(format!("{}{path}", self.base())).query_pairs(parameters.iter().copied());
        self.body(request.call())
    }

    /// Asks for a change, as somebody who may make it; the answer as it came.
    pub(super) fn post(&self, path: &str, token: Option<&str>, body: &str) -> Result<String, Failure> {
        let mut request =
            agent().post(format!("{}{path}", self.base())).header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.body(request.send(body))
    }

    /// Whether anybody answers.
    pub(super) fn is_answered(&self) -> bool {
        agent().get(format!("{}/healthz", self.base())).call().is_ok()
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

    /// An address alone is one, too.
    fn base(&self) -> String {
        let url = self.http.trim_end_matches('/');
        if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
    }
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
