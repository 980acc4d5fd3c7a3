//! What every library is put through. Publisher and subscriber are on different nodes wherever there are two.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::peer::{Options, Outgoing, Wanted, Will};
use crate::world::World;

/// Clean and lasting sessions, an empty identifier, a user name and a password.
pub fn connects(world: &mut World) {
    let mut nameless = world.connect(0, "");
    if let (true, Some(assigned)) = (world.is_five(), nameless.connected().assigned) {
        assert!(!assigned.is_empty());
    }
    assert_eq!(nameless.subscribe(world.wanted("t", 0)), 0);
    nameless.disconnect();
    let (user, password) = (Some("somebody".to_owned()), Some("secret".to_owned()));
    let options = Options { user, password, ..world.options(1, "named") };
    world.connect_with(options).disconnect();
    let expected = |world: &mut World, options: Options, present: bool| {
        let peer = world.connect_with(options);
        assert_eq!(peer.connected().present.unwrap_or(present), present, "session present");
        peer.disconnect();
    };
    let (clean, lasting) = (world.options(0, "comes back"), world.lasting(0, "comes back", 100));
    expected(world, lasting.clone(), false);
    expected(world, lasting.clone(), true);
    expected(world, clean, false);
    expected(world, lasting, false);
}

/// Each QoS of a publish with each of a subscription: the lower one counts.
pub fn qos_matrix(world: &mut World) {
    let mut publisher = world.connect(0, "publisher");
    for granted in 0..3 {
        let topic = format!("granted/{granted}");
        let mut subscriber = world.subscriber(1, &format!("subscriber-{granted}"), &topic, granted);
        for published in 0..3 {
            let payload = format!("with {published}");
            publisher.publish(vec![world.outgoing(&topic, &payload, published)]);
            let message = subscriber.message();
            assert_eq!(message.payload, payload);
            assert_eq!(message.topic, world.topic(&topic));
            assert_eq!(message.qos, published.min(granted), "published with {published}, granted {granted}");
            assert!(!message.retain);
        }
        subscriber.disconnect();
    }
    publisher.disconnect();
}

/// A row of messages arrives in order, each once.
pub fn order(world: &mut World) {
    let mut publisher = world.connect(0, "publisher");
    for qos in 0..3 {
        let topic = format!("row/{qos}");
        let mut subscriber = world.subscriber(2, &format!("subscriber-{qos}"), &topic, qos);
        let numbers = (0..200).map(|number| number.to_string());
        publisher.publish(numbers.clone().map(|number| world.outgoing(&topic, &number, qos)).collect());
        for number in numbers {
            assert_eq!(subscriber.message().payload, number);
        }
        publisher.publish(vec![world.outgoing(&topic, "the end", qos)]);
        assert_eq!(subscriber.message().payload, "the end");
        subscriber.disconnect();
    }
    publisher.disconnect();
}

/// A retained message is found on another node, until it is cleared.
pub fn retained(world: &mut World) {
    let mut publisher = world.connect(0, "publisher");
    let kept = Outgoing { retain: true, ..world.outgoing("kept", "for later", 1) };
    publisher.publish(vec![kept]);
    let mut late = world.subscriber(1, "late", "+", 1);
    let message = late.message();
    assert_eq!((message.payload.as_str(), message.retain), ("for later", true));
    publisher.publish(vec![Outgoing { retain: true, ..world.outgoing("kept", "", 1) }]);
    let message = late.message();
    assert_eq!((message.payload.as_str(), message.retain), ("", false));
    let mut later = world.subscriber(2, "later", "+", 1);
    publisher.publish(vec![world.outgoing("live", "live", 1)]);
    assert_eq!(later.message().payload, "live");
    for peer in [late, later, publisher] {
        peer.disconnect();
    }
}

