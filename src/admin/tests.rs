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
use super::view::{RouteView, RoutesPage};
use super::*;

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
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await
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
    assert_eq!(server.get("/api/v1/leave").await.status, 405);
    assert_eq!(server.send(&post("")).await.status, 415);
    assert!(!server.node.left.load(Ordering::Relaxed));
    let answer = server.send(&post("content-type: application/json\r\n")).await;
    assert_eq!((answer.status, answer.body.as_str()), (202, r#"{"node":"node1@h"}"#));
    assert!(server.node.left.load(Ordering::Relaxed));
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

#[tokio::test]
async fn bad_requests_say_what_is_wrong() {
    let server = Server::start().await;
    for (path, status, words) in [
        ("/", 404, "there is nothing at /"),
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
        .send("POST /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
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
    let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(500);
    // The client keeps asking and never reads, until the socket is full or closed.
    while stream.write_all(&request).await.is_ok() {}
    assert!(begun.elapsed() <= Duration::from_secs(311), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn connections_go_with_the_server() {
    let server = Server::start().await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
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
        let query = RoutesQuery { filter: None, node: None, after, limit };
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
