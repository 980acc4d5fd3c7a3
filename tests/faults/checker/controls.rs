//! Negative controls: whatever a rule is there for is caught when it happens, and what excuses is not taken for more.

use super::agreement::{Shown, differences};
use super::{Promises, Verdict, check};
use crate::history::{
    Acked, ClientNumber, Connected, Connection, Delivered, Disconnected, Ending, Event, Fault, FaultKind,
    History, MessageId, Moment, Node, Published, RoutesShown, Sent, Subscribed, Unsubscribed,
};

const SECOND: Moment = 1_000_000;
const PUBLISHER: ClientNumber = 0;
const SUBSCRIBER: ClientNumber = 1;
const OTHER: ClientNumber = 2;

/// A history in the making. Times are in seconds; each connection has the number of its client, plus ten for each one before.
struct Tale(History);

/// A publisher on the first node, and a subscriber on the second that has `filter` at QoS 2 since the second second.
fn tale(filter: &str) -> Tale {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let mut tale = Tale(History {
        seed: 0,
        nodes: names(&["n1", "n2", "n3"]),
        clients: names(&["publisher", "subscriber", "other"]),
        events: Vec::new(),
    });
    tale.connects(PUBLISHER, 0, 1).connects(SUBSCRIBER, 1, 1).subscribes(SUBSCRIBER, 1, filter, 2);
    tale
}

impl Tale {
    fn connects(&mut self, client: ClientNumber, node: Node, at: u64) -> &mut Tale {
        self.connects_as(client, client as Connection, node, at, false)
    }

    fn connects_as(
        &mut self,
        client: ClientNumber,
        connection: Connection,
        node: Node,
        at: u64,
        session_present: bool,
    ) -> &mut Tale {
        let at = at * SECOND;
        let (clean_start, lasting, asked_at) = (false, true, at);
        let connected =
            Connected { client, connection, node, clean_start, lasting, session_present, asked_at, at };
        self.tells(Event::Connected(connected))
    }

    fn loses(&mut self, client: ClientNumber, node: Node, why: Ending, at: u64) -> &mut Tale {
        let connection = client as Connection;
        self.tells(Event::Disconnected(Disconnected { client, connection, node, why, at: at * SECOND }))
    }

    fn subscribes(&mut self, client: ClientNumber, node: Node, filter: &str, at: u64) -> &mut Tale {
        self.subscribes_as(client, node, filter, at, false)
    }

    fn subscribes_as(
        &mut self,
        client: ClientNumber,
        node: Node,
        filter: &str,
        at: u64,
        unconfirmed: bool,
    ) -> &mut Tale {
        let (filter, at) = (filter.to_owned(), at * SECOND);
        let connection = client as Connection;
        let subscribed =
            Subscribed { client, connection, node, filter, qos: 2, asked_at: at, at: Some(at), unconfirmed };
        self.tells(Event::Subscribed(subscribed))
    }

    /// To `a/b`, on the first node.
    fn publishes(&mut self, counter: u64, qos: u8, at: u64) -> &mut Tale {
        let (connection, node, sent_at) = (PUBLISHER as Connection, 0, at * SECOND + counter);
        let acked = (qos > 0).then(|| Acked { connection, node, at: sent_at + 1000, reason: 0 });
        self.tells(Event::Published(Published {
            id: MessageId { publisher: PUBLISHER, counter },
            topic: "a/b".to_owned(),
            qos,
            retain: false,
            sent: vec![Sent { connection, node, at: sent_at }],
            acked,
        }))
    }

    fn gets(&mut self, client: ClientNumber, counter: u64, qos: u8, at: u64) -> &mut Tale {
        self.tells(Event::Delivered(Delivered {
            client,
            connection: client as Connection,
            node: 1,
            id: Some(MessageId { publisher: PUBLISHER, counter }),
            topic: "a/b".to_owned(),
            qos,
            dup: false,
            retained: false,
            at: at * SECOND + counter,
        }))
    }

    fn suffers(&mut self, kind: FaultKind, from: u64, until: Option<u64>) -> &mut Tale {
        let until = until.map(|until| until * SECOND);
        self.tells(Event::Fault(Fault { kind, from: from * SECOND, until }))
    }

    fn tells(&mut self, event: Event) -> &mut Tale {
        self.0.events.push(event);
        self
    }

    fn verdict(&self) -> Verdict {
        check(&self.0, &Promises { no_disconnects: true, no_exemptions: false })
    }

    /// Exactly this is wrong, once.
    #[track_caller]
    fn is_caught(&self, kind: &str) {
        let verdict = self.verdict();
        assert_eq!((verdict.count(kind), verdict.violations.len()), (1, 1), "{verdict}");
    }

    #[track_caller]
    fn is_kept(&self) -> Verdict {
        let verdict = self.verdict();
        assert!(verdict.is_kept(), "{verdict}");
        verdict
    }
}

