//! Stamped sets: who wins, what is said about it, and what is tidied up.

use std::time::{Duration, Instant};

use rumormq_gossip::{Config, Event, MemberState, Message, Node, SetId, Stamp, Status, Winner, Written};

use crate::script::{RETAINED, ROUTES, SESSIONS, SETS, Script, replica};

const WALL_MS: u64 = 1_700_000_000_000;

impl Script {
    fn write(&mut self, at: &str, set: SetId, key: &str, value: &str) -> Written {
        let now = self.now;
        self.node(at).write(set, key.as_bytes(), value.as_bytes(), WALL_MS, now)
    }

    fn clear(&mut self, at: &str, set: SetId, key: &str) -> Written {
        let now = self.now;
        self.node(at).clear(set, key.as_bytes(), WALL_MS, now)
    }

    fn value(&self, at: &str, set: SetId, key: &str) -> Option<String> {
        let winner = self.nodes[at].winner(set, key.as_bytes())?;
        Some(String::from_utf8_lossy(winner.entry.value()?).into_owned())
    }

    /// Entries of a key in the lanes that a node has.
    fn entries(&self, at: &str, set: SetId) -> usize {
        self.nodes[at].elements(set, true).count()
    }

    /// What a node was told about winners: by whom the value is that counts, and by whom the one before was.
    fn told(&mut self, at: &str) -> Vec<(Option<String>, Option<String>)> {
        let name = |winner: &Winner| winner.replica.name.as_str().split('@').next().map(str::to_owned);
        let told = self.take_events(at).into_iter().filter_map(|event| match event {
            Event::Won { winner, replaced, .. } => Some((name(&winner), replaced.as_deref().and_then(name))),
            Event::Cleared { replaced, .. } => Some((None, name(&replaced))),
            _ => None,
        });
        told.collect()
    }
}

fn by(name: &str) -> Option<String> {
    Some(name.to_owned())
}

fn mesh() -> Script {
    mesh_with(Config::default())
}

fn mesh_with(config: Config) -> Script {
    let mut script = Script::with_config(&["a", "b", "c"], config);
    for (one, other) in [("a", "b"), ("a", "c"), ("b", "c")] {
        script.link(one, other);
    }
    script.observe_all_alive();
    script
}

#[test]
fn who_loses_a_key_to_another_is_told_once_and_removes_his_own() {
    let mut script = mesh();
    let first = script.write("a", SESSIONS, "x", "1");
    assert_eq!(first.replaced, None);
    script.pump();
    assert_eq!(script.told("b"), [(by("a"), None)]);
    let second = script.write("b", SESSIONS, "x", "2");
    assert!(second.stamp > first.stamp);
    assert_eq!(second.replaced.map(|winner| winner.replica), Some(script.me("a")));
    script.pump();
    assert_eq!(script.told("a"), [(by("b"), by("a"))]);
    assert_eq!(script.told("c"), [(by("a"), None), (by("b"), by("a"))]);
    script.pass(Duration::from_secs(3), &[]);
    for at in ["a", "b", "c"] {
        assert_eq!(script.value(at, SESSIONS, "x").as_deref(), Some("2"));
        assert_eq!(script.entries(at, SESSIONS), 1, "the beaten one is gone");
        assert_eq!(script.told(at), [], "and nobody needs to know");
        assert_eq!(script.nodes[at].winner_count(SESSIONS), 1);
    }
}

#[test]
fn writes_on_both_sides_of_a_cut_meet_in_the_later_one() {
    let mut script = mesh();
    script.unlink("a", "b");
    script.unlink("b", "c");
    script.write("a", RETAINED, "x", "old");
    script.write("b", RETAINED, "x", "older");
    script.write("b", RETAINED, "x", "new");
    script.pump();
    assert_eq!(script.value("c", RETAINED, "x").as_deref(), Some("old"));
    script.link("a", "b");
    script.link("b", "c");
    script.pass(Duration::from_secs(3), &[]);
    for at in ["a", "b", "c"] {
        assert_eq!(script.value(at, RETAINED, "x").as_deref(), Some("new"));
        assert_eq!(script.entries(at, RETAINED), 1);
    }
    assert_eq!(script.told("a"), [(by("b"), by("a"))]);
    assert_eq!(script.told("b"), [], "it had what counts");
}

