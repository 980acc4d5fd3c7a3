//! A stream against the worst of links: cut at any frame, acknowledgements lost, the receiver started anew.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use proptest::prelude::*;

use super::budget::ForwardBudget;
use super::inbound::{Admission, HighWater};
use super::stream::{Backlog, ForwardLimits, ForwardOverflow, ForwardStream, Outgoing};
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
    expiring(number, None)
}

fn expiring(number: u64, expires_at: Option<Instant>) -> Arc<Message> {
    let application = Application {
        topic: Topic::new("t").expect("a valid topic"),
        payload: &number.to_be_bytes(),
        backing: None,
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: &PropertySet::EMPTY,
        expires_at,
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
    /// One that expires after so many milliseconds.
    PushExpiring(u64),
    /// So many milliseconds pass.
    Pass(u64),
    /// What has expired, or is too old for a peer that is out of reach, leaves the buffer.
    Tidy {
        reachable: bool,
    },
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
        3 => (0..100u64).prop_map(Step::PushExpiring),
        3 => (0..60u64).prop_map(Step::Pass),
        2 => any::<bool>().prop_map(|reachable| Step::Tidy { reachable }),
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
    budget: Arc<ForwardBudget>,
}

impl World {
    fn new(limits: ForwardLimits) -> World {
        let budget = Arc::new(ForwardBudget::new(1 << 30));
        World {
            stream: ForwardStream::new(limits, budget.clone()),
            budget,
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

    fn push(&mut self, expires_at: Option<Instant>) {
        self.pushed += 1;
        let receipt = Receipt { to: self.publisher.clone(), slot: self.pushed };
        let publication = Publication { number: self.pushed, retained: None };
        let message = expiring(self.pushed, expires_at);
        self.stream.push(publication, message, None, Some(receipt), self.now);
    }

    fn confirm(&self, done: Vec<Receipt>) {
        done.into_iter().for_each(|receipt| receipt.to.confirm(receipt.slot));
    }

    fn step(&mut self, step: Step) {
        let mut done = Vec::new();
        match step {
            Step::Push => self.push(None),
            Step::PushExpiring(after) => self.push(Some(self.now + Duration::from_millis(after))),
            Step::Pass(time) => self.now += Duration::from_millis(time),
            Step::Tidy { reachable } => {
                self.trimmed += self.stream.tidy(reachable, self.now, &mut done);
                self.trimmed += self.stream.take_expired();
            }
            Step::Send(count) => {
                for _ in 0..count {
                    match self.stream.poll_send(self.now) {
                        Some(Outgoing::Skip(to)) => self.link.push_back(Frame::Skip(to)),
                        Some(Outgoing::Forward(forwarding)) => self.link.push_back(Frame::Forward {
                            sequence: forwarding.place.sequence,
                            number: number(forwarding.message),
                        }),
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
                    self.stream.handle_ack(sequence, self.now, &mut done);
                }
            }
            Step::Cut => {
                self.link.clear();
                self.acks.clear();
                self.stream.handle_link_up(self.high_water.sequence(), self.now, &mut done);
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
            self.step(Step::Tidy { reachable: true });
        }
        self.trimmed += self.stream.take_expired();
    }
}

proptest! {
    #[test]
    fn a_stream_delivers_in_order_and_confirms_each_publish_once(steps in steps()) {
        let restarts = steps.iter().any(|step| matches!(step, Step::Restart));
        let mut world = World::new(ForwardLimits { messages: 20, age: Duration::from_millis(150), ..ForwardLimits::default() });
        for step in steps {
            world.step(step);
        }
        world.settle();
        if !restarts {
            prop_assert!(world.delivered.is_sorted_by(|a, b| a < b), "in order, none twice: {:?}", world.delivered);
            prop_assert!(world.delivered.len() as u64 >= world.pushed - world.trimmed, "none lost but those dropped");
        }
        let mut confirmed = world.publisher.0.lock().clone();
        confirmed.sort_unstable();
        prop_assert_eq!(confirmed, (1..=world.pushed).collect::<Vec<_>>());
        prop_assert_eq!(world.stream.backlog(world.now), Backlog::default());
        prop_assert_eq!(world.budget.used(), 0);
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
    let mut stream = ForwardStream::new(ForwardLimits::default(), Arc::new(ForwardBudget::new(1 << 20)));
    let push = |stream: &mut ForwardStream| {
        let publication = Publication { number: 1, retained: None };
        stream.push(publication, message(1), None, None, Instant::now());
    };
    push(&mut stream);
    stream.handle_link_up(u64::MAX, Instant::now(), &mut Vec::new());
    push(&mut stream);
    assert!(matches!(stream.poll_send(Instant::now()), Some(Outgoing::Forward(..))));
    assert!(stream.last() < u64::MAX);
}

#[test]
fn what_is_too_old_leaves_the_buffer_of_a_peer_that_cannot_be_reached() {
    let second = Duration::from_secs(1);
    let mut world = World::new(ForwardLimits { age: 10 * second, ..ForwardLimits::default() });
    for _ in 0..5 {
        world.step(Step::Push);
        world.now += second;
    }
    let mut done = Vec::new();
    world.now += 7 * second;
    assert_eq!(world.stream.tidy(true, world.now, &mut done), 0, "what is on its way is not too old");
    assert_eq!(world.stream.tidy(false, world.now, &mut done), 3);
    assert_eq!(
        world.stream.backlog(world.now),
        Backlog { oldest: 9 * second, ..world.stream.backlog(world.now) }
    );
    let released: Vec<u64> = done.iter().map(|receipt| receipt.slot).collect();
    assert_eq!(released, [1, 2, 3]);
    world.settle();
    assert_eq!(world.delivered, [4, 5]);
}

#[test]
fn what_has_expired_is_not_sent_wherever_it_stands() {
    let mut world = World::new(ForwardLimits::default());
    for step in
        [Step::PushExpiring(10), Step::Push, Step::PushExpiring(10), Step::Push, Step::PushExpiring(10)]
    {
        world.step(step);
    }
    world.step(Step::Pass(10));
    world.settle();
    assert_eq!(world.delivered, [2, 4]);
    assert_eq!(world.trimmed, 3);
    assert_eq!(world.high_water.sequence(), 5);

    // The buffer of a dead peer is looked through.
    for step in [Step::Push, Step::PushExpiring(10), Step::PushExpiring(10), Step::Push, Step::Pass(10)] {
        world.step(step);
    }
    let before = world.stream.backlog(world.now).bytes;
    world.step(Step::Tidy { reachable: false });
    assert_eq!((world.trimmed, world.stream.backlog(world.now).bytes), (5, before / 2));
    assert_eq!(*world.publisher.0.lock(), [1, 2, 3, 4, 5, 7, 8], "and nobody waits for it");
    world.settle();
    assert_eq!(world.delivered, [2, 4, 6, 9]);
}

/// A receiver learns the number of the last forward even where that is dropped: others may wait for it to get there.
#[test]
fn the_end_of_a_stream_is_told_where_nothing_is_left_of_it() {
    let mut world = World::new(ForwardLimits { age: Duration::ZERO, ..ForwardLimits::default() });
    for step in [Step::Push, Step::Push, Step::Tidy { reachable: false }, Step::Send(9), Step::Arrive(9)] {
        world.step(step);
    }
    assert_eq!(world.stream.last(), 2);
    assert_eq!(world.high_water.sequence(), 2);
}

#[test]
fn as_much_is_under_way_as_is_acknowledged_soon() {
    let mut world = World::new(ForwardLimits::default());
    for _ in 0..100_000 {
        world.step(Step::Push);
    }
    world.step(Step::Cut);
    let size = message(0).size();
    // The first acknowledgement is quick, all others take their time.
    let mut under_way = Vec::new();
    for milliseconds in [1, 500, 500, 500, 500] {
        world.step(Step::Send(usize::MAX));
        under_way.push(world.link.len() * size / 1024);
        world.step(Step::Arrive(usize::MAX));
        world.step(Step::Pass(milliseconds));
        world.step(Step::Ack(9));
    }
    assert_eq!(under_way, [64, 128, 64, 32, 16], "KiB");
    world.settle();
    assert_eq!(world.delivered.len(), 100_000);
}

#[test]
fn a_stream_that_refuses_keeps_what_it_has() {
    let limits = ForwardLimits { messages: 3, overflow: ForwardOverflow::Refuse, ..ForwardLimits::default() };
    let mut world = World::new(limits);
    for _ in 0..5 {
        world.step(Step::Push);
    }
    assert!(world.stream.is_full());
    assert_eq!(world.stream.trim(false, &mut Vec::new()), 0);
    world.settle();
    assert_eq!(world.delivered, [1, 2, 3, 4, 5]);
}

#[test]
fn what_nobody_waits_for_comes_late_and_little_at_a_time() {
    let mut world = World::new(ForwardLimits::default());
    for _ in 0..1000 {
        world.step(Step::Push);
    }
    assert!(!world.stream.is_late(), "publishers wait for it");
    let mut done = Vec::new();
    world.stream.release_receipts(world.now, Duration::ZERO, &mut done);
    assert!(world.stream.is_late());
    world.step(Step::Push);
    for _ in 0..3 {
        world.step(Step::Send(usize::MAX));
        assert_eq!(world.link.len(), 256);
        world.step(Step::Arrive(usize::MAX));
        world.step(Step::Ack(9));
    }
    world.step(Step::Send(usize::MAX));
    world.step(Step::Arrive(232));
    world.step(Step::Ack(9));
    assert!(!world.stream.is_late(), "the last one is not");
    world.settle();
    assert_eq!(world.delivered.len(), 1001);
}