const OWED: &str = "what is owed is delivered";
const ONCE: &str = "QoS 2 and QoS 0 come once";
const PUBLISHED: &str = "what comes was published";
const WANTED: &str = "what comes is wanted";

#[test]
fn what_is_as_it_should_be_is_green() {
    let mut tale = tale("a/+");
    for counter in 1..=3 {
        tale.publishes(counter, 2, 3).gets(SUBSCRIBER, counter, 2, 3);
    }
    let verdict = tale.is_kept();
    assert_eq!((verdict.owed, verdict.exempt.len(), verdict.not_owed.len()), (3, 0, 0));
}

#[test]
fn a_lost_message_is_caught() {
    for qos in [1, 2] {
        tale("a/+").publishes(1, qos, 3).is_caught(OWED);
    }
    // Nobody promises these.
    tale("a/+").publishes(1, 0, 3).is_kept();
    tale("a/c").publishes(1, 2, 3).is_kept();
    tale("a/+").publishes(1, 2, 1).is_kept();
}

#[test]
fn a_message_that_was_not_acknowledged_may_come_or_not() {
    let mut tale = tale("a/+");
    tale.publishes(1, 1, 3);
    let Some(Event::Published(published)) = tale.0.events.last_mut() else { panic!("a publish") };
    published.acked = None;
    assert_eq!(tale.is_kept().owed, 0);
    tale.gets(SUBSCRIBER, 1, 1, 3).is_kept();
}

#[test]
fn a_second_copy_is_caught_or_counted() {
    tale("a/+").publishes(1, 2, 3).gets(SUBSCRIBER, 1, 2, 3).gets(SUBSCRIBER, 1, 2, 4).is_caught(ONCE);
    tale("a/+").publishes(1, 0, 3).gets(SUBSCRIBER, 1, 0, 3).gets(SUBSCRIBER, 1, 0, 4).is_caught(ONCE);
    let mut twice = tale("a/+");
    twice.publishes(1, 1, 3).gets(SUBSCRIBER, 1, 1, 3).gets(SUBSCRIBER, 1, 1, 4);
    assert_eq!(twice.is_kept().duplicates, 1);
}

#[test]
fn another_order_is_caught() {
    let mut swapped = tale("a/+");
    swapped.publishes(1, 1, 3).publishes(2, 1, 3).gets(SUBSCRIBER, 2, 1, 4).gets(SUBSCRIBER, 1, 1, 5);
    swapped.is_caught("messages of a publisher come in order");
    // What comes again may come later than what is newer.
    let mut again = tale("a/+");
    again.publishes(1, 1, 3).publishes(2, 1, 3);
    again.gets(SUBSCRIBER, 1, 1, 4).gets(SUBSCRIBER, 2, 1, 5).gets(SUBSCRIBER, 1, 1, 6).is_kept();
    // Each QoS for itself.
    let mut mixed = tale("a/+");
    mixed.publishes(1, 1, 3).publishes(2, 2, 3).gets(SUBSCRIBER, 2, 2, 4).gets(SUBSCRIBER, 1, 1, 5).is_kept();
}

#[test]
fn a_message_that_nobody_published_is_caught() {
    tale("a/+").gets(SUBSCRIBER, 1, 1, 3).is_caught(PUBLISHED);
    let mut early = tale("a/+");
    early.gets(SUBSCRIBER, 1, 1, 3).publishes(1, 1, 4).is_caught(PUBLISHED);
    let mut elsewhere = tale("#");
    elsewhere.publishes(1, 1, 3).gets(SUBSCRIBER, 1, 1, 3);
    let mut wrong = elsewhere.gets(SUBSCRIBER, 1, 1, 3).0.events.pop().expect("a delivery");
    if let Event::Delivered(delivered) = &mut wrong {
        delivered.topic = "a/c".to_owned();
    }
    elsewhere.tells(wrong).is_caught(PUBLISHED);
}

#[test]
fn a_delivery_to_who_does_not_want_it_is_caught() {
    tale("a/c").publishes(1, 1, 3).gets(SUBSCRIBER, 1, 1, 3).is_caught(WANTED);
    let gone = |at: u64| {
        let (client, connection, filter) = (SUBSCRIBER, SUBSCRIBER as Connection, "a/+".to_owned());
        let at = at * SECOND;
        Event::Unsubscribed(Unsubscribed { client, connection, filter, asked_at: at, at: Some(at) })
    };
    tale("a/+").tells(gone(3)).publishes(1, 1, 4).gets(SUBSCRIBER, 1, 1, 4).is_caught(WANTED);
    // It was on its way.
    tale("a/+").publishes(1, 1, 3).tells(gone(4)).gets(SUBSCRIBER, 1, 1, 5).is_kept();
    // Published at QoS 0, it is no QoS 1 message.
    let raised = "a message has the lower of two QoS";
    tale("a/+").publishes(1, 0, 3).gets(SUBSCRIBER, 1, 1, 3).is_caught(raised);
}