#[test]
fn a_clock_ahead_is_absorbed_and_shows() {
    let mut script = mesh();
    let now = script.now;
    let ahead = script.node("a").write(RETAINED, b"x", b"1", WALL_MS + 3_600_000, now);
    script.pump();
    let later = script.write("b", RETAINED, "x", "2");
    assert!(later.stamp > ahead.stamp);
    script.pump();
    assert_eq!(script.value("a", RETAINED, "x").as_deref(), Some("2"));
    assert_eq!(script.nodes["c"].stamps_ahead_ms(WALL_MS), 3_600_000);
    assert_eq!(script.nodes["a"].stamps_ahead_ms(WALL_MS + 3_600_000), 0);
}

#[test]
fn a_clock_far_ahead_is_outdone_and_not_followed() {
    const YEAR_MS: u64 = 365 * 24 * 3_600_000;
    let mut script = mesh();
    for node in script.nodes.values_mut() {
        node.handle_wall_clock(WALL_MS);
    }
    let now = script.now;
    let ahead = script.node("a").write(RETAINED, b"x", b"1", WALL_MS + YEAR_MS, now);
    script.pump();
    let other = script.write("b", RETAINED, "y", "1");
    assert_eq!(other.stamp.ms(), WALL_MS, "it goes by its own clock");
    let later = script.write("b", RETAINED, "x", "2");
    assert!(later.stamp > ahead.stamp);
    script.pump();
    for at in ["a", "b", "c"] {
        assert_eq!(script.value(at, RETAINED, "x").as_deref(), Some("2"));
    }
    script.clear("c", RETAINED, "x");
    script.pump();
    assert_eq!(script.value("a", RETAINED, "x"), None);
    assert_eq!(script.nodes["c"].stamps_ahead_ms(WALL_MS), 0);
}

#[test]
fn what_was_cleared_stays_so_until_its_time_is_over() {
    let times = (Duration::from_secs(2), Duration::from_secs(4));
    let mut script = mesh_with(Config { forget_after: times.0, tombstone_ttl: times.1, ..Config::default() });
    script.write("a", RETAINED, "x", "1");
    script.pump();
    script.unlink("a", "c");
    script.unlink("b", "c");
    let cleared = script.clear("b", RETAINED, "x");
    assert_eq!(cleared.replaced.map(|winner| winner.replica), Some(script.me("a")));
    script.pump();
    assert_eq!(script.value("a", RETAINED, "x"), None);
    assert_eq!(script.told("a"), [(None, by("a"))]);
    assert_eq!(script.told("b"), [(by("a"), None)]);
    assert_eq!(script.nodes["b"].tombstone_count(RETAINED), 1);

    // Who was away has the value still, and loses it.
    assert_eq!(script.value("c", RETAINED, "x").as_deref(), Some("1"));
    script.link("a", "c");
    script.link("b", "c");
    script.pass(Duration::from_secs(2), &[]);
    assert_eq!(script.told("c"), [(by("a"), None), (None, by("a"))]);
    script.pass(Duration::from_secs(3), &[]);
    for at in ["a", "b", "c"] {
        assert_eq!(script.value(at, RETAINED, "x"), None);
        assert_eq!(script.entries(at, RETAINED), 0, "nothing is left of it");
        assert_eq!(script.nodes[at].tombstone_count(RETAINED), 0);
        assert_eq!(script.told(at), []);
    }
}

#[test]
fn too_many_tombstones_go_early_and_are_counted() {
    let mut script = mesh_with(Config { max_tombstones: 10, ..Config::default() });
    for n in 0..30 {
        script.clear("a", RETAINED, &format!("topic/{n}"));
    }
    script.pass(Duration::from_secs(1), &[]);
    assert_eq!(script.nodes["a"].tombstone_count(RETAINED), 10);
    assert_eq!(script.nodes["a"].counters().tombstones_early, 20);
    assert_eq!(script.entries("c", RETAINED), 10);
    assert!(script.nodes["c"].latest(RETAINED, b"topic/29").is_some(), "the oldest went first");
}