/// Who goes without DISCONNECT leaves a will, on all nodes.
pub fn will(world: &mut World) {
    let mut mourner = world.subscriber(1, "mourner", "wills/+", 1);
    for (name, politely) in [("polite", true), ("lost", false)] {
        let topic = world.topic(&format!("wills/{name}"));
        let will = Will { topic: topic.clone(), payload: "gone".to_owned(), qos: 1, retain: false };
        let options = Options { will: Some(will), ..world.options(0, name) };
        let mut peer = world.connect_with(options);
        peer.subscribe(world.wanted("anything", 0));
        if politely && peer.can_say_goodbye() {
            peer.disconnect();
        } else {
            peer.lose_power();
            let message = mourner.message();
            assert_eq!((message.topic, message.payload.as_str()), (topic, "gone"));
        }
    }
    mourner.disconnect();
}

/// Publishes while the client is away arrive in order when it is back on node `back`.
fn resumes_on(world: &mut World, back: usize) {
    let mut client = world.connect_with(world.lasting(1, "comes and goes", 100));
    client.subscribe(world.wanted("queue", 2));
    client.lose_power();
    let mut publisher = world.connect(0, "publisher");
    publisher.publish(vec![world.outgoing("queue", "with 1", 1)]);
    publisher.publish(vec![world.outgoing("queue", "with 2", 2)]);
    let mut client = world.connect_with(world.lasting(back, "comes and goes", 100));
    assert!(client.connected().present.unwrap_or(true), "session present");
    client.come_back(world.wanted("queue", 2));
    for (payload, qos) in [("with 1", 1), ("with 2", 2)] {
        let message = client.message();
        assert_eq!((message.payload.as_str(), message.qos), (payload, qos));
    }
    client.disconnect();
    let mut client = world.connect(back, "comes and goes");
    assert!(!client.connected().present.unwrap_or(false), "clean start leaves nothing");
    client.subscribe(world.wanted("queue", 1));
    publisher.publish(vec![world.outgoing("queue", "new", 1)]);
    assert_eq!(client.message().payload, "new");
    client.disconnect();
    publisher.disconnect();
}

/// A session waits for its client on the node where it was left.
pub fn session_resume(world: &mut World) {
    resumes_on(world, 1);
}

/// A session follows its client to another node.
pub fn session_moves(world: &mut World) {
    resumes_on(world, 2);
}

/// The newest connection with an identifier is the one, on whichever node.
pub fn takeover(world: &mut World) {
    let mut first = world.connect(0, "one of two");
    let mut second = world.connect(1, "one of two");
    let reason = first.ended();
    if world.is_five() {
        assert_eq!(reason.unwrap_or(0x8e), 0x8e);
    }
    second.subscribe(world.wanted("t", 1));
    let mut publisher = world.connect(2, "publisher");
    publisher.publish(vec![world.outgoing("t", "still here", 1)]);
    assert_eq!(second.message().payload, "still here");
    second.disconnect();
    publisher.disconnect();
}

/// Each message goes to one member of a group whose members are on all nodes, in turn.
pub fn shared(world: &mut World) {
    let mut publisher = world.connect(2, "publisher");
    for qos in 0..3 {
        let topic = format!("work/{qos}");
        let filter = format!("$share/group/{}", world.topic(&topic));
        let mut members = [0, 1, 2].map(|node| world.connect(node, &format!("member-{qos}-{node}")));
        for member in &mut members {
            assert_eq!(member.subscribe(Wanted { filter: filter.clone(), qos, ..Wanted::default() }), qos);
        }
        let numbers: BTreeSet<String> = (0..60).map(|number| number.to_string()).collect();
        publisher.publish(numbers.iter().map(|number| world.outgoing(&topic, number, qos)).collect());
        let mut got = BTreeSet::new();
        for member in &mut members {
            got.extend((0..20).map(|_| member.message().payload));
        }
        assert_eq!(got, numbers, "each went to one");
        for peer in members {
            peer.disconnect();
        }
    }
    publisher.disconnect();
}

