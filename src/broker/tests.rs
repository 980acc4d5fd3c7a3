//! The broker without sockets, where what two connections do can be put in any order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rumormq_gossip::Stamp;

use super::batch::Batch;
use super::client::{Attachment, Client, Signal};
use super::connection::ClientConnection;
use super::{Broker, Ending, Limits, Progress, Request};
use crate::cluster::host::{Departing, Portion, Purpose};
use crate::codec;
use crate::codec::packet::{
    Ack, Connect, Packet, PacketId, Properties, PropertySet, ProtocolVersion, Publish, QoS, ReasonCode,
    RetainHandling, Subscribe, SubscriptionOptions, Unsubscribe, Will,
};
use crate::topic::Topic;

const VERSION: ProtocolVersion = ProtocolVersion::V500;

pub fn broker() -> Arc<Broker> {
    Arc::new(Broker::new(Limits::default()))
}

pub fn batch() -> Batch {
    Batch::new(Instant::now())
}

/// Connects with a session of this lifetime.
fn connect(broker: &Broker, clean_start: bool, expiry_secs: u32) -> ClientConnection {
    let set = PropertySet { session_expiry_interval_secs: Some(expiry_secs), ..PropertySet::EMPTY };
    connect_with(broker, clean_start, set)
}

pub fn connect_with(broker: &Broker, clean_start: bool, set: PropertySet<'_>) -> ClientConnection {
    connect_as(broker, "c", clean_start, set)
}

fn connect_as(broker: &Broker, id: &str, clean_start: bool, set: PropertySet<'_>) -> ClientConnection {
    connect_by(broker, connect_packet(id, clean_start, set))
}

fn connect_packet<'a>(id: &'a str, clean_start: bool, set: PropertySet<'a>) -> Connect<'a> {
    Connect {
        version: VERSION,
        clean_start,
        keep_alive_secs: 0,
        client_id: id,
        will: None,
        username: None,
        password: None,
        properties: set.into(),
    }
}

fn connect_by(broker: &Broker, connect: Connect<'_>) -> ClientConnection {
    // Without a direct writer everything stays in the outbox, where the test looks for it.
    let attachment =
        Attachment { direct: None, signal: Arc::new(Signal::default()), peer: None, listener: None };
    let request = Request { connect: &connect, frame: &[], attachment, certificate: None, internal: false };
    let progress = broker.connect(request, &mut batch()).expect("accepted");
    let Progress::Open(connected) = progress else { panic!("nothing to wait for") };
    ClientConnection::new(connected.client, connected.epoch, connected.limits)
}

fn handle(broker: &Arc<Broker>, connection: &mut ClientConnection, packet: Packet<'_>) {
    connection.handle_packet(broker, &packet, None, &mut batch()).expect("no violation");
}

/// The names of the packets in the client's outbox, which is empty then.
fn written(client: &Client) -> Vec<&'static str> {
    let mut state = client.lock();
    let bytes = state.session.outbox().buffer().clone();
    state.session.outbox().recycle();
    let mut rest = &bytes[..];
    let mut names = Vec::new();
    while let Some(length) = codec::frame_len(rest, u32::MAX).expect("frames") {
        names.push(match codec::decode(&rest[..length], VERSION).expect("a packet") {
            Packet::ConnAck(connack) if connack.session_present => "CONNACK present",
            Packet::ConnAck(_) => "CONNACK",
            Packet::Publish(_) => "PUBLISH",
            Packet::PubAck(_) => "PUBACK",
            Packet::PubRec(_) => "PUBREC",
            Packet::SubAck(_) => "SUBACK",
            Packet::UnsubAck(_) => "UNSUBACK",
            Packet::PingResp => "PINGRESP",
            other => panic!("unexpected {other:?}"),
        });
        rest = &rest[length..];
    }
    names
}

fn publish(qos: QoS) -> Packet<'static> {
    Packet::Publish(Publish {
        dup: false,
        qos,
        retain: false,
        topic: Some(Topic::new("t").expect("a topic")),
        packet_id: Some(PacketId::MIN),
        properties: Properties::NONE,
        payload: b"x",
    })
}