#[test]
fn what_is_retired_is_remembered_until_everybody_knows() {
    let mut script = mesh();
    script.write("a", SESSIONS, "x", "old");
    script.pump();
    script.unlink("a", "b");
    script.unlink("a", "c");
    script.write("b", SESSIONS, "x", "new");
    script.pump();
    let now = script.now;
    assert_eq!(script.node("c").retire(SESSIONS, b"x", WALL_MS, now), None, "it is not its own");
    let retired = script.node("b").retire_saying(SESSIONS, b"x", b"over", WALL_MS, now).expect("is its own");
    assert_eq!(retired.replaced.map(|winner| winner.replica), Some(script.me("b")));
    script.pass(Duration::from_secs(30), &["a"]);
    assert_eq!(script.value("c", SESSIONS, "x"), None);
    assert_eq!(script.nodes["b"].tombstone_count(SESSIONS), 1, "one does not know yet");

    script.link("a", "b");
    script.link("a", "c");
    script.pump();
    let latest = script.nodes["a"].latest(SESSIONS, b"x").expect("its end is known");
    assert_eq!((latest.entry.value(), latest.entry.remark()), (None, &b"over"[..]));
    script.pass(Duration::from_secs(10), &[]);
    for at in ["a", "b", "c"] {
        assert_eq!(script.value(at, SESSIONS, "x"), None, "the older claim does not come back");
        assert_eq!(script.entries(at, SESSIONS), 0);
    }
    assert_eq!(script.told("a"), [(None, by("a"))]);
}

#[test]
fn the_dead_keep_their_say_and_the_gone_leave_it_to_others() {
    let mut script = mesh();
    script.write("a", RETAINED, "x", "1");
    let cleared = script.clear("a", RETAINED, "y");
    script.write("a", SESSIONS, "client", "1");
    script.pump();
    let written = script.nodes["b"].winner(RETAINED, b"x").expect("has come").entry.stamp();
    script.told("b");
    let a = script.me("a");
    script.unlink("a", "b");
    script.unlink("a", "c");
    script.observe("b", &a, false, Status::Running);
    script.observe("c", &a, false, Status::Running);
    script.pass(Duration::from_secs(2), &["a"]);
    assert_eq!(script.nodes["b"].member_state(&a), Some(MemberState::Dead));
    assert!(!script.nodes["b"].is_visible(&a));
    assert_eq!(script.value("b", RETAINED, "x").as_deref(), Some("1"));
    assert_eq!(script.value("b", SESSIONS, "client").as_deref(), Some("1"));

    script.observe("b", &a, false, Status::Left);
    assert_eq!(script.nodes["b"].winner(RETAINED, b"x").map(|winner| winner.orphan), Some(true));
    assert_eq!(script.told("b"), [(None, by("a"))], "of the session: its claim has gone");
    script.observe("c", &a, false, Status::Left);
    script.pass(Duration::from_secs(8), &["a"]);
    for at in ["b", "c"] {
        let winner = script.nodes[at].winner(RETAINED, b"x").expect("has been taken over");
        assert_eq!((winner.replica, winner.entry.stamp(), winner.orphan), (a.clone(), written, false));
        let tombstone = script.nodes[at].latest(RETAINED, b"y").expect("is remembered");
        assert_eq!((tombstone.entry.value(), tombstone.entry.stamp()), (None, cleared.stamp));
        assert_eq!(script.nodes[at].orphan_count(RETAINED), 0);
        assert_eq!(script.entries(at, RETAINED), 2, "each by one of them");
        assert_eq!(script.value(at, SESSIONS, "client"), None);
    }
    assert_eq!(script.told("b"), []);
}

#[test]
fn a_node_that_restarts_with_its_data_has_its_stamps() {
    let mut script = mesh();
    let written = script.write("a", RETAINED, "x", "1");
    let cleared = script.clear("a", RETAINED, "y");
    script.pump();
    script.told("b");
    script.unlink("a", "b");
    script.unlink("a", "c");
    script.nodes.remove("a");
    let now = script.now;
    let mut restarted = Node::new(Config::default(), replica("a", 2), &SETS, now);
    assert!(restarted.restore(RETAINED, b"x", Some(b"1"), written.stamp, now).is_some());
    assert!(restarted.restore(RETAINED, b"y", None, cleared.stamp, now).is_some());
    assert_eq!(restarted.restore(RETAINED, b"y", Some(b"0"), Stamp::at_ms(1), now), None, "is older");
    assert!(restarted.write(RETAINED, b"x", b"2", 1, now).stamp > written.stamp, "its clock went back");
    script.nodes.insert("a", restarted);
    script.link("a", "b");
    script.link("a", "c");
    script.pass(Duration::from_secs(5), &[]);
    for at in ["a", "b", "c"] {
        assert_eq!(script.value(at, RETAINED, "x").as_deref(), Some("2"));
        assert_eq!(script.entries(at, RETAINED), 2, "a value and a tombstone");
    }
}