#[test]
fn a_lost_connection_is_caught() {
    let lost = "nobody is disconnected";
    tale("a/+").loses(SUBSCRIBER, 1, Ending::Closed, 9).is_caught(lost);
    tale("a/+").loses(SUBSCRIBER, 1, Ending::Told(0x8E), 9).is_caught(lost);
    tale("a/+").loses(SUBSCRIBER, 1, Ending::Client, 9).is_kept();
    let cut = FaultKind::cut(&[0], &[1]);
    tale("a/+").suffers(cut, 8, Some(10)).loses(SUBSCRIBER, 1, Ending::Closed, 9).is_caught(lost);
    let kill = FaultKind::Kill { node: 1, data_dir: false };
    tale("a/+").suffers(kill, 8, Some(10)).loses(SUBSCRIBER, 1, Ending::Closed, 9).is_kept();
    // Its own doing.
    let mut taken = tale("a/+");
    taken.loses(SUBSCRIBER, 1, Ending::Told(0x8E), 9).connects_as(SUBSCRIBER, 11, 2, 9, true).is_kept();
}

#[test]
fn a_lost_session_is_caught() {
    let mut lost = tale("a/+");
    lost.loses(SUBSCRIBER, 1, Ending::Client, 9).connects_as(SUBSCRIBER, 11, 1, 10, false);
    lost.is_caught("a session is found again");
}

#[test]
fn a_group_gets_one_copy() {
    let shared = "$share/g/a/+";
    let group = || {
        let mut group = tale(shared);
        group.connects(OTHER, 2, 1).subscribes(OTHER, 2, shared, 2).publishes(1, 2, 3);
        group
    };
    group().is_caught(OWED);
    group().gets(OTHER, 1, 2, 3).is_kept();
    group().gets(OTHER, 1, 2, 3).gets(SUBSCRIBER, 1, 2, 3).is_caught("a group gets a QoS 2 message once");
    // The node of the first one is gone before its member could confirm it.
    let kill = FaultKind::Kill { node: 1, data_dir: false };
    let kill = Fault { kind: kill, from: 3 * SECOND + 500, until: Some(9 * SECOND) };
    let mut twice = group();
    twice.gets(SUBSCRIBER, 1, 2, 3).tells(Event::Fault(kill)).gets(OTHER, 1, 2, 5);
    twice.is_kept();
}

#[test]
fn a_partition_excuses_only_what_nobody_could_know() {
    let cut = || FaultKind::cut(&[0], &[1]);
    // The route was known before the cut: the message is kept, and owed.
    tale("a/+").suffers(cut(), 3, Some(9)).publishes(1, 1, 5).is_caught(OWED);
    // It was not.
    let mut late = tale("b");
    late.suffers(cut(), 3, Some(9)).subscribes(SUBSCRIBER, 1, "a/+", 4).publishes(1, 1, 5);
    assert_eq!(late.is_kept().not_owed["no route where it was published"], 1);
    // It came around, and was seen.
    late.tells(Event::RoutesShown(RoutesShown {
        node: 0,
        added: vec![("a/+".to_owned(), 1)],
        removed: Vec::new(),
        asked_at: 6 * SECOND,
        at: 6 * SECOND,
    }));
    late.is_kept();
    late.publishes(2, 1, 7).is_caught(OWED);
    // SUBACK said so.
    tale("b").subscribes_as(SUBSCRIBER, 1, "a/+", 3, true).publishes(1, 1, 4).is_kept();
    // Neither packet loss nor a cut elsewhere excuses anything.
    let loss = FaultKind::Loss { node: 1, share: 0.3 };
    tale("a/+").suffers(loss, 0, Some(9)).publishes(1, 1, 3).is_caught(OWED);
    let elsewhere = FaultKind::cut(&[2], &[1]);
    tale("a/+").suffers(elsewhere, 0, Some(9)).publishes(1, 1, 3).is_caught(OWED);
}

