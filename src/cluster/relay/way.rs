//! Which way to a peer: over the link to it, or through a third node. Pure: what is known and the time come in, what to do
//! goes out.
//!
//! A link is *doubted* when nothing proves that it works both ways, while somebody else can reach the peer. It is trusted
//! again by an answer to a ping that was sent after that. A relay is asked for the receiver's position before anything is
//! sent through it, and again whenever nothing comes back: the question travels behind what was sent, so its answer says what
//! of that was lost. A relay that does not answer is left for the next one.

use std::time::{Duration, Instant};

use rumormq_gossip::NodeName;

/// Forwards that were not acknowledged for so long look for another way, or for what became of them.
const WAIT_MAX: Duration = Duration::from_millis(500);
/// A link on which no ping was answered for so long is doubted. Pings go every 500 ms.
const SILENCE_MAX: Duration = Duration::from_millis(900);
/// A relay that has carried nothing for so long and is not vouched for any more is asked whether it still works.
const UNPROVEN_MAX: Duration = Duration::from_secs(1);
/// A relay's answer is waited for so long; twice as long after each one that did not come.
const FIRST_PATIENCE: Duration = Duration::from_millis(500);
const LONGEST_PATIENCE: Duration = Duration::from_secs(8);

/// What is known about the ways to a peer.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// The time.
    pub now: Instant,
    /// The link to the peer, while one is up.
    pub link: Option<LinkProof>,
    /// Since when something has waited for an acknowledgement and none has come. None if nothing waits.
    pub waiting_since: Option<Instant>,
    /// Peers through which it can be reached, best first.
    pub through: &'a [NodeName],
}

/// The last proof that a link works both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkProof {
    /// When the last answer came: to a ping, or the greeting.
    pub answered: Instant,
    /// When that was asked for.
    pub asked: Instant,
}

/// What to do about the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Stay,
    /// From now on over the link.
    TakeLink,
    /// From now on through this peer, which is asked first.
    TakeRelay(NodeName),
    /// The present relay is to be asked.
    Ask,
    /// There is no way any more.
    GiveUp,
}

/// Chooses the way to one peer. Call `handle_*` for what happens and [`WayChooser::review`] every so often.
#[derive(Debug, Default)]
pub struct WayChooser {
    way: Way,
    /// When the link was doubted.
    doubted: Option<Instant>,
}

#[derive(Debug, Default)]
enum Way {
    #[default]
    None,
    Link,
    Relay(Relay),
}

#[derive(Debug)]
struct Relay {
    via: NodeName,
    /// Since when an answer is waited for.
    asked: Option<Instant>,
    /// When it last brought an answer.
    answered: Option<Instant>,
    patience: Duration,
    /// Those that have not answered since one did.
    failed: Vec<NodeName>,
}

impl WayChooser {
    /// A new link is up: its greeting proves it.
    pub fn handle_link_up(&mut self) {
        *self = WayChooser { way: Way::Link, doubted: None };
    }

    /// The link is gone.
    pub fn handle_link_down(&mut self) {
        self.doubted = None;
        if matches!(self.way, Way::Link) {
            self.way = Way::None;
        }
    }

    /// The link of the present relay is gone, or what was to be reached through it is another incarnation.
    pub fn handle_relay_down(&mut self) {
        if matches!(self.way, Way::Relay(_)) {
            self.way = Way::None;
        }
    }

    /// The present relay has brought an answer to what was asked, or an acknowledgement.
    pub fn handle_answer(&mut self, now: Instant) {
        if let Way::Relay(relay) = &mut self.way {
            relay.asked = None;
            relay.answered = Some(now);
            relay.patience = FIRST_PATIENCE;
            relay.failed.clear();
        }
    }

