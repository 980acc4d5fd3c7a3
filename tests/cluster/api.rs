//! What operators ask a node of all nodes, and do to clients wherever they are.

use std::time::Instant;

use rumormq::codec::packet::{Connect, ReasonCode, Will};
use rumormq::topic::Topic;
use serde_json::{Value, json};

use crate::p5_partitions::hosts;
use crate::processes::{Launch, PATIENCE, Process, awaits, start_cluster};
use crate::support::client::{self, Client, Q0, Q1, Q2, V311, lasting, options};
use crate::takeover::open;

fn get(node: &Process, path: &str) -> Value {
    let (status, answer) = node.call("GET", path, "");
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

fn column(view: &Value, list: &str, field: &str) -> Vec<String> {
    let entries = view[list].as_array().expect("a list").iter();
    entries.map(|entry| entry[field].as_str().expect("a text").to_owned()).collect()
}

fn connect_as(node: &Process, connect: Connect<'_>) -> Client {
    node.beside(|| Client::connect(node.mqtt_addr(), connect))
}

#[test]
fn any_node_answers_for_all() {
    let nodes = start_cluster(3);
    let names: Vec<&str> = nodes.iter().map(Process::name).collect();
    let mut clients = Vec::new();
    for (place, id) in ["b", "a/1", "c"].iter().enumerate() {
        let mut client = open(&nodes[place], lasting(id, 1000), false);
        client.subscribes(&[("t/#", options(Q1)), ("$share/g/t", options(Q0))], "0x01 0x00");
        clients.push(client);
    }
    connect_as(&nodes[2], Connect { version: V311, clean_start: false, ..client::connect("old") }).vanishes();
    awaits("the client is seen to be gone", PATIENCE, || {
        get(&nodes[2], "/api/v1/clients/old")["connected"] == json!(false)
    });

    let page = get(&nodes[0], "/api/v1/clients");
    assert_eq!(column(&page, "clients", "client"), ["b"], "the node answers for itself");
    for node in &nodes {
        let page = get(node, "/api/v1/clients?scope=cluster");
        assert_eq!(column(&page, "clients", "client"), ["a/1", "b", "c", "old"]);
        assert_eq!(column(&page, "clients", "node"), [names[1], names[0], names[2], names[2]]);
        assert_eq!(page["missing"], json!([]));
        let page = get(node, "/api/v1/subscriptions?scope=cluster&limit=2");
        assert_eq!(column(&page, "subscriptions", "filter"), ["$share/g/t", "t/#"]);
        let next = page["next"].as_str().expect("more").to_owned();
        let page = get(node, &format!("/api/v1/subscriptions?scope=cluster&cursor={next}"));
        assert_eq!(column(&page, "subscriptions", "client"), ["b", "b", "c", "c"]);
        assert_eq!(page["next"], Value::Null);
    }
    let seen = get(&nodes[0], "/api/v1/clients/old?scope=cluster");
    let expected = [
        ("protocol", json!("3.1.1")),
        ("listener", json!("mqtt")),
        ("clean_start", json!(false)),
        ("connected_ms", Value::Null),
        ("username", Value::Null),
        ("subscriptions", json!(0)),
    ];
    for (field, value) in expected {
        assert_eq!(seen[field], value, "{field} of {seen}");
    }
    assert!(seen["disconnected_ms"].as_u64().is_some() && seen["address"].as_str().is_some(), "{seen}");
    let seen = get(&nodes[0], "/api/v1/clients/a%2F1?scope=cluster");
    assert_eq!(
        (&seen["protocol"], &seen["session_expiry_secs"], &seen["connected"]),
        (&json!("5.0"), &json!(1000), &json!(true))
    );
    assert_eq!(nodes[0].call("GET", "/api/v1/clients/a%2F1", "").0, 404);
}

#[test]
fn a_kick_finds_the_client_wherever_it_is() {
    let nodes = start_cluster(2);
    let mut watcher = open(&nodes[0], client::connect("watcher"), false);
    watcher.subscribes(&[("wills", options(Q1))], "0x01");
    let will = || Will {
        topic: Topic::new("wills").expect("a topic"),
        payload: b"gone",
        qos: Q1,
        retain: false,
        properties: Default::default(),
    };
    let kick = |query: &str| nodes[0].call("DELETE", &format!("/api/v1/clients/x{query}"), "");
    let mut x = open(&nodes[1], Connect { will: Some(will()), ..lasting("x", 1000) }, false);
    x.subscribes(&[("a", options(Q1))], "0x01");
    assert_eq!(kick("").0, 404, "it is on the other node");
    let expected = json!({"client": "x", "nodes": [nodes[1].name()], "missing": []});
    assert_eq!(kick("?scope=cluster&session=keep"), (200, expected.clone()));
    x.gets("DISCONNECT 0x98");
    x.is_closed();
    watcher.gets("PUBLISH 1 q1 wills gone");
    // The session is still there; with the second kick it is not.
    let mut x = open(&nodes[1], Connect { will: Some(will()), ..lasting("x", 1000) }, true);
    assert_eq!(kick("?scope=cluster"), (200, expected));
    x.gets("DISCONNECT 0x98");
    x.is_closed();
    watcher.gets("PUBLISH 2 q1 wills gone");
    assert_eq!(kick("?scope=cluster").0, 404);
    let x = open(&nodes[0], lasting("x", 1000), false);
    x.disconnects_with(ReasonCode::Success, None);
    // Nor is one without a connection.
    assert_eq!(kick("?session=keep").0, 404);
    assert_eq!(kick("").0, 200);
    open(&nodes[1], lasting("x", 1000), false);
}

#[test]
fn the_operators_publish_reaches_the_clients_of_all_nodes() {
    let nodes = start_cluster(2);
    let mut subscriber = open(&nodes[1], client::connect("s"), false);
    subscriber.subscribes(&[("a/#", options(Q2))], "0x02");
    let publish = |body: Value| nodes[0].call("POST", "/api/v1/publish", &body.to_string());
    let properties = json!({
        "content_type": "text/plain", "response_topic": "r", "correlation_data": "17",
        "payload_format_indicator": 1, "user_properties": [["k", "1"], ["k", "2"]]
    });
    let answer = publish(json!({"topic": "a/1", "payload": "hi", "qos": 1, "properties": properties}));
    assert_eq!(answer, (200, json!({"topic": "a/1", "matched": true, "acknowledged": true})));
    subscriber.gets("PUBLISH 1 q1 a/1 hi utf8=true type=text/plain response=r correlation=17 k:1 k:2");
    assert_eq!(publish(json!({"topic": "a/2", "payload": "zero"})).0, 200);
    subscriber.gets("PUBLISH q0 a/2 zero");
    assert_eq!(publish(json!({"topic": "b", "payload": "x", "qos": 2})).1["matched"], json!(false));

    // Retained, everywhere; then gone.
    let retained = json!({"topic": "a/kept", "payload_base64": "aGk=", "qos": 2, "retain": true});
    assert_eq!(publish(retained).1["acknowledged"], json!(true));
    subscriber.gets("PUBLISH 2 q2 a/kept hi");
    assert_eq!(column(&get(&nodes[1], "/api/v1/retained?filter=a/%2B"), "retained", "topic"), ["a/kept"]);
    assert_eq!(nodes[1].call("DELETE", "/api/v1/retained?topic=a/kept", "").0, 200);
    awaits("it is cleared", PATIENCE, || get(&nodes[0], "/api/v1/retained")["retained"] == json!([]));

    // What a client would be told, or disconnected for.
    assert_eq!(publish(json!({"topic": "$SYS/brokers", "payload": "x"})).0, 403);
    let text = json!({"topic": "a", "payload_base64": "/w==", "properties": {"payload_format_indicator": 1}});
    assert_eq!(publish(text).0, 400);
    let (status, error) = publish(json!({"topic": "a", "payload": "x".repeat(1 << 20)}));
    assert_eq!(status, 413);
    assert!(error["error"].as_str().expect("a text").contains("max_packet_size"), "{error}");
}

/// What is said holds through a third node; and whoever cannot be asked is named.
#[test]
fn parts_are_not_taken_for_the_whole() {
    let Some(mut nodes) = hosts::<3>() else { return };
    let _x = open(&nodes[2].1, client::connect("x"), false);
    nodes[0].0.separate(&nodes[2].0);
    let link = |node: &Process, row: &str, to: &str| -> Option<Value> {
        let stats = get(node, "/api/v1/stats?scope=cluster");
        let rows = stats["nodes"].as_array()?;
        let peers = rows.iter().find(|it| it["node"] == *row)?["peers"].as_array()?.clone();
        peers.into_iter().find(|peer| peer["node"] == *to)
    };
    let names: Vec<String> = nodes.iter().map(|(_, node)| node.name().to_owned()).collect();
    awaits("both rows of the link matrix say that the link is relayed", 2 * PATIENCE, || {
        let is_relayed = |row: usize, to: usize| {
            let link = link(&nodes[0].1, &names[row], &names[to]);
            link.is_some_and(|link| link["link"] == "relayed" && link["via"] == names[1])
        };
        is_relayed(0, 2) && is_relayed(2, 0)
    });
    let page = get(&nodes[0].1, "/api/v1/clients?scope=cluster");
    assert_eq!((column(&page, "clients", "client"), &page["missing"]), (vec!["x".to_owned()], &json!([])));

    // One that does not answer costs its time, and no more.
    nodes[1].1.freeze();
    let begun = Instant::now();
    let page = get(&nodes[0].1, "/api/v1/clients?scope=cluster");
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    assert!(column(&page, "missing", "node").contains(&names[1]), "{page}");
    nodes[1].1.thaw();
    awaits("all answer again", 2 * PATIENCE, || {
        get(&nodes[0].1, "/api/v1/clients?scope=cluster")["missing"] == json!([])
    });
    nodes[2].1.kill();
    awaits("the dead are missing", 2 * PATIENCE, || {
        let (status, error) = nodes[0].1.call("GET", "/api/v1/clients/x?scope=cluster", "");
        assert_eq!(status, 404, "{error}");
        let page = get(&nodes[0].1, "/api/v1/clients?scope=cluster");
        let reasons = column(&page, "missing", "reason");
        error["error"].as_str().is_some_and(|text| text.contains(&names[2]))
            && reasons.len() == 1
            && reasons[0].starts_with("it is dead")
    });
}

/// The token for reading closes what others may read.
#[test]
fn reads_need_a_token_where_one_is_configured() {
    let file = std::env::temp_dir().join(format!("rumormq-read-token-{}", std::process::id()));
    std::fs::write(&file, "0123456789abcdef\n").expect("a writable folder");
    let path = file.to_str().expect("UTF-8");
    let node = Launch::new("n1").flag("--http-read-token-file", path).start();
    let get = |path: &str, token: Option<&str>| {
        let mut request = ureq::get(format!("http://{}{path}", node.http_addr()));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        match request.call() {
            Ok(answer) => answer.status().as_u16(),
            Err(ureq::Error::StatusCode(status)) => status,
            Err(error) => panic!("{error}"),
        }
    };
    let ask = |token| get("/api/v1/cluster", token);
    assert_eq!((ask(None), ask(Some("0123456789abcdef")), ask(Some("0123456789abcdeX"))), (401, 200, 401));
    assert_eq!(node.call("GET", "/readyz", "").0, 200);
    // The status page asks for the token; what it shows is behind it.
    let paths = ["/", "/api/v1/events", "/api/v1/events/stream", "/api/v1/stats"];
    assert_eq!(paths.map(|path| get(path, None)), [200, 401, 401, 401]);
    std::fs::remove_file(file).expect("it is there");
}
