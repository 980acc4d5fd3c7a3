//! What a client does from its first connection to its last.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rumormq::codec::packet::QoS;

use super::Stage;
use super::agent::Agent;
use crate::history::Node;

const Q: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// Topics of a publisher.
const TOPICS: usize = 4;
/// A publisher waits while so many of its publishes are unacknowledged.
const IN_FLIGHT_MAX: usize = 64;
/// One publish of so many is retained.
const RETAINED_EVERY: usize = 20;
/// How long nobody looks whether something is to be done.
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Clone, Debug)]
pub enum Role {
    /// Publishes once in that time.
    Publisher {
        interval: Duration,
    },
    Subscriber,
    Lasting,
    Mover,
    Restless,
    Member,
}

impl Role {
    pub fn name(&self) -> &'static str {
        match self {
            Role::Publisher { .. } => "publisher",
            Role::Subscriber => "subscriber",
            Role::Lasting => "lasting",
            Role::Mover => "mover",
            Role::Restless => "restless",
            Role::Member => "member",
        }
    }

    /// Whether the session of the client of this number outlives its connections.
    pub fn lasts(&self, number: usize) -> bool {
        match self {
            Role::Publisher { .. } => number % 2 == 1,
            Role::Lasting | Role::Mover => true,
            Role::Subscriber | Role::Restless | Role::Member => false,
        }
    }

    /// What it wants to have all the time.
    fn filters(&self, agent: &mut Agent, publishers: usize) -> Vec<(String, QoS)> {
        let publisher = agent.random.below(publishers.max(1));
        let topic = agent.random.below(TOPICS);
        match self {
            Role::Publisher { .. } => Vec::new(),
            Role::Subscriber => match agent.random.below(3) {
                0 => vec![(format!("t/+/{topic}"), Q[1])],
                1 => vec![(format!("t/{publisher}/{topic}"), Q[0]), (format!("r/{publisher}/#"), Q[1])],
                _ => vec![(format!("t/{publisher}/{topic}"), Q[2]), (format!("t/{publisher}/+"), Q[1])],
            },
            Role::Lasting => vec![(format!("t/{publisher}/#"), Q[2])],
            Role::Mover => vec![(format!("t/+/{topic}"), Q[2])],
            Role::Restless => vec![("r/#".to_owned(), Q[1])],
            Role::Member => vec![("$share/g/t/#".to_owned(), Q[2])],
        }
    }
}

/// From the first connection, on `home`, until all is over.
pub fn live(mut agent: Agent, role: &Role, home: Node, publishers: usize, stage: &Stage) {
    for (filter, qos) in role.filters(&mut agent, publishers) {
        agent.subscribe(&filter, qos);
    }
    agent.connect(home);
    let (mut is_ready, mut is_settled) = (false, false);
    let mut due = Instant::now();
    let mut place = home;
    while !stage.over.load(Ordering::Acquire) {
        if agent.node().is_none() {
            agent.reconnect(None);
            continue;
        }
        if !is_ready && agent.is_idle() {
            is_ready = true;
            stage.ready.fetch_add(1, Ordering::AcqRel);
        }
        let settles = stage.settles.load(Ordering::Acquire);
        if settles && !is_settled {
            let mut unsettled = stage.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
            if agent.is_idle() {
                is_settled = true;
                unsettled.remove(&agent.number);
                stage.settled.fetch_add(1, Ordering::AcqRel);
            } else {
                unsettled.insert(agent.number, agent.waits_for());
            }
        }
        if is_ready && !settles && Instant::now() >= due {
            due += act(&mut agent, role, &mut place, publishers);
            // What could not be done in time is not made up for.
            due = due.max(Instant::now() - Duration::from_secs(1));
        }
        let look = Instant::now() + LOOK_EVERY;
        agent.serve(if settles { look } else { look.min(due.max(Instant::now())) });
    }
    agent.finish();
}

/// Does what the role is there for; gives the time until it is to do so again.
fn act(agent: &mut Agent, role: &Role, place: &mut Node, publishers: usize) -> Duration {
    match role {
        Role::Publisher { interval } => {
            if agent.in_flight() < IN_FLIGHT_MAX {
                publish(agent, publishers);
            }
            // Not all at once, and not in step.
            interval.mul_f64(0.5 + agent.random.share())
        }
        Role::Mover => {
            moves(agent, place);
            Duration::from_millis(4000).mul_f64(0.5 + agent.random.share())
        }
        Role::Restless => {
            flits(agent, publishers);
            Duration::from_millis(600).mul_f64(0.5 + agent.random.share())
        }
        Role::Subscriber | Role::Lasting | Role::Member => Duration::from_secs(1),
    }
}

fn publish(agent: &mut Agent, publishers: usize) {
    let own = agent.number % publishers.max(1);
    let topic = agent.random.below(TOPICS);
    let qos = Q[agent.random.below(3)];
    if agent.random.below(RETAINED_EVERY) == 0 {
        agent.publish(&format!("r/{own}/{topic}"), qos, true);
    } else {
        agent.publish(&format!("t/{own}/{topic}"), qos, false);
    }
}

/// Goes to another node: while it is connected, as after a goodbye, or as after a fall.
fn moves(agent: &mut Agent, place: &mut Node) {
    let nodes = agent.nodes();
    if nodes < 2 {
        return;
    }
    let next = (*place + 1 + agent.random.below(nodes - 1)) % nodes;
    match agent.random.below(3) {
        0 => {}
        1 => agent.leave(),
        _ => agent.hangs_up(),
    }
    agent.connect(next);
    *place = next;
}

/// Subscribes to one thing and drops another, or goes and comes back.
fn flits(agent: &mut Agent, publishers: usize) {
    let held: Vec<String> =
        agent.wanted().filter(|filter| filter.starts_with("t/")).map(str::to_owned).collect();
    if !agent.is_idle() {
        return;
    }
    if held.len() >= 3 {
        let filter = agent.random.one_of(&held).clone();
        agent.unsubscribe(&filter);
        return;
    }
    match agent.random.below(12) {
        0 => agent.leave(),
        1 => agent.hangs_up(),
        _ => {
            let (publisher, topic) = (agent.random.below(publishers.max(1)), agent.random.below(TOPICS));
            let filter = match agent.random.below(3) {
                0 => format!("t/{publisher}/{topic}"),
                1 => format!("t/{publisher}/+"),
                _ => format!("+/{publisher}/{topic}"),
            };
            let qos = Q[agent.random.below(3)];
            agent.subscribe(&filter, qos);
        }
    }
}