    /// Decides, and takes it for done.
    pub fn review(&mut self, look: Look<'_>) -> Step {
        match &mut self.way {
            Way::None if look.link.is_some() => self.take_link(),
            Way::None => match look.through.first() {
                Some(via) => self.take_relay(via.clone(), FIRST_PATIENCE, Vec::new(), look.now),
                None => Step::Stay,
            },
            Way::Link => match (look.link, look.through.first()) {
                (Some(_), Some(via)) if look.is_doubtful() => {
                    self.doubted = Some(look.now);
                    self.take_relay(via.clone(), FIRST_PATIENCE, Vec::new(), look.now)
                }
                // The link is to another incarnation.
                (None, Some(via)) => self.take_relay(via.clone(), FIRST_PATIENCE, Vec::new(), look.now),
                _ => Step::Stay,
            },
            Way::Relay(relay) => {
                let doubted = self.doubted;
                if look.link.is_some_and(|proof| doubted.is_none_or(|doubted| proof.asked > doubted)) {
                    return self.take_link();
                }
                if relay.asked.is_some_and(|asked| past(asked, relay.patience, look.now)) {
                    return self.leave_relay(look);
                }
                let vouched = look.through.contains(&relay.via);
                let unproven = relay.answered.is_none_or(|at| past(at, UNPROVEN_MAX, look.now));
                if relay.asked.is_none() && (look.waits() || (!vouched && unproven)) {
                    relay.asked = Some(look.now);
                    return Step::Ask;
                }
                Step::Stay
            }
        }
    }

    /// The present relay does not answer. The next one is tried, or the same again if it is still vouched for and there is
    /// no other.
    fn leave_relay(&mut self, look: Look<'_>) -> Step {
        let Way::Relay(relay) = std::mem::take(&mut self.way) else { return Step::Stay };
        let mut failed = relay.failed;
        failed.push(relay.via);
        let patience = (2 * relay.patience).min(LONGEST_PATIENCE);
        if look.link.is_some() && look.through.is_empty() {
            return self.take_link();
        }
        let untried = look.through.iter().find(|via| !failed.contains(via));
        match untried.or(look.through.first()) {
            Some(via) => {
                if untried.is_none() {
                    failed.clear();
                }
                self.take_relay(via.clone(), patience, failed, look.now)
            }
            None => Step::GiveUp,
        }
    }

    fn take_link(&mut self) -> Step {
        self.way = Way::Link;
        self.doubted = None;
        Step::TakeLink
    }

    fn take_relay(&mut self, via: NodeName, patience: Duration, failed: Vec<NodeName>, now: Instant) -> Step {
        self.way = Way::Relay(Relay { via: via.clone(), asked: Some(now), answered: None, patience, failed });
        Step::TakeRelay(via)
    }
}

impl Look<'_> {
    /// Whether the link may not work: less will do where something waits. An answer that takes long by itself is not late.
    pub fn is_doubtful(&self) -> bool {
        let limit = if self.waits() { WAIT_MAX } else { SILENCE_MAX };
        self.link.is_none_or(|LinkProof { answered, asked }| {
            past(answered, limit + answered.saturating_duration_since(asked), self.now)
        })
    }

    fn waits(&self) -> bool {
        self.waiting_since.is_some_and(|since| past(since, WAIT_MAX, self.now))
    }
}

