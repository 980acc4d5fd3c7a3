//! What the status page shows in a browser, held against what the API says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rumormq::codec::packet::Packet;
use serde_json::{Value, json};

use crate::browser::{self, Browser};
use crate::processes::netns::Network;
use crate::processes::{self, Launch, Process};
use crate::support::client::{Client, Q0, Q1, connect, lasting, options, publish};

/// How long the page may take to show what is so.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the page says: of this node, of each member in the table and in the picture, and of each pair.
const SHOWN: &str = "({
    node: document.getElementById('node').textContent,
    converged: document.body.dataset.converged === 'true',
    members: Array.from(document.querySelectorAll('#members tbody tr'), row =>
        Object.fromEntries(Array.from(row.cells, cell => [cell.dataset.field, cell.textContent]))),
    drawn: Array.from(document.querySelectorAll('#ring a'), link => [link.dataset.name, link.dataset.state]),
})";

/// What it should say.
fn expected(cluster: &Value) -> Value {
    let text = |value: &Value| value.as_u64().map_or("–".to_owned(), |number| number.to_string());
    let members = cluster["members"].as_array().expect("members");
    let rows = members.iter().map(|member| {
        let link = member["link"].as_str().expect("a word");
        let via = member["via"].as_str().and_then(|via| via.split('@').next());
        json!({
            "name": member["name"],
            "state": member["state"],
            "link": via.map_or(link.to_owned(), |via| format!("{link} via {via}")),
            "routes": text(&member["routes"]),
            "applied": text(&member["applied"]["seq"]),
            "head": text(&member["head"]["seq"]),
            "hash": member["applied"]["hash"].as_str().map_or("–", |hash| &hash[..8]),
        })
    });
    json!({
        "node": cluster["node"],
        "converged": cluster["converged"],
        "members": rows.collect::<Vec<_>>(),
        "drawn": members.iter().map(|member| json!([member["name"], member["state"]])).collect::<Vec<_>>(),
    })
}

