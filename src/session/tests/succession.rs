//! A session that moves while a node that publishes for it cannot be reached.
//!
//! One origin publishes; three nodes have the session in turn. The origin learns late where the session is, its streams to the
//! three are as slow as they like, and former owners pass on what comes. Whatever the order of all that: the client
//! gets everything once, and in order.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;

use crate::codec;
use crate::codec::packet::{Ack, Packet, Properties, PropertySet, ProtocolVersion, QoS, ReasonCode};
use crate::message::{Application, PublishId};
use crate::session::frames::Frames;
use crate::session::outbox::MAX_SLICES;
use crate::session::portable::SessionState;
use crate::session::succession::{Bringer, Farewell, SuccessionState};
use crate::session::{Delivered, Delivery, Negotiated, Session, SessionLimits};
use crate::topic::Topic;

const ORIGIN: u64 = 99;
const NODES: usize = 3;

/// What stands for a node; 0 stands for none.
fn name_of(node: usize) -> u64 {
    node as u64 + 1
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The origin publishes.
    Publish,
    /// The next publish of the origin's stream comes to that node.
    Arrive(usize),
    /// The session moves to that node while the origin cannot be reached.
    Move(usize),
    /// It moves when everything has come that the origin had sent before it learned of that.
    MoveInTouch(usize),
    /// The origin learns the route of the next node that it does not know yet.
    Learn,
    /// The origin learns that a node has no route any more.
    Unlearn(usize),
    /// The owner asks that node whether it has passed on everything.
    Ask(usize),
    /// The owner waits for all that the origin has sent.
    End,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Publish),
        6 => (0..NODES).prop_map(Step::Arrive),
        2 => (0..NODES).prop_map(Step::Move),
        1 => (0..NODES).prop_map(Step::MoveInTouch),
        2 => Just(Step::Learn),
        1 => (0..NODES).prop_map(Step::Unlearn),
        2 => (0..NODES).prop_map(Step::Ask),
        1 => Just(Step::End),
    ]
}

/// A time that a node has the session.
struct Stay {
    node: usize,
    /// The origin's first publish after it had learned of it.
    known_from: Option<u64>,
    /// It did not have everything from the origin when the session went: it passes on what comes, until this is known.
    is_late: bool,
    passed_on: Option<u64>,
}

struct World {
    session: Session,
    now: Instant,
    stays: Vec<Stay>,
    /// Nodes that the origin sends to.
    routes: BTreeSet<usize>,
    streams: [VecDeque<u64>; NODES],
    published: u64,
    /// Publishes that went where the session was, or to who passes them on.
    owed: BTreeSet<u64>,
    got: Vec<u64>,
}

impl World {
    fn new() -> World {
        let mut world = World {
            session: Session::new(Arc::new(SessionLimits::default())),
            now: Instant::now(),
            stays: vec![Stay { node: 0, known_from: Some(0), is_late: false, passed_on: None }],
            routes: BTreeSet::from([0]),
            streams: Default::default(),
            published: 0,
            owed: BTreeSet::new(),
            got: Vec::new(),
        };
        world.connect();
        world
    }

    fn connect(&mut self) {
        self.session.handle_connected(Negotiated {
            version: ProtocolVersion::V500,
            max_packet_size: u32::MAX,
            receive_maximum: u16::MAX,
            announced_receive_maximum: None,
            topic_alias_maximum: 0,
            problem_information: true,
        });
        self.session.resume(self.now);
    }

