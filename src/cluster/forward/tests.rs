//! A stream against the worst of links: cut at any frame, acknowledgements lost, the receiver started anew.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use proptest::prelude::*;

use super::inbound::{Admission, HighWater};
use super::stream::{ForwardLimits, ForwardStream, Outgoing};
use super::wire::Publication;
use crate::cluster::host::{Confirm, Receipt};
use crate::codec::packet::{PropertySet, QoS};
use crate::message::{Application, Message};
use crate::topic::Topic;

/// Notes which publishes were confirmed.
#[derive(Default)]
struct Publisher(Mutex<Vec<u64>>);

impl Confirm for Publisher {
    fn confirm(&self, slot: u64) {
        self.0.lock().push(slot);
    }

    fn flush(&self, _: Instant) {}
}

fn message(number: u64) -> Arc<Message> {
    let application = Application {
        topic: Topic::new("t").expect("a valid topic"),
        payload: &number.to_be_bytes(),
        backing: None,
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: &PropertySet::EMPTY,
        expires_at: None,
    };
    Arc::new(application.to_message())
}

fn number(message: &Message) -> u64 {
    message.payload().as_ref().try_into().map_or(0, u64::from_be_bytes)
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Push,
    /// So many frames enter the link.
    Send(usize),
    /// So many of them arrive, and the receiver acknowledges.
    Arrive(usize),
    /// So many acknowledgements arrive.
    Ack(usize),
    /// The link is cut, with all that is on it, and comes back.
    Cut,
    /// The receiver starts anew: it remembers nothing.
    Restart,
    /// The peer counts as dead: the buffer is trimmed.
    Trim,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => Just(Step::Push),
        6 => (1..6usize).prop_map(Step::Send),
        6 => (1..6usize).prop_map(Step::Arrive),
        4 => (1..4usize).prop_map(Step::Ack),
        2 => Just(Step::Cut),
        1 => Just(Step::Restart),
        1 => Just(Step::Trim),
    ];
    proptest::collection::vec(step, 0..120)
}

#[derive(Clone, Copy, Debug)]
enum Frame {
    Skip(u64),
    Forward { sequence: u64, number: u64 },
}

/// Both ends of a stream and the link between them.
struct World {
    stream: ForwardStream,
    link: VecDeque<Frame>,
    acks: VecDeque<u64>,
    high_water: HighWater,
    delivered: Vec<u64>,
    publisher: Arc<Publisher>,
    pushed: u64,
    trimmed: u64,
    now: Instant,
}

impl World {
    fn new(limits: ForwardLimits) -> World {
        World {
            stream: ForwardStream::new(limits),
            link: VecDeque::new(),
            acks: VecDeque::new(),
            high_water: HighWater::default(),
            delivered: Vec::new(),
            publisher: Arc::default(),
            pushed: 0,
            trimmed: 0,
            now: Instant::now(),
        }
    }

    fn confirm(&self, done: Vec<Receipt>) {
        done.into_iter().for_each(|receipt| receipt.to.confirm(receipt.slot));
    }

    fn step(&mut self, step: Step) {
        let mut done = Vec::new();
        match step {
            Step::Push => {
                self.pushed += 1;
                let receipt = Receipt { to: self.publisher.clone(), slot: self.pushed };
                let publication = Publication { number: self.pushed, retained: None };
                self.stream.push(publication, message(self.pushed), None, Some(receipt), self.now);
            }
            Step::Send(count) => {
                for _ in 0..count {
                    match self.stream.poll_send() {
                        Some(Outgoing::Skip(to)) => self.link.push_back(Frame::Skip(to)),
                        Some(Outgoing::Forward(place, message, ..)) => self
                            .link
                            .push_back(Frame::Forward { sequence: place.sequence, number: number(message) }),
                        None => break,
                    }
                }
            }
            Step::Arrive(count) => {
                for frame in self.link.drain(..count.min(self.link.len())).collect::<Vec<_>>() {
                    match frame {
                        Frame::Skip(to) => self.high_water.skip(to),
                        Frame::Forward { sequence, number } => match self.high_water.admit(sequence) {
                            Admission::Next => self.delivered.push(number),
                            Admission::Duplicate => {}
                            Admission::Gap => panic!("a gap before {sequence}"),
                        },
                    }
                }
                self.acks.push_back(self.high_water.sequence());
            }
            Step::Ack(count) => {
                for sequence in self.acks.drain(..count.min(self.acks.len())).collect::<Vec<_>>() {
                    self.stream.handle_ack(sequence, &mut done);
                }
            }
            Step::Cut => {
                self.link.clear();
                self.acks.clear();
                self.stream.handle_link_up(self.high_water.sequence(), &mut done);
            }
            Step::Restart => {
                self.high_water = HighWater::default();
                self.step(Step::Cut);
            }
            Step::Trim => self.trimmed += self.stream.trim(false, &mut done),
        }
        self.confirm(done);
    }