/// A topic is sent once, and then its alias.
pub fn aliases(world: &mut World) {
    let mut subscriber = world.subscriber(1, "subscriber", "aliased/+", 1);
    let mut publisher = world.connect(0, "publisher");
    let named = |topic: &str, payload: &str| Outgoing { alias: Some(1), ..world.outgoing(topic, payload, 1) };
    let unnamed = |payload: &str| Outgoing { topic: String::new(), ..named("", payload) };
    let messages = [named("aliased/a", "1"), unnamed("2"), named("aliased/b", "3"), unnamed("4")];
    for message in messages {
        publisher.publish(vec![message]);
    }
    for (topic, payload) in [("a", "1"), ("a", "2"), ("b", "3"), ("b", "4")] {
        let message = subscriber.message();
        assert_eq!(message.topic, world.topic(&format!("aliased/{topic}")));
        assert_eq!(message.payload, payload);
    }
    subscriber.disconnect();
    publisher.disconnect();
}

/// A message tells how long it is good for, and is not delivered after that.
pub fn message_expiry(world: &mut World) {
    let mut client = world.connect_with(world.lasting(1, "away", 100));
    client.subscribe(world.wanted("news", 1));
    let mut publisher = world.connect(0, "publisher");
    let expiring =
        |payload: &str, secs| Outgoing { expiry: Some(secs), ..world.outgoing("news", payload, 1) };
    publisher.publish(vec![expiring("live", 100)]);
    let message = client.message();
    assert_eq!(message.payload, "live");
    assert!(message.expiry.is_some_and(|left| (90..=100).contains(&left)), "{message:?}");
    client.lose_power();
    // What is on its way to a client is no longer stopped.
    world.awaits_end(1, "away");
    publisher.publish(vec![expiring("short", 1)]);
    publisher.publish(vec![expiring("long", 100)]);
    // Time has to pass, for that is what it is about.
    std::thread::sleep(Duration::from_millis(1500));
    let mut client = world.connect_with(world.lasting(1, "away", 100));
    client.come_back(world.wanted("news", 1));
    let message = client.message();
    assert_eq!(message.payload, "long");
    assert!(message.expiry.is_some_and(|left| (90..=99).contains(&left)), "{message:?}");
    client.disconnect();
    publisher.disconnect();
}

/// A session is kept for as long as its client asks, and not longer.
pub fn session_expiry(world: &mut World) {
    let mut client = world.connect_with(world.lasting(1, "away", 1));
    client.subscribe(world.wanted("queue", 1));
    client.lose_power();
    // Time has to pass, for that is what it is about.
    std::thread::sleep(Duration::from_millis(1500));
    let mut publisher = world.connect(0, "publisher");
    publisher.publish(vec![world.outgoing("queue", "too late", 1)]);
    let mut client = world.connect_with(world.lasting(1, "away", 1));
    assert!(!client.connected().present.unwrap_or(false), "session present");
    client.subscribe(world.wanted("queue", 1));
    publisher.publish(vec![world.outgoing("queue", "in time", 1)]);
    assert_eq!(client.message().payload, "in time");
    client.disconnect();
    publisher.disconnect();
}

/// 900 KiB arrive as they were.
pub fn large_payload(world: &mut World) {
    let payload: String = (0..900 << 10).map(|n: u32| char::from(b'a' + (n % 23) as u8)).collect();
    let mut publisher = world.connect(0, "publisher");
    for qos in 0..3 {
        let topic = format!("large/{qos}");
        let mut subscriber = world.subscriber(1, &format!("subscriber-{qos}"), &topic, qos);
        publisher.publish(vec![world.outgoing(&topic, &payload, qos)]);
        assert!(subscriber.message().payload == payload, "QoS {qos}");
        subscriber.disconnect();
    }
    publisher.disconnect();
}