fn subscribe() -> Packet<'static> {
    subscribe_to("t")
}

fn subscribe_to(filter: &str) -> Packet<'_> {
    let options = SubscriptionOptions {
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    };
    let filters = vec![(filter, options)];
    Packet::Subscribe(Subscribe { packet_id: PacketId::MIN, filters, properties: Properties::NONE })
}

fn unsubscribe() -> Packet<'static> {
    Packet::Unsubscribe(Unsubscribe {
        packet_id: PacketId::MIN,
        filters: vec!["t"],
        properties: Properties::NONE,
    })
}

fn subscribers(broker: &Broker) -> usize {
    broker.router.matches(Topic::new("t").expect("a topic"), None).locals.len()
}

/// Packets that were read before the takeover was noticed, in every case where the answer would go to the wrong connection.
#[test]
fn a_former_connection_changes_nothing_for_its_successor() {
    let broker = broker();
    let mut former = connect(&broker, false, 100);
    handle(&broker, &mut former, subscribe());
    handle(&broker, &mut former, publish(QoS::AtLeastOnce));
    let client = former.client.clone();
    assert_eq!(written(&client), ["CONNACK", "SUBACK", "PUBLISH", "PUBACK"]);
    let present = connect(&broker, false, 100);
    assert!(Arc::ptr_eq(&client, &present.client));
    assert_eq!(written(&client), ["CONNACK present", "PUBLISH"]);
    let ack = Ack { packet_id: PacketId::MIN, reason: ReasonCode::Success, properties: Properties::NONE };
    let late = [
        Packet::PingReq,
        subscribe(),
        unsubscribe(),
        publish(QoS::AtLeastOnce),
        publish(QoS::ExactlyOnce),
        Packet::PubRel(ack.clone()),
        Packet::PubAck(ack),
    ];
    for packet in late {
        handle(&broker, &mut former, packet);
        assert_eq!(written(&client), [""; 0]);
    }
    assert_eq!(subscribers(&broker), 1);
    assert_eq!(client.lock().session.inflight(), 1);
    assert_eq!(former.before_read(&broker, &mut batch()), None);
}

/// What it says is lost with its session; its publish is not acknowledged, so the client says it again.
#[test]
fn a_former_connection_of_an_ended_session_leaves_no_subscription() {
    let broker = broker();
    let mut former = connect(&broker, false, 100);
    handle(&broker, &mut former, subscribe());
    let present = connect(&broker, true, 100);
    assert!(!Arc::ptr_eq(&former.client, &present.client));
    assert_eq!(subscribers(&broker), 0);
    handle(&broker, &mut former, subscribe());
    handle(&broker, &mut former, publish(QoS::ExactlyOnce));
    assert_eq!(subscribers(&broker), 0);
    let ending = Ending { publish_will: true, expiry_secs: None, cause: "test" };
    broker.disconnect(&former.client, former.epoch, ending, &mut batch());
    assert_eq!(written(&present.client), ["CONNACK"]);
}

/// The timer of a session that was taken up again between its becoming due and its being handled.
#[test]
fn a_session_that_is_taken_up_again_does_not_end() {
    let broker = broker();
    let ending = Ending { publish_will: true, expiry_secs: None, cause: "test" };
    let mut first = connect(&broker, false, 100);
    handle(&broker, &mut first, subscribe());
    broker.disconnect(&first.client, first.epoch, ending, &mut batch());
    let second = connect(&broker, false, 100);
    assert!(Arc::ptr_eq(&first.client, &second.client));
    broker.handle_tick(Instant::now() + Duration::from_secs(1000));
    assert_eq!(subscribers(&broker), 1);
    broker.disconnect(&second.client, second.epoch, ending, &mut batch());
    broker.handle_tick(Instant::now() + Duration::from_secs(1000));
    assert_eq!(subscribers(&broker), 0);
    let third = connect(&broker, false, 100);
    assert_eq!(written(&third.client), ["CONNACK"]);
}