    fn owner(&self) -> usize {
        self.stays.last().expect("it is somewhere").node
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Publish => {
                // Whoever has the session as far as the origin knows has to be among those it sends to.
                let stay = self.stays.iter().rev().find(|stay| stay.known_from.is_some());
                if stay.is_some_and(|stay| self.routes.contains(&stay.node)) {
                    self.owed.insert(self.published);
                }
                for &node in &self.routes {
                    self.streams[node].push_back(self.published);
                }
                self.published += 1;
            }
            Step::Arrive(node) => self.arrive(node),
            Step::Move(node) | Step::MoveInTouch(node) if node == self.owner() => {}
            Step::Move(node) => self.move_to(node, None),
            Step::MoveInTouch(node) => {
                for _ in 0..self.stays.len() {
                    self.run(Step::Learn);
                }
                // Its connection ends first.
                self.session.handle_disconnected();
                let next_from = self.published;
                self.routes.insert(node);
                self.run(Step::Publish);
                while !self.streams[self.owner()].is_empty() {
                    self.run(Step::Arrive(self.owner()));
                }
                self.move_to(node, Some(next_from));
            }
            Step::Learn => {
                if let Some(stay) = self.stays.iter_mut().find(|stay| stay.known_from.is_none()) {
                    stay.known_from = Some(self.published);
                    self.routes.insert(stay.node);
                }
            }
            Step::Unlearn(node) => {
                let is_wanted = |stay: &Stay| stay.node == node && stay.known_from.is_none();
                if node != self.owner() && !self.stays.iter().any(is_wanted) {
                    self.routes.remove(&node);
                }
            }
            Step::Ask(node) => self.ask(node),
            Step::End => self.end(),
        }
        self.read();
    }

    fn arrive(&mut self, node: usize) {
        let Some(number) = self.streams[node].pop_front() else { return };
        if node == self.owner() {
            self.bring(Bringer::Route, number);
        }
        let is_pending = |stay: &Stay| stay.node == node && stay.is_late && stay.passed_on.is_none();
        if node != self.owner() && self.stays.iter().any(is_pending) {
            self.bring(Bringer::FormerOwner(name_of(node)), number);
        }
    }

    fn bring(&mut self, bringer: Bringer, number: u64) {
        let (payload, properties) = (number.to_string(), PropertySet::default());
        let application = Application {
            topic: Topic::new("t").expect("a topic"),
            payload: payload.as_bytes(),
            backing: None,
            qos: QoS::ExactlyOnce,
            retain: false,
            properties: &properties,
            expires_at: None,
        };
        let mut scratch = Vec::new();
        let publish = PublishId { origin: ORIGIN, number };
        let mut frames = Frames::new(&application, &mut scratch, self.now).named(Some(publish));
        let delivery = Delivery { qos: QoS::ExactlyOnce, retain: false, identifiers: &[], ticket: None };
        let delivered = self.session.deliver_from(bringer, &mut frames, delivery);
        assert!(!matches!(delivered, Delivered::Dropped(_)), "there is room");
    }

    /// The holder waits for the origin where it can, and else says that it will pass on what comes.
    fn move_to(&mut self, node: usize, next_from: Option<u64>) {
        let holder = self.owner();
        self.stays.push(Stay { node, known_from: next_from, is_late: false, passed_on: None });
        let stay = self.stays.len() - 2;
        self.session.handle_disconnected();
        self.stays[stay].is_late = next_from.is_none();
        self.stays[stay].passed_on = next_from;
        let farewell = Farewell { origin: ORIGIN, next_from };
        let state = postcard::to_stdvec(&self.session.export(self.now)).expect("it can be written");
        let line = self.session.bequeath(name_of(holder), stay as u64, &[farewell], self.now);
        let line = postcard::to_stdvec(&line).expect("it can be written");
        let state: SessionState = postcard::from_bytes(&state).expect("a state");
        let line: SuccessionState = postcard::from_bytes(&line).expect("a line");
        let limits = Arc::new(SessionLimits::default());
        let accept = &|_| unreachable!("no groups here");
        self.session = Session::import(state, limits, accept, self.now).expect("it is one");
        self.session.inherit(line, name_of(node), false, accept, self.now);
        self.connect();
    }

    /// Whether the node has all that the origin had sent when it learned of the next one.
    fn ask(&mut self, node: usize) {
        let is_pending = |stay: &Stay| stay.node == node && stay.is_late && stay.passed_on.is_none();
        let pending: Vec<usize> = (0..self.stays.len()).filter(|&at| is_pending(&self.stays[at])).collect();
        for at in pending {
            if let Some(next_from) = self.stays.get(at + 1).and_then(|next| next.known_from)
                && self.streams[node].is_empty()
            {
                self.stays[at].passed_on = Some(next_from);
                self.session.settle_line(ORIGIN, name_of(node), at as u64, next_from, self.now);
            }
        }
    }

    fn end(&mut self) {
        let is_known = self.stays.iter().all(|stay| stay.known_from.is_some());
        if is_known && self.session.is_line_complete(ORIGIN) && self.streams[self.owner()].is_empty() {
            self.session.end_line(ORIGIN, self.now);
        }
    }

    /// The client takes and acknowledges everything.
    fn read(&mut self) {
        loop {
            let outbox = self.session.outbox();
            let mut slices = [std::io::IoSlice::new(&[]); MAX_SLICES];
            let count = outbox.slices(&mut slices);
            let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
            outbox.advance(bytes.len());
            if bytes.is_empty() {
                return;
            }
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let length = codec::frame_len(rest, u32::MAX).expect("a frame").expect("whole");
                let packet = codec::decode(&rest[..length], ProtocolVersion::V500).expect("a packet");
                rest = &rest[length..];
                let ack =
                    |packet_id| Ack { packet_id, reason: ReasonCode::Success, properties: Properties::NONE };
                match packet {
                    Packet::Publish(publish) => {
                        let number = std::str::from_utf8(publish.payload).expect("a number");
                        self.got.push(number.parse().expect("a number"));
                        let packet_id = publish.packet_id.expect("QoS 2");
                        self.session.handle_pubrec(&ack(packet_id), self.now);
                    }
                    Packet::PubRel(release) => self.session.handle_pubcomp(&ack(release.packet_id), self.now),
                    other => panic!("not of a session: {other:?}"),
                }
            }
        }
    }

    /// All nodes reach each other again.
    fn heal(&mut self) {
        for _ in 0..self.stays.len() {
            self.run(Step::Learn);
        }
        for node in 0..NODES {
            while !self.streams[node].is_empty() {
                self.run(Step::Arrive(node));
            }
        }
        for node in 0..NODES {
            self.run(Step::Ask(node));
        }
        self.run(Step::End);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn what_comes_by_several_ways_is_delivered_once_and_in_order(steps in prop::collection::vec(step(), 0..60)) {
        let mut world = World::new();
        for step in steps {
            world.run(step);
        }
        world.heal();
        let got: BTreeSet<u64> = world.got.iter().copied().collect();
        prop_assert_eq!(got.len(), world.got.len(), "twice: {:?}", world.got);
        prop_assert!(world.got.is_sorted(), "out of order: {:?}", world.got);
        let missing: Vec<_> = world.owed.difference(&got).collect();
        prop_assert!(missing.is_empty(), "missing: {:?} of {:?}", missing, world.got);
        prop_assert!(world.session.pending_lines().is_empty());
    }
}
