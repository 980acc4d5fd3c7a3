use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::cursor::Cursor;
use super::fake::FakeNode;
use super::schema_check::fault;
use super::view::{RouteView, RoutesPage};
use super::*;
use crate::admin::view::{Happening, TraceEvent};

/// The routes of the example that everybody knows.
const ROUTES: &[(&str, &[&str])] = &[
    ("t/#", &["node2@h"]),
    ("t/+/x", &["node1@h", "node3@h"]),
    ("t/+/y", &["node1@h"]),
    ("t/a", &["node3@h"]),
];

struct Server {
    address: SocketAddr,
    node: Arc<FakeNode>,
    task: JoinHandle<()>,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Server {
    async fn start() -> Server {
        let server = HttpServer::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let node = Arc::new(FakeNode::new(ROUTES));
        let address = server.local_addr().unwrap();
        Server { address, node: node.clone(), task: tokio::spawn(server.run(node, Guard::default())) }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends a request as it is, and reads to the end of the connection.
    async fn send(&self, request: &str) -> Answer {
        let mut stream = self.connect().await;
        // A server that refuses may close before it has read everything.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text).await;
        let text = String::from_utf8(text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")).await
    }

    async fn json(&self, path: &str) -> (u16, Value) {
        let answer = self.get(path).await;
        assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn a_node_leaves_when_it_is_asked_to_by_somebody_who_may() {
    let server = Server::start().await;
    let post = |headers: &str| {
        format!(
            "POST /api/v1/leave HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: 0\r\n{headers}\r\n"
        )
    };
    assert_eq!(server.json("/api/v1/leave").await, (200, json!({"node": "node1@h"})));
    assert_eq!(server.send(&post("")).await.status, 415);
    assert!(!server.node.left.load(Ordering::Relaxed));
    let answer = server.send(&post("content-type: application/json\r\n")).await;
    assert_eq!((answer.status, answer.body.as_str()), (202, r#"{"node":"node1@h"}"#));
    assert!(server.node.left.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_drain_without_another_node_is_refused() {
    let server = Server::start().await;
    let post = |body: &str| {
        format!(
            "POST /api/v1/leave HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    for (body, status) in [(r#"{"drain": true}"#, 409), (r#"{"drain": true, "rate": -1}"#, 400), ("?", 400)] {
        assert_eq!(server.send(&post(body)).await.status, status, "{body}");
    }
    assert!(!server.node.left.load(Ordering::Relaxed));
}

#[tokio::test]
async fn metrics_are_text() {
    let answer = Server::start().await.get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{}",
        answer.head
    );
    assert!(answer.body.ends_with("rumormq_connections 0\n"));
}

#[tokio::test]
async fn the_status_page_may_run_its_own_script_and_nothing_else() {
    let answer = Server::start().await.get("/").await;
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: text/html; charset=utf-8"), "{}", answer.head);
    let policy = answer.head.lines().find_map(|line| line.strip_prefix("content-security-policy: ")).unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    assert!(answer.body.starts_with("<!doctype html>"));
}

#[tokio::test]
async fn events_are_told_from_a_number_on() {
    let server = Server::start().await;
    (1..=3).for_each(|number| server.node.has_event(number));
    let (status, view) = server.json("/api/v1/events?after=2").await;
    let event = json!({"number": 3, "at_ms": 7, "kind": "link", "node": "node2@h", "text": "linked 3"});
    assert_eq!((status, view), (200, json!({"node": "node1@h", "events": [event]})));
    assert_eq!(server.json("/api/v1/events").await.1["events"].as_array().unwrap().len(), 3);
}

/// Somebody who watches, and what has come so far.
struct Watcher {
    stream: TcpStream,
    text: String,
}

impl Watcher {
    async fn start(server: &Server, query: &str, headers: &str) -> Watcher {
        let request =
            format!("GET /api/v1/events/stream{query} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
        Watcher::ask(server, &request).await
    }

    /// One who reads a trace.
    async fn trace(server: &Server, query: &str, body: &str) -> Watcher {
        let length = body.len();
        let request = format!(
            "POST /api/v1/trace{query} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        Watcher::ask(server, &request).await
    }

    async fn ask(server: &Server, request: &str) -> Watcher {
        let mut stream = server.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        Watcher { stream, text: String::new() }
    }

    /// Reads on until that has come; everything up to its end.
    async fn until(&mut self, wanted: &str) -> String {
        loop {
            if let Some(at) = self.text.find(wanted) {
                let rest = self.text.split_off(at + wanted.len());
                return std::mem::replace(&mut self.text, rest);
            }
            let mut piece = [0; 4096];
            let length = self.stream.read(&mut piece).await.unwrap();
            assert!(length > 0, "the stream ends without {wanted:?}: {}", self.text);
            self.text.push_str(std::str::from_utf8(&piece[..length]).unwrap());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn watchers_are_told_what_happens_when_it_happens() {
    let server = Server::start().await;
    (1..=2).for_each(|number| server.node.has_event(number));
    let begun = tokio::time::Instant::now();
    let mut watcher = Watcher::start(&server, "?after=1", "").await;
    let head = watcher.until("\r\n\r\n").await.to_lowercase();
    assert!(head.contains("200 ok") && head.contains("content-type: text/event-stream"), "{head}");
    let greeting = watcher.until("event: cluster\ndata: {\"node\":\"node1@h\"").await;
    assert!(greeting.contains("id: 2\nevent: event\ndata: {\"number\":2"), "{greeting}");
    assert!(!greeting.contains("\"number\":1"), "{greeting}");
    server.node.has_event(3);
    watcher.until("id: 3\nevent: event").await;
    watcher.until("event: cluster").await;
    assert!(begun.elapsed() < Duration::from_millis(500), "at once: {:?}", begun.elapsed());
    let beat = watcher.until("event: cluster").await;
    assert!((900..2000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    assert!(!beat.contains("event: event"), "{beat}");
    // A browser that comes back by itself.
    let mut again = Watcher::start(&server, "?after=1", "last-event-id: 2\r\n").await;
    assert!(!again.until("id: 3\nevent: event").await.contains("\"number\":2"));
    server.node.newest.send_replace(Newest::End);
    watcher.until("event: end\ndata: {}\n\n").await;
    watcher.until("0\r\n\r\n").await;
}

#[tokio::test(start_paused = true)]
async fn watchers_are_few_and_have_to_come_back() {
    let server = Server::start().await;
    let mut watchers = Vec::new();
    for _ in 0..16 {
        let mut watcher = Watcher::start(&server, "", "").await;
        watcher.until("event: cluster").await;
        watchers.push(watcher);
    }
    let (status, refusal) = server.json("/api/v1/events/stream").await;
    assert_eq!((status, refusal), (503, json!({"error": "there are 16 watchers already"})));
    // One that goes makes room, and so does everybody in the end.
    drop(watchers.pop());
    let mut late = loop {
        let mut watcher = Watcher::start(&server, "", "").await;
        if watcher.until("\r\n").await.contains("200") {
            break watcher;
        }
    };
    let begun = tokio::time::Instant::now();
    late.until("\r\n0\r\n\r\n").await;
    assert!((230..250).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_trace_tells_what_happens_here_and_elsewhere() {
    let server = Server::start().await;
    let other = server.has_other("node2@h", &[]);
    let mut watcher = Watcher::trace(&server, "?scope=cluster", r#"{"client": "c*", "seconds": 400}"#).await;
    let head = watcher.until("\r\n\r\n").await.to_lowercase();
    assert!(head.contains("200 ok") && head.contains("content-type: text/event-stream"), "{head}");
    watcher.until("event: trace\ndata: {\"trace\":\"").await;
    let name = watcher.until("\",\"node\":\"node1@h\",\"seconds\":400}").await;
    let name = name.split('"').next().unwrap().to_owned();
    let found = |node: &str| {
        format!("event: event\ndata: {{\"node\":\"{node}\",\"number\":7168,\"at_ms\":8,\"event\":\"found\"")
    };
    watcher.until(&found("node1@h")).await;
    watcher.until(&found("node2@h")).await;
    watcher.until("event: missing\ndata: {\"missing\":[{\"node\":\"silent@h\",").await;
    // What happens next, on either, comes soon and once.
    for node in [&server.node, &other] {
        for trace in node.tracer.of_client("c1") {
            trace.push(9, |payload_max| TraceEvent::of(Happening::Dropped, "c1").with("max", payload_max));
        }
        let begun = tokio::time::Instant::now();
        let told =
            watcher.until("\"event\":\"dropped\",\"client\":\"c1\",\"details\":{\"max\":\"0\"}}").await;
        assert!(told.contains(node.name) && !told.contains("missing"), "{told}");
        assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    }
    // The connection is over before the trace is: who comes back goes on with it.
    let begun = tokio::time::Instant::now();
    assert!(!watcher.until("\r\n0\r\n\r\n").await.contains("event:"));
    assert!((230..250).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    for trace in server.node.tracer.of_client("c1") {
        trace.push(9, |_| TraceEvent::of(Happening::Queued, "c1"));
    }
    let body = format!("{{\"client\": \"c*\", \"seconds\": 3, \"trace\": \"{name}\"}}");
    let mut again = Watcher::trace(&server, "", &body).await;
    let told = again.until("event: end\ndata: {\"reason\":\"its time is over\"}\n\n").await;
    assert!(told.contains("queued") && !told.contains("found") && server.node.tracer.len() == 1, "{told}");
    again.until("\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn a_trace_is_for_those_who_may_and_of_one_thing() {
    let server = Server::start().await;
    for (headers, status) in
        [("host: localhost\r\n", 415), ("host: evil.example\r\ncontent-type: application/json\r\n", 403)]
    {
        let request = "POST /api/v1/trace HTTP/1.1\r\nconnection: close\r\ncontent-length: 15\r\n";
        let answer = server.send(&format!("{request}{headers}\r\n{{\"client\": \"c\"}}")).await;
        assert_eq!(answer.status, status, "{headers}");
    }
    for wrong in [
        "",
        "{}",
        r#"{"client": ""}"#,
        r#"{"client": "c", "topic": "t"}"#,
        r#"{"topic": "a/#/b"}"#,
        r#"{"client": "c", "payload": 65537}"#,
        r#"{"client": "c", "seconds": 0}"#,
        r#"{"client": "c", "seconds": 86401}"#,
        r#"{"client": "c", "trace": ""}"#,
        r#"{"clients": "c"}"#,
    ] {
        let (status, answer) = server.call("POST", "/api/v1/trace", wrong).await;
        assert_eq!((status, answer["error"].is_string()), (400, true), "{wrong}: {answer}");
    }
    assert!(server.node.tracer.is_empty());
    let mut readers = Vec::new();
    for _ in 0..8 {
        readers.push(Watcher::trace(&server, "", r#"{"topic": "t/#"}"#).await);
        readers.last_mut().unwrap().until("event: event").await;
    }
    let (status, answer) = server.call("POST", "/api/v1/trace", r#"{"topic": "t/#"}"#).await;
    assert_eq!(status, 503);
    assert!(answer["error"].as_str().unwrap().starts_with("8 traces are going on already"), "{answer}");
}

#[tokio::test]
async fn health_and_readiness() {
    let server = Server::start().await;
    assert_eq!(server.json("/healthz").await, (200, json!({"status": "ok"})));
    assert_eq!(server.json("/readyz").await, (200, json!({"status": "ready"})));
    *server.node.readiness.lock() = Readiness::NotReady("no peer has answered yet".to_owned());
    let expected = json!({"status": "not ready", "reason": "no peer has answered yet"});
    assert_eq!(server.json("/readyz").await, (503, expected));
    assert_eq!(server.json("/healthz").await.0, 200);
}

#[tokio::test]
async fn the_cluster_has_the_documented_shape() {
    let (status, view) = Server::start().await.json("/api/v1/cluster").await;
    let own = json!({
        "head": {"seq": 3, "hash": "0000000000003333"}, "applied": {"seq": 3, "hash": "0000000000003333"},
        "lag_ops": 0, "lag_seconds": 0.0
    });
    assert_eq!(status, 200);
    assert_eq!(
        (&view["node"], &view["incarnation"], &view["converged"]),
        (&json!("node1@h"), &json!(7), &json!(false))
    );
    assert_eq!(
        view["members"][0],
        json!({
            "name": "node1@h", "incarnation": 7, "state": "alive", "link": "self", "via": null, "rtt_ms": null, "routes": 3,
            "head": own["head"], "applied": own["applied"], "lag_ops": 0, "lag_seconds": 0.0, "sets": {"routes": own}
        })
    );
    let relayed = &view["members"][1];
    assert_eq!((&relayed["state"], &relayed["link"]), (&json!("suspect"), &json!("relayed")));
    assert_eq!((&relayed["via"], &relayed["rtt_ms"]), (&json!("node3@h"), &json!(0.75)));
    assert_eq!((&view["members"][2]["head"], &view["members"][2]["link"]), (&json!(null), &json!("none")));
    let names: Vec<&str> = view.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        names.into_iter().collect::<BTreeSet<_>>(),
        BTreeSet::from(["converged", "incarnation", "members", "node"])
    );
}

#[tokio::test]
async fn routes_come_in_pages() {
    let server = Server::start().await;
    let (_, all) = server.json("/api/v1/routes").await;
    assert_eq!(all["next"], json!(null));
    assert_eq!(all["routes"][1], json!({"filter": "t/+/x", "nodes": ["node1@h", "node3@h"]}));
    let (_, first) = server.json("/api/v1/routes?limit=3").await;
    let filters = |page: &Value| -> Vec<String> {
        page["routes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|route| route["filter"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(filters(&first), ["t/#", "t/+/x", "t/+/y"]);
    // What goes before the next page is asked for does not shift it.
    server.node.routes.lock().remove("t/+/y");
    let cursor = first["next"].as_str().unwrap();
    let (_, second) = server.json(&format!("/api/v1/routes?limit=3&cursor={cursor}")).await;
    assert_eq!((filters(&second), &second["next"]), (vec!["t/a".to_owned()], &json!(null)));
}

#[tokio::test]
async fn routes_are_narrowed_down() {
    let server = Server::start().await;
    let (_, by_node) = server.json("/api/v1/routes?node=node3%40h").await;
    assert_eq!(by_node["routes"].as_array().unwrap().len(), 2);
    let (_, by_filter) = server.json("/api/v1/routes?filter=t%2F%2B%2Fx").await;
    assert_eq!(by_filter["routes"], json!([{"filter": "t/+/x", "nodes": ["node1@h", "node3@h"]}]));
    let (_, neither) = server.json("/api/v1/routes?filter=t%2Fa&node=node1%40h").await;
    assert_eq!(neither, json!({"routes": [], "next": null}));
}

#[tokio::test]
async fn a_topic_is_matched() {
    let (status, view) = Server::start().await.json("/api/v1/match?topic=t/a").await;
    let matches = json!([{"filter": "t/#", "nodes": ["node2@h"]}, {"filter": "t/a", "nodes": ["node3@h"]}]);
    assert_eq!((status, view), (200, json!({"topic": "t/a", "matches": matches})));
}

#[tokio::test]
async fn retained_messages_come_in_pages() {
    let server = Server::start().await;
    let (status, page) = server.json("/api/v1/retained?filter=%2B/x&limit=1").await;
    let message = json!({
        "topic": "a/x", "qos": 1, "payload_size": 5, "node": "node1@h", "published_ms": 7, "expires_in": null
    });
    assert_eq!((status, &page["retained"]), (200, &json!([message])));
    let next = page["next"].as_str().expect("a cursor");
    let (_, page) = server.json(&format!("/api/v1/retained?filter=%2B/x&limit=1&cursor={next}")).await;
    assert_eq!((&page["retained"][0]["topic"], &page["next"]), (&json!("b/x"), &Value::Null));
    let (_, page) = server.json("/api/v1/retained").await;
    assert_eq!(page["retained"].as_array().map(Vec::len), Some(3));
    assert_eq!(server.json("/api/v1/retained?filter=a%23").await.0, 400);
}

#[tokio::test]
async fn what_changes_something_is_guarded() {
    let server = Server::start().await;
    let delete = async |topic: &str, headers: &str| {
        let request =
            format!("DELETE /api/v1/retained?topic={topic} HTTP/1.1\r\nconnection: close\r\n{headers}\r\n");
        server.send(&request).await.status
    };
    let local = "host: 127.0.0.1:18083\r\ncontent-type: application/json\r\n";
    assert_eq!(delete("b/x", local).await, 200);
    assert_eq!(delete("a/x", local).await, 404);
    assert_eq!(delete("%2B", local).await, 400);
    assert_eq!(delete("b/x", "host: evil.example\r\ncontent-type: application/json\r\n").await, 403);
    assert_eq!(delete("b/x", "host: localhost\r\n").await, 415);
    assert_eq!(server.json("/api/v1/retained").await.0, 200, "reading needs nothing");
}

impl Server {
    /// Sends a request with a body as a program on this machine would.
    async fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let length = body.len();
        let answer = self
            .send(&format!(
                "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
                 content-length: {length}\r\n\r\n{body}"
            ))
            .await;
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }

    fn has_clients(&self, ids: &[&str]) {
        *self.node.clients.lock() = ids.iter().map(|id| (*id).to_owned()).collect();
    }

    /// Another node answers, too.
    fn has_other(&self, name: &'static str, ids: &[&str]) -> Arc<FakeNode> {
        let other = Arc::new(FakeNode { name, ..FakeNode::new(&[]) });
        *other.clients.lock() = ids.iter().map(|id| (*id).to_owned()).collect();
        self.node.others.lock().push(other.clone());
        other
    }
}

/// The values of a field of a list's entries.
fn column<'a>(view: &'a Value, list: &str, field: &str) -> Vec<&'a str> {
    view[list].as_array().unwrap().iter().map(|entry| entry[field].as_str().unwrap()).collect()
}

#[tokio::test]
async fn clients_come_in_pages_and_are_narrowed_down() {
    let server = Server::start().await;
    server.has_clients(&["a1", "a2", "b-away", "c/d"]);
    let (status, page) = server.json("/api/v1/clients?limit=3").await;
    assert_eq!((status, column(&page, "clients", "client")), (200, vec!["a1", "a2", "b-away"]));
    assert_eq!(page["missing"], json!([]), "nobody else was asked");
    let next = page["next"].as_str().unwrap();
    let (_, page) = server.json(&format!("/api/v1/clients?limit=3&cursor={next}")).await;
    assert_eq!((column(&page, "clients", "client"), &page["next"]), (vec!["c/d"], &Value::Null));
    for (query, expected) in [
        ("prefix=a", vec!["a1", "a2"]),
        ("username=alice", vec!["a1", "a2"]),
        ("connected=false", vec!["b-away"]),
        ("connected=true&prefix=c%2F", vec!["c/d"]),
        ("prefix=zz", vec![]),
    ] {
        let (_, page) = server.json(&format!("/api/v1/clients?{query}")).await;
        assert_eq!(column(&page, "clients", "client"), expected, "{query}");
    }
    let (status, client) = server.json("/api/v1/clients/c%2Fd").await;
    assert_eq!((status, &client["client"], &client["node"]), (200, &json!("c/d"), &json!("node1@h")));
    let (status, error) = server.json("/api/v1/clients/nobody").await;
    let expected = "client \"nobody\" has no session on this node (scope=cluster asks all)";
    assert_eq!((status, &error["error"]), (404, &json!(expected)));
}

#[tokio::test]
async fn the_whole_cluster_is_asked_and_who_is_silent_is_named() {
    let server = Server::start().await;
    server.has_clients(&["a", "c", "both-away"]);
    let other = server.has_other("node2@h", &["b", "both", "d"]);
    let silent = json!([{"node": "silent@h", "reason": "it has not answered"}]);
    let mut path = "/api/v1/clients?scope=cluster&limit=2".to_owned();
    let mut all = Vec::new();
    loop {
        let (status, page) = server.json(&path).await;
        assert_eq!((status, &page["missing"]), (200, &silent));
        let clients = column(&page, "clients", "client");
        assert!(clients.len() <= 2, "{clients:?}");
        let nodes = column(&page, "clients", "node");
        all.extend(clients.into_iter().zip(nodes).map(|(id, node)| format!("{id} {node}")));
        match page["next"].as_str() {
            None => break,
            Some(next) => path = format!("/api/v1/clients?scope=cluster&limit=2&cursor={next}"),
        }
    }
    let expected = ["a node1@h", "b node2@h", "both node2@h", "both-away node1@h", "c node1@h", "d node2@h"];
    assert_eq!(all, expected);
    let (_, page) = server.json("/api/v1/subscriptions?scope=cluster&client=d").await;
    assert_eq!(column(&page, "subscriptions", "filter"), ["#", "$share/g/a"]);
    assert_eq!(column(&page, "subscriptions", "node"), ["node2@h", "node2@h"]);
    let (_, stats) = server.json("/api/v1/stats?scope=cluster").await;
    assert_eq!((column(&stats, "nodes", "node"), &stats["missing"]), (vec!["node1@h", "node2@h"], &silent));
    let (_, stats) = server.json("/api/v1/stats").await;
    assert_eq!((column(&stats, "nodes", "node"), &stats["missing"]), (vec!["node1@h"], &json!([])));

    assert_eq!(server.json("/api/v1/clients/d").await.0, 404);
    let (status, client) = server.json("/api/v1/clients/d?scope=cluster").await;
    assert_eq!((status, &client["node"]), (200, &json!("node2@h")));
    let (status, error) = server.json("/api/v1/clients/nobody?scope=cluster").await;
    assert_eq!(status, 404);
    assert!(error["error"].as_str().unwrap().ends_with("no answer from silent@h"), "{error}");

    assert_eq!(server.call("DELETE", "/api/v1/clients/d", "").await.0, 404);
    let (status, kicked) = server.call("DELETE", "/api/v1/clients/d?scope=cluster", "").await;
    assert_eq!((status, kicked), (200, json!({"client": "d", "nodes": ["node2@h"], "missing": silent})));
    assert!(!other.clients.lock().contains("d"));
}

#[tokio::test]
async fn slow_subscribers_come_slowest_first() {
    let server = Server::start().await;
    server.has_clients(&["a", "b", "c"]);
    server.has_other("node2@h", &["d", "e", "f", "g"]);
    let (_, page) = server.json("/api/v1/slow-subscribers?limit=2").await;
    assert_eq!(column(&page, "slow_subscribers", "client"), ["c", "b"]);
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/slow-subscribers?scope=cluster&limit=2&threshold_ms=200{cursor}");
        let (status, page) = server.json(&path).await;
        assert_eq!((status, &page["missing"][0]["node"]), (200, &json!("silent@h")));
        all.extend(column(&page, "slow_subscribers", "client").into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(all, ["g", "c", "f", "b", "e"]);
}

#[tokio::test]
async fn topics_are_counted_on_all_nodes_from_the_question_on() {
    let server = Server::start().await;
    server.has_other("node2@h", &[]);
    let begun = std::time::Instant::now();
    let (status, view) = server.json("/api/v1/top-topics?scope=cluster&seconds=1").await;
    assert_eq!((status, begun.elapsed().as_secs()), (200, 1));
    let topics = |view: &Value, by: &str| {
        let topics = view[by]["topics"].as_array().unwrap().iter();
        topics
            .map(|it| (it["topic"].as_str().unwrap().to_owned(), it["count"].as_u64().unwrap()))
            .collect::<Vec<_>>()
    };
    let of = |node: &str, count| (format!("t/{node}"), count);
    assert_eq!(topics(&view, "by_messages"), [of("node1@h", 1), of("node2@h", 1)]);
    assert_eq!(topics(&view, "by_bytes"), [of("node1@h", 19), of("node2@h", 19)]);
    assert_eq!((&view["by_bytes"]["total"], &view["missing"][0]["node"]), (&json!(38), &json!("silent@h")));
    assert!(!server.node.top_topics.is_on());
    for wrong in ["seconds=0", "seconds=61", "limit=0", "limit=1001", "cursor=x"] {
        assert_eq!(server.json(&format!("/api/v1/top-topics?{wrong}")).await.0, 400, "{wrong}");
    }
    (0..4).for_each(|count| server.node.count_topics(&count.to_string(), 60).unwrap());
    let (status, view) = server.json("/api/v1/top-topics").await;
    assert_eq!(
        (status, view["error"].as_str().unwrap().contains("counted for 4 already")),
        (503, true),
        "{view}"
    );
}

#[tokio::test]
async fn a_client_is_kicked_with_its_session_or_without() {
    let server = Server::start().await;
    server.has_clients(&["a", "b-away"]);
    let kick = async |path: &str| server.call("DELETE", &format!("/api/v1/clients/{path}"), "").await.0;
    assert_eq!(kick("a?session=keep").await, 200);
    assert!(server.node.clients.lock().contains("a"));
    assert_eq!(kick("a").await, 200);
    assert!(!server.node.clients.lock().contains("a"));
    assert_eq!(kick("a").await, 404);
    assert_eq!(kick("b-away?session=keep").await, 404, "there is no connection");
    assert_eq!(kick("b-away?session=end").await, 200);
    assert_eq!(kick("b-away?session=maybe").await, 400);
    let request = "DELETE /api/v1/clients/a HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\
                   content-type: application/json\r\n\r\n";
    assert_eq!(server.send(request).await.status, 403);
}

#[tokio::test]
async fn the_operator_publishes() {
    let server = Server::start().await;
    let publish = async |body: Value| server.call("POST", "/api/v1/publish", &body.to_string()).await;
    let (status, answer) = publish(json!({"topic": "a/x", "payload": "hello"})).await;
    assert_eq!((status, answer), (200, json!({"topic": "a/x", "matched": true, "acknowledged": true})));
    let properties = json!({
        "payload_format_indicator": 0, "message_expiry_interval": 60, "content_type": "t", "response_topic": "r",
        "correlation_data_base64": "AAE=", "user_properties": [["k", "1"], ["k", "2"]]
    });
    let request =
        json!({"topic": "b", "payload_base64": "/wA=", "qos": 2, "retain": true, "properties": properties});
    assert_eq!(publish(request).await.0, 200);
    let object = json!({"topic": "b", "properties": {"user_properties": {"n": "v"}}});
    assert_eq!(publish(object).await.1["matched"], json!(false));
    let published = std::mem::take(&mut *server.node.published.lock());
    assert_eq!(
        (published[0].topic(), &published[0].payload()[..], published[0].retain),
        ("a/x", &b"hello"[..], false)
    );
    assert_eq!(
        (&published[1].payload()[..], published[1].qos as u8, published[1].retain),
        (&b"\xff\0"[..], 2, true)
    );
    assert!(published[1].expires_at.is_some());
    let properties = published[1].properties();
    assert_eq!((properties.payload_format_indicator, properties.content_type), (Some(false), Some("t")));
    assert_eq!(properties.response_topic.map(|topic| topic.as_str()), Some("r"));
    assert_eq!(properties.correlation_data, Some(&b"\0\x01"[..]));
    assert_eq!(properties.user_properties, [("k", "1"), ("k", "2")]);
    assert_eq!(published[2].properties().user_properties, [("n", "v")]);
    for (body, status, words) in [
        ("", 400, "body: EOF"),
        ("{}", 400, "missing field `topic`"),
        (r#"{"topic": "a/+"}"#, 400, "topic: a topic name contains no wildcard"),
        (r#"{"topic": "a", "qos": 3}"#, 400, "qos is 0, 1 or 2"),
        (r#"{"topic": "a", "qqs": 1}"#, 400, "unknown field `qqs`"),
        (
            r#"{"topic": "a", "payload": "", "payload_base64": ""}"#,
            400,
            "payload and payload_base64 cannot both",
        ),
        (r#"{"topic": "a", "payload_base64": "?"}"#, 400, "payload_base64"),
        (r##"{"topic": "a", "properties": {"response_topic": "#"}}"##, 400, "response_topic"),
        (
            r#"{"topic": "a", "properties": {"payload_format_indicator": 2}}"#,
            400,
            "payload_format_indicator is 0 or 1",
        ),
        (r#"{"topic": "$SYS/x"}"#, 403, "$SYS"),
    ] {
        let (got, view) = server.call("POST", "/api/v1/publish", body).await;
        let error = view["error"].as_str().unwrap();
        assert_eq!(got, status, "{body}: {error}");
        assert!(error.contains(words), "{body}: {error}");
    }
    let large = json!({"topic": "a", "payload": "x".repeat(3 << 20)}).to_string();
    for path in ["/api/v1/publish", "/api/v1/trace", "/api/v1/leave"] {
        let (got, view) = server.call("POST", path, &large).await;
        assert!(got == 413 && view["error"].as_str().unwrap().contains("2097152 bytes"), "{path}: {view}");
    }
}

#[tokio::test]
async fn pages_of_other_names_read_nothing() {
    let server = Server::start().await;
    for path in ["/metrics", "/api/v1/cluster", "/api/v1/clients", "/api/v1/openapi.json", "/nothing"] {
        let request = |host: &str| format!("GET {path} HTTP/1.1\r\n{host}connection: close\r\n\r\n");
        assert_eq!(server.send(&request("host: rebound.example:18083\r\n")).await.status, 403, "{path}");
        assert_ne!(server.send(&request("host: [::1]:18083\r\n")).await.status, 403, "{path}");
    }
    let probe = "GET /readyz HTTP/1.1\r\nhost: balancer.example\r\nconnection: close\r\n\r\n";
    assert_eq!(server.send(probe).await.status, 200);
}

/// Every path that is answered is described, and answers what the description says.
#[tokio::test]
async fn the_description_is_true() {
    let server = Server::start().await;
    server.has_clients(&["a1", "b-away"]);
    server.has_other("node2@h", &["c"]);
    let (status, document) = server.json("/api/v1/openapi.json").await;
    assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
    let paths = document["paths"].as_object().unwrap();
    let mut seen = 0;
    let mut names = BTreeSet::new();
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(names.insert(operation["operationId"].as_str().unwrap()), "{path}: one name for two");
            for parameter in operation["parameters"].as_array().unwrap() {
                assert!(
                    parameter["description"].as_str().is_some_and(|text| !text.is_empty()),
                    "{path} {parameter}"
                );
            }
            if ["/", "/metrics", "/api/v1/openapi.json", "/api/v1/events/stream", "/api/v1/trace"]
                .contains(&path.as_str())
            {
                continue;
            }
            let (query, body) = match (method.as_str(), path.as_str()) {
                ("get", "/api/v1/match") => ("?topic=t/a", ""),
                ("delete", "/api/v1/retained") => ("?topic=b/x", ""),
                ("delete", "/api/v1/clients/{id}") => ("?scope=cluster&session=keep", ""),
                (
                    "get",
                    "/api/v1/clients/{id}"
                    | "/api/v1/stats"
                    | "/api/v1/clients"
                    | "/api/v1/slow-subscribers"
                    | "/api/v1/subscriptions",
                ) => ("?scope=cluster", ""),
                ("get", "/api/v1/top-topics") => ("?scope=cluster&seconds=1", ""),
                ("post", "/api/v1/publish") => ("", r#"{"topic": "a/x"}"#),
                _ => ("", ""),
            };
            let concrete = format!("{}{query}", path.replace("{id}", "a1"));
            let (status, answer) = server.call(&method.to_uppercase(), &concrete, body).await;
            assert!((200..300).contains(&status), "{method} {concrete}: {status} {answer}");
            let schema = &operation["responses"][status.to_string()]["content"]["application/json"]["schema"];
            assert!(schema.is_object(), "{method} {path}: {status} is not described");
            assert_eq!(fault(&document, schema, &answer, &concrete), None);
            // The check can fail: no answer fits with a field too few.
            if let Some(field) = answer.as_object().and_then(|fields| fields.keys().next()) {
                let mut lacking = answer.clone();
                lacking.as_object_mut().unwrap().remove(&field.clone());
                assert_ne!(
                    fault(&document, schema, &lacking, &concrete),
                    None,
                    "{method} {path} without {field}"
                );
            }
            // So are its refusals.
            let foreign =
                format!("{method} {path} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n");
            let refused = server.send(&foreign.replacen(method, &method.to_uppercase(), 1)).await;
            if refused.status == 403 {
                let schema = &operation["responses"]["403"]["content"]["application/json"]["schema"];
                let answer = serde_json::from_str(&refused.body).unwrap();
                assert_eq!(fault(&document, schema, &answer, path), None);
            }
            seen += 1;
        }
    }
    assert!(seen >= 14, "{seen} paths");
}

#[tokio::test]
async fn a_request_to_publish_is_as_described() {
    let (_, document) = Server::start().await.json("/api/v1/openapi.json").await;
    let schema =
        &document["paths"]["/api/v1/publish"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    let check = |request: Value| fault(&document, schema, &request, "request");
    assert_eq!(check(json!({"topic": "a"})), None);
    assert_eq!(
        check(json!({"topic": "a", "properties": {"user_properties": [["a", "b"]], "content_type": null}})),
        None
    );
    assert!(check(json!({"topic": "a", "qos": 3})).is_some());
    assert!(check(json!({"topic": "a", "qqs": 1})).is_some());
    assert!(check(json!({"payload": "a"})).is_some());
}

#[tokio::test]
async fn bad_requests_say_what_is_wrong() {
    let server = Server::start().await;
    for (path, status, words) in [
        ("/index.html", 404, "there is nothing at /index.html"),
        ("/api/v2/cluster", 404, "there is nothing at /api/v2/cluster"),
        ("/api/v1/cluster/", 404, "there is nothing at /api/v1/cluster/"),
        ("/api/v1/match", 400, "topic"),
        ("/api/v1/match?topic=", 400, "topic: a topic name has at least one character"),
        ("/api/v1/match?topic=a/%2B", 400, "topic: a topic name contains no wildcard"),
        ("/api/v1/match?topic=%00", 400, "U+0000"),
        ("/api/v1/match?topic=%ff", 400, "topic"),
        ("/api/v1/routes?limit=0", 400, "limit is from 1 to 1000"),
        ("/api/v1/routes?limit=1001", 400, "limit is from 1 to 1000"),
        ("/api/v1/routes?limit=-1", 400, "limit"),
        ("/api/v1/routes?limit=1&limit=2", 400, "limit"),
        ("/api/v1/routes?cursor=xyz", 400, "cursor is not one that an earlier answer gave"),
        ("/api/v1/routes?fliter=a", 400, "fliter"),
    ] {
        if path == "/api/v1/match?topic=%ff" {
            // Not UTF-8: replaced, not refused; what matters is that it is answered.
            assert_eq!(server.get(path).await.status, 200);
            continue;
        }
        let (got, view) = server.json(path).await;
        let error = view["error"].as_str().unwrap();
        assert_eq!(got, status, "{path}: {error}");
        assert!(error.contains(words), "{path}: {error}");
    }
    let posted = server
        .send("POST /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        .await;
    assert_eq!(
        (posted.status, posted.body.as_str()),
        (405, "{\"error\":\"this path does not answer this method\"}")
    );
}

#[tokio::test]
async fn large_requests_are_refused() {
    let server = Server::start().await;
    let headers = "a: b\r\n".repeat(100);
    assert_eq!(server.send(&format!("GET / HTTP/1.1\r\n{headers}\r\n")).await.status, 431);
    // Hung up on with bytes unread, the client may not get to see the answer.
    let mut stream = server.connect().await;
    let endless = b"GET / HTTP/1.1\r\nx: ".iter().copied().chain(std::iter::repeat_n(b'x', 64 << 20));
    assert!(stream.write_all(&endless.collect::<Vec<u8>>()).await.is_err());
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let server = Server::start().await;
    assert_eq!(server.send("\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0\r\n\r\n").await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_hung_up_on() {
    let server = Server::start().await;
    let begun = tokio::time::Instant::now();
    let mut silent = server.connect().await;
    let mut slow = server.connect().await;
    slow.write_all(b"GET /healthz HT").await.unwrap();
    for stream in [&mut silent, &mut slow] {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"");
    }
    assert!((30..35).contains(&begun.elapsed().as_secs()));
}

#[tokio::test(start_paused = true)]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let server = Server::start().await;
    let begun = tokio::time::Instant::now();
    let mut idle = Vec::new();
    for _ in 0..256 {
        idle.push(server.connect().await);
    }
    // The others are hung up on first.
    assert_eq!(server.get("/healthz").await.status, 200);
    assert!(begun.elapsed() >= Duration::from_secs(30));
    drop(idle);
    let begun = tokio::time::Instant::now();
    assert_eq!(server.get("/healthz").await.status, 200);
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_its_answer_is_hung_up_on() {
    let server = Server::start().await;
    let begun = tokio::time::Instant::now();
    let mut stream = server.connect().await;
    let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(500);
    // The client keeps asking and never reads, until the socket is full or closed.
    while stream.write_all(&request).await.is_ok() {}
    assert!(begun.elapsed() <= Duration::from_secs(311), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn connections_go_with_the_server() {
    let server = Server::start().await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    drop(server);
    stream.read_to_end(&mut Vec::new()).await.unwrap();
}

/// Pages through all routes.
fn pages(routes: &[RouteView], limit: usize) -> Vec<RoutesPage> {
    let mut pages: Vec<RoutesPage> = Vec::new();
    loop {
        let after = pages.last().map(|page| Cursor::decode(page.next.as_ref().unwrap()).unwrap().0);
        let query = RoutesQuery { part: Part { after, limit }, ..RoutesQuery::default() };
        pages.push(query.page(routes.iter().cloned()));
        if pages.last().unwrap().next.is_none() {
            return pages;
        }
    }
}

proptest! {
    #[test]
    fn pages_are_the_sorted_list_in_pieces(filters in prop::collection::hash_set(".{1,6}", 0..40), limit in 1usize..12) {
        let routes: Vec<RouteView> =
            filters.iter().map(|filter| RouteView { filter: filter.clone(), nodes: vec!["a@b".to_owned()], members: Default::default() }).collect();
        let mut sorted = routes.clone();
        sorted.sort();
        let pages = pages(&routes, limit);
        prop_assert!(pages.iter().all(|page| page.routes.len() <= limit));
        prop_assert!(pages.iter().rev().skip(1).all(|page| page.routes.len() == limit));
        let joined: Vec<RouteView> = pages.into_iter().flat_map(|page| page.routes).collect();
        prop_assert_eq!(joined, sorted);
    }

    #[test]
    fn a_cursor_is_any_text_and_no_text_is_a_panic(filter in ".*", garbage in ".{0,12}") {
        let cursor = Cursor(filter);
        prop_assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        let _ = Cursor::decode(&garbage);
    }
}