#[test]
fn a_death_excuses_only_what_the_dead_node_held() {
    let kill = |node| FaultKind::Kill { node, data_dir: false };
    // The session was on it.
    let mut held = tale("a/+");
    held.publishes(1, 1, 3).suffers(kill(1), 4, Some(6)).loses(SUBSCRIBER, 1, Ending::Closed, 4);
    held.connects_as(SUBSCRIBER, 11, 2, 7, false);
    let verdict = held.is_kept();
    assert_eq!(verdict.exempt["session on a node that died"].count, 1);
    assert!(verdict.exempt_share() > 0.99);
    // It had all the time in the world before.
    let mut long_before = tale("a/+");
    long_before.publishes(1, 1, 3).suffers(kill(1), 60, Some(62)).loses(SUBSCRIBER, 1, Ending::Closed, 60);
    long_before.connects_as(SUBSCRIBER, 11, 2, 63, false).is_caught(OWED);
    // The publisher's node died after PUBACK, which means that the subscriber's had it.
    tale("a/+").publishes(1, 1, 3).suffers(kill(0), 4, Some(6)).is_caught(OWED);
    // It had it only in a buffer for the other one.
    let mut buffered = tale("a/+");
    buffered.suffers(FaultKind::cut(&[0], &[1]), 3, Some(9)).publishes(1, 1, 4).suffers(kill(0), 5, Some(7));
    assert_eq!(buffered.is_kept().exempt["buffered on a node that died"].count, 1);
    // A node that had nothing to do with it.
    tale("a/+").publishes(1, 1, 3).suffers(kill(2), 4, Some(6)).is_caught(OWED);
}

#[test]
fn nothing_is_exempt_where_that_is_promised() {
    let mut tale = tale("a/+");
    tale.publishes(1, 1, 3).suffers(FaultKind::Kill { node: 1, data_dir: false }, 4, None);
    tale.loses(SUBSCRIBER, 1, Ending::Closed, 4).connects_as(SUBSCRIBER, 11, 2, 7, false);
    let promises = Promises { no_disconnects: true, no_exemptions: true };
    assert_eq!(check(&tale.0, &promises).count("nothing is exempt"), 1);
}

#[test]
fn nodes_that_disagree_are_caught() {
    let shown = |name: &str| -> Shown {
        let member = serde_json::json!({
            "name": "n1", "incarnation": 5, "state": "alive", "link": "direct", "via": null, "rtt_ms": null, "routes": 1,
            "head": null, "applied": null, "lag_ops": 0, "lag_seconds": 0.0,
            "sets": {"sessions": {"head": null, "applied": {"seq": 3, "hash": "ab"}, "lag_ops": 0, "lag_seconds": 0.0}},
        });
        let cluster =
            serde_json::json!({"node": name, "incarnation": 5, "converged": true, "members": [member]});
        let route = serde_json::json!([{"filter": "a", "nodes": ["n1"]}]);
        let retained =
            serde_json::json!([{"topic": "t", "qos": 1, "payload_size": 2, "node": "n1", "published_ms": 7}]);
        Shown {
            cluster: serde_json::from_value(cluster).expect("a view"),
            routes: serde_json::from_value(route).expect("routes"),
            retained: serde_json::from_value(retained).expect("retained messages"),
            divergences: 0.0,
            has_panicked: false,
        }
    };
    assert_eq!(differences(&[shown("n1"), shown("n2")]), Vec::<String>::new());
    let harms: [fn(&mut Shown); 7] = [
        |shown| shown.routes.clear(),
        |shown| shown.routes[0].nodes.push("n2".to_owned()),
        |shown| shown.retained[0].published_ms += 1,
        |shown| {
            let sessions = shown.cluster.members[0].sets.get_mut("sessions").expect("the set");
            sessions.applied.as_mut().expect("a head").hash.push('c');
        },
        |shown| shown.cluster.converged = false,
        |shown| shown.divergences = 1.0,
        |shown| shown.has_panicked = true,
    ];
    for (number, harm) in harms.into_iter().enumerate() {
        let mut harmed = shown("n2");
        harm(&mut harmed);
        assert_eq!(differences(&[shown("n1"), harmed]).len(), 1, "harm {number}");
    }
}

#[test]
fn a_move_excuses_a_second_copy_only_while_nodes_are_apart() {
    let cut = || FaultKind::cut(&[1], &[2]);
    let moves = |tale: &mut Tale| {
        tale.publishes(1, 2, 3).gets(SUBSCRIBER, 1, 2, 3);
        tale.loses(SUBSCRIBER, 1, Ending::Client, 4).connects_as(SUBSCRIBER, 11, 2, 5, true);
        let Some(Event::Delivered(first)) = tale.0.events.iter().find(|e| matches!(e, Event::Delivered(_)))
        else {
            panic!("a delivery")
        };
        let second = Delivered { connection: 11, node: 2, at: 6 * SECOND, ..first.clone() };
        tale.tells(Event::Delivered(second));
    };
    let mut quiet = tale("a/+");
    moves(&mut quiet);
    quiet.is_caught(ONCE);
    let mut apart = tale("a/+");
    apart.suffers(cut(), 3, Some(5));
    moves(&mut apart);
    assert_eq!(apart.is_kept().exempted(&[]), 1);
    let mut long_ago = tale("a/+");
    long_ago.suffers(cut(), 0, Some(1));
    long_ago.publishes(1, 2, 30).gets(SUBSCRIBER, 1, 2, 30).gets(SUBSCRIBER, 1, 2, 31).is_caught(ONCE);
}