/// Waits until the page shows what the node says, and this is as `is_so` wants it.
#[track_caller]
fn await_shown(browser: &mut Browser, node: &Process, what: &str, is_so: impl Fn(&Value) -> bool) {
    let began = Instant::now();
    loop {
        let cluster: Value = serde_json::from_str(&node.page("/api/v1/cluster")).expect("JSON");
        let mut shown = browser.evaluate(SHOWN);
        for row in shown["members"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            // These change all the time.
            row.retain(|field, _| !["rtt_ms", "lag"].contains(&field.as_str()));
        }
        if is_so(&cluster) && shown == expected(&cluster) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: the page shows\n{shown}\nand the node says\n{cluster}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until this expression is true in the page.
#[track_caller]
fn await_true(browser: &mut Browser, expression: &str) {
    processes::awaits(expression, PATIENCE, || browser.evaluate(expression) == true);
}

/// A client that publishes all the time, until this is dropped.
struct Load(Arc<AtomicBool>, Option<JoinHandle<()>>);

impl Load {
    fn start(node: &Process) -> Load {
        let mut client = node.beside(|| Client::connect(node.mqtt_addr(), connect("load")));
        let ends = Arc::new(AtomicBool::new(false));
        let ended = ends.clone();
        let task = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                for _ in 0..10 {
                    client.sends(Packet::Publish(publish(1, Q0, "load/x", "some payload")));
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        Load(ends, Some(task))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        let _ = self.1.take().map(JoinHandle::join);
    }
}

/// Keeps a picture of the page where the environment asks for one.
fn keep_picture(browser: &mut Browser) {
    let Ok(file) = std::env::var("PICTURE") else { return };
    let height = browser.evaluate("document.documentElement.scrollHeight");
    let size = json!({"width": 1120, "height": height, "deviceScaleFactor": 1, "mobile": false});
    browser.call("Emulation.setDeviceMetricsOverride", size);
    let picture =
        browser.call("Page.captureScreenshot", json!({"format": "png", "captureBeyondViewport": true}));
    let picture = BASE64_STANDARD.decode(picture["data"].as_str().expect("Base64")).expect("Base64");
    std::fs::write(file, picture).expect("a place for it");
    browser.call("Emulation.clearDeviceMetricsOverride", json!({}));
}

#[test]
fn the_status_page_shows_what_the_node_says_through_a_partition_and_its_heal() {
    if !browser::is_there() {
        return;
    }
    let Some(network) = Network::new() else { return };
    let hosts = [network.host(), network.host(), network.host()];
    let mut nodes: Vec<Process> = Vec::new();
    for (number, host) in hosts.iter().enumerate() {
        let launch = Launch::within(host, &format!("n{}", number + 1)).cookie("a cookie for a test");
        let launch = nodes.first().map_or(launch.clone(), |first| launch.join(first.cluster_addr()));
        nodes.push(launch.start());
    }
    let all: Vec<&Process> = nodes.iter().collect();
    processes::await_converged(&all);
    let [n1, n2, n3] = [&nodes[0], &nodes[1], &nodes[2]];
    let client =
        |node: &Process, id: &str| node.beside(|| Client::connect(node.mqtt_addr(), lasting(id, 600)));
    let mut subscribers = [client(n1, "one"), client(n2, "two"), client(n3, "three")];
    subscribers[0].subscribes(&[("a/#", options(Q1)), ("b", options(Q0))], "0x01 0x00");
    subscribers[1].subscribes(&[("load/#", options(Q0))], "0x00");
    subscribers[2].subscribes(&[("kept/#", options(Q1))], "0x01");
    let _load = Load::start(n1);

    let mut browser = Browser::start("partition", Some(&hosts[0]));
    browser.open(&format!("http://{}/", n1.http_addr()));
    let counts = |view: &Value, field: &str, value: &str| {
        view["members"].as_array().expect("members").iter().filter(|member| member[field] == value).count()
    };
    let is_whole = |view: &Value| counts(view, "link", "direct") == 2 && view["converged"] == true;
    await_shown(&mut browser, n1, "before", is_whole);
    let pair = |from: &Process, to: &Process, kind: &str| {
        format!(
            "document.querySelector('#ring line[data-from=\"{}\"][data-to=\"{}\"]')?.classList.contains('{kind}') === true",
            from.name(),
            to.name()
        )
    };
    for (from, to) in [(n1, n2), (n1, n3), (n2, n3)] {
        await_true(&mut browser, &pair(from, to, "direct"));
    }
    await_true(&mut browser, "document.getElementById('badge').textContent === 'converged'");
    await_true(
        &mut browser,
        "parseFloat(document.querySelector('#rates td[data-field=received]').textContent) > 0",
    );

    hosts[2].isolate();
    let mut publisher = client(n1, "publisher");
    await_shown(&mut browser, n1, "parted", |view| {
        counts(view, "state", "dead") == 1 && counts(view, "link", "none") == 1
    });
    await_true(&mut browser, &pair(n1, n3, "none"));
    await_true(&mut browser, &pair(n2, n3, "none"));
    await_true(&mut browser, &pair(n1, n2, "direct"));
    for id in 1..=5 {
        publisher.sends(Packet::Publish(publish(id, Q1, "kept/x", "for later")));
    }
    let event = |node: &Process, text: &str| {
        format!(
            "Array.from(document.querySelectorAll('#events tbody tr')).some(row => row.textContent.includes('{}') && row.textContent.includes('{text}'))",
            node.name()
        )
    };
    await_true(&mut browser, &event(n3, "is dead"));
    await_true(&mut browser, &event(n3, "link lost"));
    // What the page says waits is what the node says waits.
    await_true(
        &mut browser,
        "document.querySelector('#buffers td[data-field=unacked]')?.textContent === '5'",
    );
    await_true(&mut browser, "document.getElementById('badge').textContent.includes('missing')");
    keep_picture(&mut browser);

    // Readable on a phone: nothing but tables in their frames is wider than the screen.
    let phone = json!({"width": 360, "height": 700, "deviceScaleFactor": 1, "mobile": true});
    browser.call("Emulation.setDeviceMetricsOverride", phone);
    assert_eq!(browser.evaluate("document.documentElement.scrollWidth <= 360"), true);
    browser.call("Emulation.clearDeviceMetricsOverride", json!({}));

    hosts[2].heal();
    await_shown(&mut browser, n1, "healed", is_whole);
    for (from, to) in [(n1, n2), (n1, n3), (n2, n3)] {
        await_true(&mut browser, &pair(from, to, "direct"));
    }
    // It may have been suspect in between.
    let last_of_member = format!(
        "Array.from(document.querySelectorAll('#events tbody tr')).find(row => row.cells[1].textContent === 'member' && row.cells[2].textContent === '{}')?.cells[3].textContent.startsWith('is alive, was ')",
        n3.name()
    );
    await_true(&mut browser, &last_of_member);
    await_true(&mut browser, "document.getElementById('no-buffers').hidden === false");

    hosts[0].separate(&hosts[1]);
    await_shown(&mut browser, n1, "through a third", |view| counts(view, "link", "relayed") == 1);
    await_true(&mut browser, &pair(n1, n2, "relayed"));
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn the_status_page_asks_for_the_token_and_tells_when_the_node_stops() {
    if !browser::is_there() {
        return;
    }
    let file = std::env::temp_dir().join(format!("rumormq-page-token-{}", std::process::id()));
    std::fs::write(&file, "0123456789abcdef\n").expect("a writable folder");
    let node = Launch::new("n1").flag("--http-read-token-file", file.to_str().expect("UTF-8")).start();
    let mut browser = Browser::start("token", None);
    browser.open(&format!("http://{}/", node.http_addr()));
    await_true(&mut browser, "document.activeElement === document.getElementById('token')");
    let give = |token: &str| {
        format!(
            "document.getElementById('token').value = '{token}'; document.getElementById('ask').requestSubmit()"
        )
    };
    browser.evaluate(&give("not this one"));
    await_true(&mut browser, "document.getElementById('trouble').textContent.includes('neither')");
    browser.evaluate(&give("0123456789abcdef"));
    await_true(&mut browser, "document.getElementById('badge').textContent === 'converged'");
    await_true(
        &mut browser,
        "document.getElementById('ask').hidden && document.getElementById('trouble').hidden",
    );
    await_true(&mut browser, "document.getElementById('events').textContent.includes('ready for clients')");
    node.terminate();
    await_true(&mut browser, "document.getElementById('badge').textContent === 'node stopped'");
    std::fs::remove_file(file).expect("it is there");
}
