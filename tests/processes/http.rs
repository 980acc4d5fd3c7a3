//! Questions to a node over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::netns::Namespace;

/// Longest a node may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Longest answer, in bytes.
const MAX_BODY: u64 = 64 << 20;

/// Where a node answers.
pub struct Http {
    agent: ureq::Agent,
    address: SocketAddr,
    namespace: Option<Arc<Namespace>>,
}

impl Http {
    pub fn new(address: SocketAddr, namespace: Option<Arc<Namespace>>) -> Http {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER_MAX))
            .proxy(None)
            // Each connection is made where it is used, which may be another namespace.
            .max_idle_connections(0)
            .build()
            .new_agent();
        Http { agent, address, namespace }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The body of a successful answer.
    #[track_caller]
    pub(super) fn get(&self, path: &str) -> String {
        self.ask(path).unwrap_or_else(|error| panic!("no answer to {path} from {}: {error}", self.address))
    }

    /// The status of the answer to a DELETE, as a program on the node's machine would send it.
    #[track_caller]
    pub(super) fn delete(&self, path: &str) -> u16 {
        let request = |address| self.agent.delete(address).header("content-type", "application/json").call();
        self.status(&format!("DELETE {path}"), || request(format!("http://{}{path}", self.address)))
    }

    /// The same for a POST.
    #[track_caller]
    pub(super) fn post(&self, path: &str) -> u16 {
        let request =
            |address| self.agent.post(address).header("content-type", "application/json").send_empty();
        self.status(&format!("POST {path}"), || request(format!("http://{}{path}", self.address)))
    }

    #[track_caller]
    fn status(
        &self,
        what: &str,
        ask: impl FnOnce() -> Result<ureq::http::Response<ureq::Body>, ureq::Error> + Send,
    ) -> u16 {
        let ask = || match ask() {
            Ok(answer) => Ok(answer.status().as_u16()),
            Err(ureq::Error::StatusCode(status)) => Ok(status),
            Err(error) => Err(error),
        };
        let status = match &self.namespace {
            Some(namespace) => namespace.enter(ask),
            None => ask(),
        };
        status.unwrap_or_else(|error| panic!("no answer to {what} from {}: {error}", self.address))
    }

    /// The status and the body of the answer to a request of a program on the node's machine.
    #[track_caller]
    pub(super) fn call(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.address);
        let request = ureq::http::Request::builder().method(method).uri(url);
        let request = request.header("content-type", "application/json").body(body.to_owned());
        let request = request.expect("a request");
        let ask = || {
            let request = self.agent.configure_request(request).http_status_as_error(false);
            let request = request.allow_non_standard_methods(true).build();
            let mut answer = self.agent.run(request)?;
            let status = answer.status().as_u16();
            Ok::<_, ureq::Error>((status, answer.body_mut().with_config().limit(MAX_BODY).read_to_string()?))
        };
        let answer = match &self.namespace {
            Some(namespace) => namespace.enter(ask),
            None => ask(),
        };
        answer.unwrap_or_else(|error| panic!("no answer to {method} {path} from {}: {error}", self.address))
    }

    /// The body, or nothing where the node does not answer.
    pub fn try_get(&self, path: &str) -> Option<String> {
        self.ask(path).ok()
    }

    fn ask(&self, path: &str) -> Result<String, ureq::Error> {
        let ask = || {
            let mut answer = self.agent.get(format!("http://{}{path}", self.address)).call()?;
            answer.body_mut().with_config().limit(MAX_BODY).read_to_string()
        };
        match &self.namespace {
            Some(namespace) => namespace.enter(ask),
            None => ask(),
        }
    }
}