/// Any order of connecting and going from four threads: one session at most, and no subscription without one.
#[test]
fn connections_that_race_leave_no_orphans() {
    let broker = broker();
    std::thread::scope(|scope| {
        for racer in 0..4 {
            let broker = &broker;
            scope.spawn(move || {
                for round in 0..500 {
                    let mut connection = connect(broker, (racer + round) % 3 == 0, (round % 2) as u32);
                    handle(broker, &mut connection, subscribe());
                    if round % 5 == 0 {
                        handle(broker, &mut connection, unsubscribe());
                    }
                    let ending = Ending { publish_will: false, expiry_secs: None, cause: "test" };
                    broker.disconnect(&connection.client, connection.epoch, ending, &mut batch());
                }
            });
        }
    });
    assert!(broker.registry.clients().count() <= 1);
    assert!(subscribers(&broker) <= 1);
    broker.handle_tick(Instant::now() + Duration::from_secs(10));
    assert_eq!(broker.registry.clients().count(), 0);
    assert_eq!(subscribers(&broker), 0);
    assert_eq!(broker.metrics.connections.get(), 0);
}

/// A session that subscribes so, as its node hands it over.
fn departing(filter: &str) -> Box<dyn Departing> {
    let broker = broker();
    let mut connection = connect(&broker, false, 100);
    handle(&broker, &mut connection, subscribe_to(filter));
    // What it is kept by does not keep its node alive, nor need it.
    broker.release("c", Stamp(1), Purpose::Resume).expect("it outlives its connection")
}

/// A client that asks for its session, and then for a new one while the former is on its way.
#[test]
fn a_session_that_arrives_does_not_undo_a_clean_start() {
    let (broker, departing) = (broker(), departing("t"));
    let state = departing.state(1, &[], Portion::Whole).expect("it is not over");
    let expect = || broker.admit("c", &departing.record()).expect("a record");
    let arriving = expect();
    let present = connect(&broker, true, 100);
    assert!(arriving.finish(&state, Stamp(7), &[]).is_err(), "it has no claim yet");
    let arriving = expect();
    present.client.set_claim(Stamp(9));
    assert!(arriving.finish(&state, Stamp(7), &[]).is_err());
    assert!(Arc::ptr_eq(&broker.registry.find("c").expect("it stays"), &present.client));
    assert_eq!((present.before_read(&broker, &mut batch()), subscribers(&broker)), (None, 0));
    expect().finish(&state, Stamp(11), &[]).expect("an older session gives way");
    assert!(!Arc::ptr_eq(&broker.registry.find("c").expect("it has come"), &present.client));
    assert_eq!(subscribers(&broker), 1);
}

/// A client is back from a node with a newer session before what was left of the older one could go there.
#[test]
fn an_older_session_gives_way_with_what_it_has() {
    for was_sent in [false, true] {
        let (broker, newer) = (broker(), departing("t"));
        let mut older = connect(&broker, false, 100);
        older.client.set_claim(Stamp(3));
        handle(&broker, &mut older, subscribe());
        let waiting = broker.release("c", Stamp(5), Purpose::Resume).expect("it outlives its connection");
        let mut publisher = connect_as(&broker, "p", true, PropertySet::EMPTY);
        handle(&broker, &mut publisher, publish(QoS::AtLeastOnce));
        if was_sent {
            waiting.state(1, &[], Portion::Rest).expect("it is not over");
        }
        waiting.keep();
        let state = newer.state(1, &[], Portion::Whole).expect("it is not over");
        let arriving = broker.admit("c", &newer.record()).expect("a record");
        arriving.finish(&state, Stamp(7), &[]).expect("the older one gives way");
        let present = broker.registry.find("c").expect("it has come");
        assert!(!Arc::ptr_eq(&present, &older.client));
        // What the newer one may have had already does not come again.
        assert_eq!(present.lock().session.queued(), if was_sent { 0 } else { 1 }, "sent: {was_sent}");
    }
}