    fn settle(&mut self) {
        self.step(Step::Cut);
        while !self.stream.is_empty() {
            self.step(Step::Send(100));
            self.step(Step::Arrive(100));
            self.step(Step::Ack(100));
        }
    }
}

proptest! {
    #[test]
    fn a_stream_delivers_in_order_and_confirms_each_publish_once(steps in steps()) {
        let restarts = steps.iter().any(|step| matches!(step, Step::Restart));
        let mut world = World::new(ForwardLimits { messages: 20, bytes: 1 << 20 });
        for step in steps {
            world.step(step);
        }
        world.settle();
        if !restarts {
            prop_assert!(world.delivered.is_sorted_by(|a, b| a < b), "in order, none twice: {:?}", world.delivered);
            prop_assert!(world.delivered.len() as u64 >= world.pushed - world.trimmed, "none lost but those dropped");
        }
        let confirmed = world.publisher.0.lock().clone();
        prop_assert_eq!(confirmed, (1..=world.pushed).collect::<Vec<_>>());
    }
}

#[test]
fn a_receiver_that_forgot_the_stream_is_told_where_it_begins() {
    let mut world = World::new(ForwardLimits::default());
    for step in [Step::Push, Step::Push, Step::Send(9), Step::Arrive(9), Step::Ack(9), Step::Push] {
        world.step(step);
    }
    world.step(Step::Restart);
    world.step(Step::Send(1));
    assert!(matches!(world.link.front(), Some(Frame::Skip(2))), "{:?}", world.link);
    world.settle();
    assert_eq!(world.delivered, [1, 2, 3]);
}

#[test]
fn a_stream_goes_on_behind_an_earlier_one_that_the_receiver_remembers() {
    let mut world = World::new(ForwardLimits::default());
    world.high_water.skip(500);
    for step in [Step::Push, Step::Push, Step::Cut, Step::Send(1)] {
        world.step(step);
    }
    assert!(world.publisher.0.lock().is_empty(), "nothing is confirmed that did not arrive");
    assert!(
        matches!(world.link.front(), Some(Frame::Forward { sequence: 501, number: 1 })),
        "{:?}",
        world.link
    );
    world.settle();
    assert_eq!(world.delivered, [1, 2]);
}

#[test]
fn nobody_waits_longer_than_the_patience() {
    let mut world = World::new(ForwardLimits::default());
    world.step(Step::Push);
    let second = Duration::from_secs(1);
    let mut done = Vec::new();
    world.stream.release_receipts(world.now + second / 2, second, &mut done);
    assert!(done.is_empty());
    world.stream.release_receipts(world.now + second, second, &mut done);
    assert_eq!(done.len(), 1);
    assert_eq!(world.stream.backlog(world.now + second).messages, 1, "it is still in the buffer");
}

#[test]
fn a_receiver_that_claims_every_number_there_is_breaks_nothing() {
    let mut stream = ForwardStream::new(ForwardLimits::default());
    let push = |stream: &mut ForwardStream| {
        let publication = Publication { number: 1, retained: None };
        stream.push(publication, message(1), None, None, Instant::now());
    };
    push(&mut stream);
    stream.handle_link_up(u64::MAX, &mut Vec::new());
    push(&mut stream);
    assert!(matches!(stream.poll_send(), Some(Outgoing::Forward(..))));
    assert!(stream.last() < u64::MAX);
}
