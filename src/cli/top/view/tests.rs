use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::super::model::Key;
use super::*;
use crate::admin::view::{Missing, NodeStats, PeerStats, StatsView};

fn peer(node: &str, link: LinkKind) -> PeerStats {
    PeerStats {
        node: node.to_owned(),
        state: MemberState::Alive,
        link,
        via: (link == LinkKind::Relayed).then(|| "n2@host".to_owned()),
        rtt_ms: (link == LinkKind::Direct).then_some(0.34),
        lag_ops: 0,
        lag_seconds: 0.0,
        unacked: 0,
        unacked_bytes: 0,
        oldest_seconds: 0.0,
        sent_total: 0,
        received_total: 0,
        dropped_total: 0,
    }
}

fn node(name: &str, secs: u64, peers: Vec<PeerStats>) -> NodeStats {
    NodeStats {
        node: name.to_owned(),
        uptime_seconds: secs as f64,
        converged: true,
        connections: 12_000,
        received_total: [1500 * secs, 0, 0],
        delivered_total: [0, 2_500_000 * secs, 0],
        peers,
        ..NodeStats::default()
    }
}

/// Of four nodes, the first and the third reach each other through the second; the fourth is dead.
fn stats(secs: u64) -> StatsView {
    let behind = PeerStats { lag_ops: 5, lag_seconds: 1.25, ..peer("n3@host", LinkKind::Relayed) };
    let dead = PeerStats {
        state: MemberState::Dead,
        unacked: 7,
        unacked_bytes: 70_000,
        oldest_seconds: 12.0,
        ..peer("n4@host", LinkKind::None)
    };
    let first = vec![peer("n2@host", LinkKind::Direct), behind, dead];
    let second = vec![
        peer("n1@host", LinkKind::Direct),
        peer("n3@host", LinkKind::Direct),
        peer("n4@host", LinkKind::Direct),
    ];
    let missing = Missing { node: "n4@host".to_owned(), reason: "it is dead".to_owned() };
    StatsView {
        nodes: vec![node("n1@host", secs, first), node("n2@host", secs, second)],
        missing: vec![missing],
    }
}

fn model() -> Model {
    let mut model = Model::new("http://127.0.0.1:18083".to_owned());
    model.handle_stats(stats(10));
    model.handle_stats(stats(12));
    model
}

/// What a terminal of this size shows, line by line.
fn screen(model: &mut Model, now: Instant, (width, height): (u16, u16)) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("memory");
    terminal.draw(|frame| draw(frame, model, now)).expect("memory");
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

fn shows(lines: &[String], words: &[&str]) {
    let found = lines.iter().any(|line| {
        let mut rest = line.as_str();
        words.iter().all(|word| match rest.split_once(word) {
            Some((_, behind)) => {
                rest = behind;
                true
            }
            None => false,
        })
    });
    assert!(found, "{words:?} in\n{}", lines.join("\n"));
}

const USUAL: (u16, u16) = (80, 24);

#[test]
fn the_overview_fits_the_usual_terminal() {
    let lines = screen(&mut model(), Instant::now(), USUAL);
    assert_eq!(lines[0], "RumorMQ as told by http://127.0.0.1:18083");
    assert_eq!(lines[1], "4 nodes, converged, 1 without answer");
    assert!(lines[2].starts_with(" 1 Overview   2 Links   3 Convergence   4 Buffers"), "{}", lines[2]);
    shows(&lines, &["NODE", "STATE", "CLIENTS", "IN/S", "OUT/S", "DROP/S", "BUFFER", "LAG", "CONV"]);
    shows(&lines, &["n1@host", "alive", "12k", "1.5k", "2.5M", "0", "70kB", "1.2s", "yes"]);
    shows(&lines, &["n3@host", "alive", "silent"]);
    shows(&lines, &["n4@host", "dead 1/2", "silent"]);
    shows(&lines, &["all: 3.0k in/s", "5.0M out/s", "24k clients", "0 sessions, 0 queued"]);
    shows(&lines, &["n4@host: it is dead"]);
    assert!(lines[23].starts_with("q quit"), "{}", lines[23]);
}

#[test]
fn the_matrices_say_what_each_says_of_each() {
    let mut model = model();
    model.handle_key(Key::Pane(1));
    let lines = screen(&mut model, Instant::now(), USUAL);
    shows(&lines, &["1", "2", "3", "4"]);
    shows(&lines, &["1 n1@host", "·", "0.3", ">2", "--"]);
    shows(&lines, &["2 n2@host", "0.3", "·", "0.3", "0.3"]);
    shows(&lines, &["3 n3@host", "?", "?", "·", "?"]);
    model.handle_key(Key::Next);
    let lines = screen(&mut model, Instant::now(), USUAL);
    shows(&lines, &["1 n1@host", "·", "ok", "5 1.2s", "dead"]);
    model.handle_key(Key::Next);
    let lines = screen(&mut model, Instant::now(), USUAL);
    shows(&lines, &["n1@host", "n4@host", "7", "70kB", "12s", "0"]);
}

#[test]
fn a_node_that_is_away_is_said_to_be_and_what_it_said_stays() {
    let (mut model, now) = (model(), Instant::now());
    model.handle_failure("no answer from http://127.0.0.1:18083".to_owned(), now);
    let lines = screen(&mut model, now + Duration::from_secs(7), USUAL);
    assert_eq!(lines[1], "no answer for 7 s: no answer from http://127.0.0.1:18083");
    shows(&lines, &["n1@host", "alive"]);
    let lines = screen(&mut Model::new("x".to_owned()), now, USUAL);
    shows(&lines, &["waiting for the first answer"]);
}

#[test]
fn hundreds_of_nodes_are_scrolled_through() {
    let mut model = Model::new(String::new());
    let names: Vec<String> = (0..300).map(|i| format!("n{i:03}@host")).collect();
    let peers =
        |own: &String| names.iter().filter(|it| *it != own).map(|it| peer(it, LinkKind::Direct)).collect();
    let nodes = names.iter().map(|name| node(name, 1, peers(name))).collect();
    model.handle_stats(StatsView { nodes, missing: Vec::new() });
    for pane in 0..4 {
        model.handle_key(Key::Pane(pane));
        shows(&screen(&mut model, Instant::now(), USUAL), &["n000@host"]);
        model.handle_key(Key::Down(usize::MAX));
        (0..1000).for_each(|_| model.handle_key(Key::Right));
        let lines = screen(&mut model, Instant::now(), USUAL);
        shows(&lines, &["n299@host"]);
        assert!(model.row < 300 * 299);
    }
}

/// However small it is, and whatever there is to see, drawing does not fail.
#[test]
fn any_size_will_do() {
    let mut model = model();
    for pane in 0..4 {
        model.handle_key(Key::Pane(pane));
        for size in [(1, 1), (5, 3), (20, 5), (40, 10), (300, 100)] {
            screen(&mut model, Instant::now(), size);
        }
    }
}

#[test]
fn numbers_are_short() {
    for (number, text) in [
        (0.0, "0"),
        (0.4, "0.4"),
        (7.0, "7"),
        (999.4, "999"),
        (1000.0, "1.0k"),
        (12_345.0, "12k"),
        (5.5e6, "5.5M"),
    ] {
        assert_eq!(short(number), text);
    }
    assert_eq!(
        (seconds(0.0), seconds(1.25), seconds(75.0), seconds(1200.0)),
        ("-".into(), "1.2s".into(), "75s".into(), "20m".into())
    );
}