fn past(since: Instant, limit: Duration, now: Instant) -> bool {
    now.saturating_duration_since(since) >= limit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(letter: &str) -> NodeName {
        NodeName::parse(&format!("{letter}@h")).expect("a name")
    }

    /// A chooser, what it looks at, and a clock.
    struct Scene {
        chooser: WayChooser,
        now: Instant,
        link: Option<LinkProof>,
        waiting_since: Option<Instant>,
        through: Vec<NodeName>,
    }

    impl Scene {
        fn new(through: &[&str]) -> Scene {
            let through = through.iter().map(|letter| name(letter)).collect();
            let now = Instant::now();
            Scene { chooser: WayChooser::default(), now, link: None, waiting_since: None, through }
        }

        fn linked(through: &[&str]) -> Scene {
            let mut scene = Scene::new(through);
            scene.chooser.handle_link_up();
            scene.pong();
            scene
        }

        fn pong(&mut self) {
            let asked = self.now - Duration::from_millis(1);
            self.link = Some(LinkProof { answered: self.now, asked });
        }

        fn after(&mut self, ms: u64) -> Step {
            self.now += Duration::from_millis(ms);
            self.review()
        }

        fn review(&mut self) -> Step {
            let Scene { now, link, waiting_since, ref through, .. } = *self;
            self.chooser.review(Look { now, link, waiting_since, through })
        }

        fn answer(&mut self) {
            self.chooser.handle_answer(self.now);
        }
    }

    #[test]
    fn a_link_that_answers_is_kept_however_long_its_acknowledgements_take() {
        let mut scene = Scene::linked(&["b"]);
        scene.waiting_since = Some(scene.now);
        for _ in 0..10 {
            assert_eq!(scene.after(490), Step::Stay);
            scene.pong();
        }
    }

    #[test]
    fn a_link_that_carries_nothing_is_left_within_a_second_and_trusted_again_by_a_new_answer() {
        let mut scene = Scene::linked(&["b"]);
        assert_eq!(scene.after(850), Step::Stay);
        assert_eq!(scene.after(100), Step::TakeRelay(name("b")));
        // What was asked before the link was doubted proves nothing about now.
        scene.link = Some(LinkProof { answered: scene.now, asked: scene.now - Duration::from_millis(900) });
        scene.answer();
        assert_eq!(scene.after(100), Step::Stay);
        scene.pong();
        assert_eq!(scene.review(), Step::TakeLink);
        assert_eq!(scene.review(), Step::Stay);
    }

    #[test]
    fn where_something_waits_a_link_is_left_sooner() {
        let mut scene = Scene::linked(&["b"]);
        scene.now += Duration::from_millis(10);
        scene.waiting_since = Some(scene.now);
        assert_eq!(scene.after(480), Step::Stay);
        assert_eq!(scene.after(40), Step::TakeRelay(name("b")));
    }

    #[test]
    fn answers_that_take_long_are_not_late() {
        let mut scene = Scene::linked(&["b"]);
        scene.link = Some(LinkProof { answered: scene.now, asked: scene.now - Duration::from_millis(600) });
        assert_eq!(scene.after(1300), Step::Stay);
        assert_eq!(scene.after(300), Step::TakeRelay(name("b")));
    }

    #[test]
    fn without_another_way_the_link_is_kept() {
        let mut scene = Scene::linked(&[]);
        scene.waiting_since = Some(scene.now);
        assert_eq!(scene.after(10_000), Step::Stay);
        scene.through = vec![name("b")];
        assert_eq!(scene.after(100), Step::TakeRelay(name("b")));
        // Nobody can reach it after all.
        scene.through.clear();
        assert_eq!(scene.after(500), Step::TakeLink);
        assert_eq!(scene.after(500), Step::Stay);
    }

    #[test]
    fn a_peer_that_is_not_linked_is_reached_through_the_first_that_answers() {
        let mut scene = Scene::new(&["b", "d"]);
        assert_eq!(scene.review(), Step::TakeRelay(name("b")));
        assert_eq!(scene.after(400), Step::Stay);
        assert_eq!(scene.after(100), Step::TakeRelay(name("d")));
        scene.answer();
        for _ in 0..20 {
            assert_eq!(scene.after(500), Step::Stay, "it is vouched for, and nothing waits");
        }
        scene.waiting_since = Some(scene.now);
        assert_eq!(scene.after(400), Step::Stay);
        assert_eq!(scene.after(100), Step::Ask);
        assert_eq!(scene.after(500), Step::TakeRelay(name("b")));
        assert_eq!(scene.after(500), Step::Stay, "the second one has more time");
        assert_eq!(scene.after(500), Step::TakeRelay(name("b")), "all were tried: from the first on");
        scene.chooser.handle_relay_down();
        scene.through = vec![name("d")];
        assert_eq!(scene.review(), Step::TakeRelay(name("d")), "at once where the relay is lost");
    }

    #[test]
    fn a_relay_that_nobody_vouches_for_is_asked_and_given_up() {
        let mut scene = Scene::new(&["b"]);
        scene.review();
        scene.answer();
        scene.through.clear();
        assert_eq!(scene.after(900), Step::Stay);
        assert_eq!(scene.after(100), Step::Ask);
        scene.answer();
        assert_eq!(scene.after(900), Step::Stay, "it works, whatever is said");
        assert_eq!(scene.after(100), Step::Ask);
        assert_eq!(scene.after(500), Step::GiveUp);
        assert_eq!(scene.after(500), Step::Stay);
    }

    #[test]
    fn a_new_link_is_taken_at_once() {
        let mut scene = Scene::new(&["b"]);
        scene.review();
        scene.chooser.handle_link_up();
        scene.pong();
        assert_eq!(scene.after(400), Step::Stay);
        scene.link = None;
        scene.chooser.handle_link_down();
        assert_eq!(scene.after(10), Step::TakeRelay(name("b")));
    }
}