/// What a request needs for its answer travels, and so do the other properties of a message.
pub fn properties(world: &mut World) {
    let mut server = world.subscriber(1, "server", "requests", 1);
    let mut client = world.subscriber(0, "client", "answers", 1);
    let mut other = world.connect(2, "other");
    client.publish(vec![Outgoing {
        content_type: Some("text/plain".to_owned()),
        response_topic: Some(world.topic("answers")),
        correlation: Some("17".to_owned()),
        user: vec![("name".to_owned(), "value".to_owned())],
        ..world.outgoing("requests", "a question", 1)
    }]);
    let question = server.message();
    assert_eq!(question.content_type.as_deref(), Some("text/plain"));
    assert_eq!(question.user, [("name".to_owned(), "value".to_owned())]);
    other.publish(vec![Outgoing {
        topic: question.response_topic.expect("it travels"),
        correlation: question.correlation,
        ..world.outgoing("", "an answer", 1)
    }]);
    let answer = client.message();
    assert_eq!((answer.payload.as_str(), answer.correlation.as_deref()), ("an answer", Some("17")));
    for peer in [server, client, other] {
        peer.disconnect();
    }
}

/// A message that two subscriptions of a client match comes once.
pub fn overlapping_subscriptions(world: &mut World) {
    let mut subscriber = world.connect(1, "subscriber");
    subscriber.subscribe_all(vec![world.wanted("o/#", 1), world.wanted("o/+", 2)]);
    let mut publisher = world.connect(0, "publisher");
    publisher.publish(vec![world.outgoing("o/1", "first", 2)]);
    publisher.publish(vec![world.outgoing("o/1", "second", 2)]);
    for payload in ["first", "second"] {
        let message = subscriber.message();
        assert_eq!((message.payload.as_str(), message.qos), (payload, 2));
    }
    subscriber.disconnect();
    publisher.disconnect();
}

/// After UNSUBACK nothing comes.
pub fn unsubscribe(world: &mut World) {
    let mut subscriber = world.subscriber(1, "subscriber", "unwanted", 1);
    subscriber.subscribe(world.wanted("wanted", 1));
    let mut publisher = world.connect(0, "publisher");
    publisher.publish(vec![world.outgoing("unwanted", "before", 1)]);
    assert_eq!(subscriber.message().payload, "before");
    subscriber.unsubscribe(&world.topic("unwanted"));
    publisher.publish(vec![world.outgoing("unwanted", "after", 1)]);
    publisher.publish(vec![world.outgoing("wanted", "wanted", 1)]);
    assert_eq!(subscriber.message().payload, "wanted");
    subscriber.disconnect();
    publisher.disconnect();
}

/// Retain as published, and the subscription's identifier.
pub fn subscription_options(world: &mut World) {
    let mut subscriber = world.connect(1, "subscriber");
    let wanted = Wanted { retain_as_published: true, identifier: Some(7), ..world.wanted("t", 1) };
    subscriber.subscribe(wanted);
    let mut publisher = world.connect(0, "publisher");
    publisher.publish(vec![Outgoing { retain: true, ..world.outgoing("t", "kept", 1) }]);
    let message = subscriber.message();
    assert_eq!((message.retain, &message.identifiers[..]), (true, &[7][..]));
    publisher.publish(vec![Outgoing { retain: true, ..world.outgoing("t", "", 1) }]);
    publisher.disconnect();
    subscriber.disconnect();
}

/// A client does not get what it publishes itself, if it asks so.
pub fn no_local(world: &mut World) {
    let mut client = world.connect(1, "talks to others");
    client.subscribe(Wanted { no_local: true, ..world.wanted("t", 1) });
    let mut other = world.connect(0, "other");
    client.publish(vec![world.outgoing("t", "own", 1)]);
    other.publish(vec![world.outgoing("t", "other's", 1)]);
    assert_eq!(client.message().payload, "other's");
    client.disconnect();
    other.disconnect();
}