/// Whoever waits for an acknowledgement has, when it counts, what its sender had written before it.
#[test]
fn an_acknowledgement_does_not_overtake_what_was_written_before_it() {
    let mut script = mesh();
    script.write("a", RETAINED, "x", "1");
    // It is lost on the way.
    while let Some((_, message)) = script.node("a").poll_transmit() {
        assert!(matches!(message, Message::Delta(_)));
    }
    let (route, now) = (script.insert("b", "filter"), script.now);
    script.node("b").await_settled(ROUTES, route, now);
    script.pump();
    assert!(script.nodes["a"].applied(ROUTES, &replica("b", 1)).is_some_and(|head| head.seq == route));
    assert_eq!(script.settled("b"), [], "the acknowledgement has come, the message not");
    assert_eq!(script.value("b", RETAINED, "x"), None);
    script.pass(Duration::from_secs(2), &[]);
    let events = script.take_events("b");
    let at = |wanted: fn(&Event) -> bool| events.iter().position(wanted).expect("has happened");
    let (won, settled) =
        (at(|event| matches!(event, Event::Won { .. })), at(|event| matches!(event, Event::Settled { .. })));
    assert!(won < settled);
}

#[test]
fn a_change_of_a_stamped_set_settles_and_names_who_missed_it() {
    let mut script = mesh();
    let written = script.write("a", SESSIONS, "x", "1");
    let now = script.now;
    script.node("a").await_settled(SESSIONS, written.seq, now);
    script.pump();
    assert_eq!(script.settled("a"), [(written.seq, vec![])]);
    script.pass(Duration::from_secs(2), &["c"]);
    script.take_events("a");
    let (written, now) = (script.write("a", SESSIONS, "x", "2"), script.now);
    script.node("a").await_settled(SESSIONS, written.seq, now);
    script.pass(Duration::from_millis(700), &["c"]);
    assert_eq!(script.settled("a"), [(written.seq, vec![replica("c", 1)])]);
}

#[test]
fn a_burst_of_writes_is_collected() {
    let mut script = mesh();
    script.sent.clear();
    for n in 0..1000 {
        script.write("a", RETAINED, &format!("topic/{n}"), "1");
        if n % 10 == 0 {
            script.now += Duration::from_micros(100);
        }
    }
    script.pass(Duration::from_millis(200), &[]);
    let deltas = script.nodes["a"].counters().delta_sent;
    assert!(deltas < 30, "{deltas} deltas for 1000 writes to two peers");
    assert_eq!(script.nodes["c"].winner_count(RETAINED), 1000);
}

/// The largest packet that a client may send is one element, and travels alone.
#[test]
fn elements_of_fifteen_megabytes_pass() {
    let mut script = mesh();
    let large = vec![7; 15 << 20];
    let now = script.now;
    for n in 0..3u8 {
        script.node("a").write(RETAINED, &[n], &large, WALL_MS, now);
    }
    script.write("a", RETAINED, "small", "1");
    script.pass(Duration::from_secs(3), &[]);
    for at in ["b", "c"] {
        assert_eq!(script.nodes[at].winner_count(RETAINED), 4);
        let winner = script.nodes[at].winner(RETAINED, &[2]).expect("has come");
        assert_eq!(winner.entry.value().map(<[u8]>::len), Some(large.len()));
    }
    let longest = script.sent.iter().map(|(_, len)| *len).max();
    assert!(longest.is_some_and(|len| len < 16 << 20), "one at a time, within a frame: {longest:?}");
}

#[test]
fn pages_are_in_order() {
    let mut script = mesh();
    for n in [3, 1, 4, 15, 9, 2, 6] {
        script.write("a", RETAINED, &format!("t/{n:02}"), "1");
    }
    script.write("b", RETAINED, "other", "1");
    script.pump();
    script.clear("c", RETAINED, "t/04");
    let page = |after: Option<&str>, limit| {
        let page = script.nodes["c"].winners_page(RETAINED, b"t/", after.map(str::as_bytes), limit);
        let keys = page.iter().map(|winner| String::from_utf8_lossy(winner.entry.key()).into_owned());
        keys.collect::<Vec<_>>()
    };
    assert_eq!(page(None, 3), ["t/01", "t/02", "t/03"]);
    assert_eq!(page(Some("t/03"), 3), ["t/06", "t/09", "t/15"]);
    assert_eq!(page(Some("t/15"), 3), [""; 0]);
    assert_eq!(page(None, 0), [""; 0]);
}

#[test]
#[should_panic(expected = "tombstone_ttl must exceed forget_after")]
fn tombstones_must_outlive_an_absence() {
    let hour = Duration::from_secs(3600);
    let config = Config { forget_after: hour, tombstone_ttl: hour, ..Config::default() };
    Node::new(config, replica("a", 1), &SETS, Instant::now());
}