/// A client has vanished, and another node claims its session.
#[test]
fn a_delayed_will_goes_with_its_session_unless_its_client_connects() {
    struct Watched {
        broker: Arc<Broker>,
        watcher: ClientConnection,
    }
    impl Watched {
        fn new() -> Watched {
            let broker = broker();
            let mut watcher = connect_as(&broker, "w", true, PropertySet::EMPTY);
            handle(&broker, &mut watcher, subscribe());
            written(&watcher.client);
            Watched { broker, watcher }
        }

        /// Whether the will is published when its time has come.
        fn is_told(&self) -> bool {
            self.broker.handle_tick(Instant::now() + Duration::from_secs(6));
            !written(&self.watcher.client).is_empty()
        }
    }
    let vanished = |purpose| {
        let node = Watched::new();
        let properties = PropertySet { will_delay_interval_secs: Some(5), ..PropertySet::EMPTY }.into();
        let topic = Topic::new("t").expect("a topic");
        let will = Will { topic, payload: b"gone", qos: QoS::AtMostOnce, retain: false, properties };
        let set = PropertySet { session_expiry_interval_secs: Some(100), ..PropertySet::EMPTY };
        let connect = Connect { will: Some(will), ..connect_packet("c", false, set) };
        let client = connect_by(&node.broker, connect);
        let ending = Ending { publish_will: true, expiry_secs: None, cause: "test" };
        node.broker.disconnect(&client.client, client.epoch, ending, &mut batch());
        let kept = node.broker.release("c", Stamp(1), purpose).expect("it outlives its connection");
        (node, kept)
    };

    let (node, _kept) = vanished(Purpose::Keep);
    assert!(node.is_told() && !node.is_told(), "it has not gone yet");

    for has_gone in [true, false] {
        let (node, kept) = vanished(Purpose::Keep);
        let (state, other) = (kept.state(1, &[], Portion::Whole).expect("it is not over"), Watched::new());
        assert!(!node.is_told(), "it is on its way");
        if has_gone {
            let arriving = other.broker.admit("c", &kept.record()).expect("a record");
            arriving.finish(&state, Stamp(1), &[]).expect("a session");
            kept.forget();
        } else {
            kept.keep();
        }
        assert_eq!((node.is_told(), other.is_told()), (!has_gone, has_gone));
    }

    let (node, kept) = vanished(Purpose::Keep);
    kept.state(1, &[], Portion::Rest).expect("it is not over");
    kept.forget();
    assert!(!node.is_told(), "its client has another one");

    let (node, kept) = vanished(Purpose::Resume);
    kept.keep();
    assert!(!node.is_told(), "its client has connected elsewhere");
}

/// It would be over on its way to a client that has come in time.
#[test]
fn a_session_that_departs_does_not_expire() {
    let broker = broker();
    connect(&broker, false, 100);
    let kept = broker.release("c", Stamp(1), Purpose::Resume).expect("it outlives its connection");
    let later = Instant::now() + Duration::from_secs(200);
    broker.handle_tick(later);
    assert!(broker.registry.find("c").is_some());
    kept.keep();
    broker.release("c", Stamp(1), Purpose::Resume).expect("it is still there").keep();
    broker.handle_tick(later + 2 * super::DEPARTING);
    assert!(broker.registry.find("c").is_none(), "however often it is offered");
}

/// The member that gets it would never be flushed again if it were forgotten now.
#[test]
fn what_was_held_for_a_session_that_does_not_come_reaches_other_members() {
    let (broker, departing) = (broker(), departing("$share/g/t"));
    let arriving = broker.admit("c", &departing.record()).expect("a record");
    let mut publisher = connect_as(&broker, "p", true, PropertySet::EMPTY);
    handle(&broker, &mut publisher, publish(QoS::AtLeastOnce));
    let mut member = connect_as(&broker, "m", true, PropertySet::EMPTY);
    handle(&broker, &mut member, subscribe_to("$share/g/t"));
    assert_eq!(written(&member.client), ["CONNACK", "SUBACK"]);
    member.client.flush(Instant::now(), false); // As its own connection would.
    drop(arriving);
    assert_eq!(written(&member.client), ["PUBLISH"]);
    assert!(member.client.lock().touch(), "nobody still promises to flush it");
}
