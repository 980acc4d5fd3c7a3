//! Dials seeds and members to which there is no link, or none that carries anything.

mod attempts;
mod connect;
mod host;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rumormq_gossip::chitchat::Spell;
use rumormq_gossip::{MemberState, NodeName, ReplicaId};

use self::attempts::{Attempts, Look, Urgency};
use self::connect::CONNECT_MAX;
use self::host::{Outcome, dial_address, dial_host};
use super::Cluster;

/// Between two looks at who is not linked.
const ROUND: Duration = Duration::from_millis(100);
/// Of two nodes the one with the lower name dials at once; the other one only after this.
const COURTESY: Duration = Duration::from_millis(500);
/// A link on which nothing was answered for so long is dialled anew. Longer, and a cut that has healed is felt for longer.
const MUTE_AFTER: Duration = Duration::from_secs(2);
/// The same where datagrams came all the time. There was no cut then: packets are lost, and TCP gets through, sooner than a new
/// connection would mostly; a third node takes over meanwhile. What a firewall has forgotten is dialled anew after that.
const LOSSY_AFTER: Duration = Duration::from_secs(7);
/// A datagram speaks for its sender so long. In a large cluster those of one member come every second or so.
const DATAGRAM_SPEAKS: Duration = Duration::from_secs(2);

/// Whom to dial, and when again. Bounded by the number of seeds and members.
#[derive(Debug)]
pub struct Dialer {
    targets: Mutex<BTreeMap<Target, Attempts>>,
    /// How the last attempt at each seed has ended. Guarded by a lock of its own, under which no other is taken.
    outcomes: Mutex<BTreeMap<String, Outcome>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Seed(String),
    Member(NodeName),
}

/// A seed is dialled at once, whatever is known of it.
const SEED: Look = Look { urgency: Urgency::Seed, heard: false, held: false, courtesy: Duration::ZERO };

impl Dialer {
    /// Nobody was dialled yet.
    pub fn new(seeds: &[String]) -> Dialer {
        let now = Instant::now();
        let targets = seeds.iter().map(|seed| (Target::Seed(seed.clone()), Attempts::new(SEED, now)));
        Dialer { targets: Mutex::new(targets.collect()), outcomes: Mutex::default() }
    }

    /// Whether there is nobody to wait for: no seeds, or none that is another node.
    pub fn is_alone(&self) -> bool {
        let targets = self.targets.lock();
        targets.iter().all(|(target, attempts)| matches!(target, Target::Member(_)) || attempts.is_itself())
    }

    /// Why there is no link to a seed, in words.
    pub fn reason(&self, seed: &str) -> String {
        match self.outcomes.lock().get(seed) {
            Some(Outcome::Itself) => "this is the node itself".to_owned(),
            Some(Outcome::Failed(reason)) => reason.clone(),
            Some(Outcome::Linked) => "the link was closed again".to_owned(),
            None => "no answer yet".to_owned(),
        }
    }

    /// Begins an attempt if it is time for one; says how many there were before.
    fn begin(&self, target: &Target, look: Look, now: Instant) -> Option<usize> {
        let mut targets = self.targets.lock();
        let attempts = targets.entry(target.clone()).or_insert_with(|| Attempts::new(look, now));
        attempts.begin(look, CONNECT_MAX, now)
    }

    fn end(&self, target: &Target, lasted: Duration, itself: bool) {
        let random = f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX);
        if let Some(attempts) = self.targets.lock().get_mut(target) {
            attempts.end(lasted, itself, 0.75 + random / 2.0, Instant::now());
        }
    }

    /// Those that are no seeds any more are not tried any more.
    fn retain_seeds(&self, seeds: &[String]) {
        self.outcomes.lock().retain(|seed, _| seeds.contains(seed));
        self.targets.lock().retain(|target, attempts| match target {
            Target::Seed(seed) => attempts.is_running() || seeds.contains(seed),
            Target::Member(_) => true,
        });
    }

    /// Members that need no attempts are forgotten; when they do again, they begin anew.
    fn forget(&self, keep: impl Fn(&NodeName) -> bool) {
        self.targets.lock().retain(|target, attempts| match target {
            Target::Seed(_) => true,
            Target::Member(name) => attempts.is_running() || keep(name),
        });
    }
}

/// Dials until the task is dropped.
pub async fn run(cluster: Arc<Cluster>) {
    let mut ticks = tokio::time::interval(ROUND);
    loop {
        ticks.tick().await;
        if cluster.stopped.load(Ordering::Acquire) {
            return;
        }
        let now = Instant::now();
        cluster.review_links(now);
        let members = cluster.members_to_dial(now);
        cluster.dialer.forget(|name| members.contains_key(name));
        for (name, (address, look)) in members {
            dial_member(&cluster, name, address, look, now);
        }
        // Once linked to anyone, the rest is gossip's work; a node on its own keeps asking its seeds, and whom it knew.
        if !cluster.has_links() {
            let seeds = cluster.seeds();
            cluster.dialer.retain_seeds(&seeds);
            for seed in seeds {
                dial_seed(&cluster, seed, now);
            }
        }
    }
}

fn dial_seed(cluster: &Arc<Cluster>, seed: String, now: Instant) {
    let target = Target::Seed(seed.clone());
    let Some(turn) = cluster.dialer.begin(&target, SEED, now) else { return };
    let cluster = cluster.clone();
    tokio::spawn(async move {
        let outcome = dial_host(&cluster, &seed, turn).await;
        let itself = outcome == Outcome::Itself;
        cluster.dialer.outcomes.lock().insert(seed, outcome);
        cluster.dialer.end(&target, now.elapsed(), itself);
    });
}

fn dial_member(cluster: &Arc<Cluster>, name: NodeName, address: SocketAddr, look: Look, now: Instant) {
    let target = Target::Member(name.clone());
    if cluster.dialer.begin(&target, look, now).is_none() {
        return;
    }
    let cluster = cluster.clone();
    tokio::spawn(async move {
        let outcome = dial_address(&cluster, address, || !cluster.is_answered(&name, now)).await;
        cluster.dialer.end(&target, now.elapsed(), outcome == Outcome::Itself);
    });
}

impl Cluster {
    /// Members that this node should have a link to, or a better one than it has.
    fn members_to_dial(&self, now: Instant) -> BTreeMap<NodeName, (SocketAddr, Look)> {
        let mut members = BTreeMap::new();
        let me = self.me();
        let addresses = self.members.addresses();
        let replication = self.replication.lock();
        for (replica, address, beats) in addresses {
            let vouched = replication.node.vouches_for(&replica, now);
            let look = match replication.node.member_state(&replica) {
                _ if replica.name == me.name || replication.node.has_left(&replica) => None,
                Some(MemberState::Stopped | MemberState::Left) => None,
                // The dead are in no grid: whoever finds them brings them back.
                Some(MemberState::Alive | MemberState::Suspect)
                    if !self.wants_link(&replication.node, &replica.name) =>
                {
                    None
                }
                _ => self.look_at(&replica, address, beats, vouched, now),
            };
            // The newest incarnation comes last.
            match look {
                Some(look) => members.insert(replica.name.clone(), (address, look)),
                None => members.remove(&replica.name),
            };
        }
        members
    }

    fn look_at(
        &self,
        replica: &ReplicaId,
        address: SocketAddr,
        beats: bool,
        vouched: bool,
        now: Instant,
    ) -> Option<Look> {
        let membership = self.membership.read();
        let spell = membership.as_ref().and_then(|membership| membership.heard(address));
        let spell = spell.filter(|spell| now.saturating_duration_since(spell.last) < DATAGRAM_SPEAKS);
        let link = self.peers.find(&replica.name).and_then(|peer| peer.link());
        if let Some(link) = &link
            && !is_mute(link.answered(), vouched, spell, now)
        {
            return None;
        }
        let me = &self.config.replica.name;
        Some(Look {
            urgency: if beats || vouched || spell.is_some() { Urgency::Live } else { Urgency::Dead },
            heard: spell.is_some(),
            held: link.is_some_and(|link| link.dialled_by == *me),
            courtesy: if *me > replica.name { COURTESY } else { Duration::ZERO },
        })
    }

    /// Whether the link to a member has come back to life while another one was dialled.
    fn is_answered(&self, name: &NodeName, since: Instant) -> bool {
        let link = self.peers.find(name).and_then(|peer| peer.link());
        link.is_some_and(|link| link.answered() > since)
    }
}

/// Whether a link that was answered last at `answered` is to be made anew. What was lost on the way is repeated by the system,
/// later and later: when the way is free again after a cut, a new connection is faster. While nothing speaks for that, the one
/// there is may as well wait.
fn is_mute(answered: Instant, vouched: bool, spell: Option<Spell>, now: Instant) -> bool {
    let silence = now.saturating_duration_since(answered);
    let there = vouched || spell.is_some_and(|spell| spell.last > answered + MUTE_AFTER / 2);
    let lossy = spell.is_some_and(|spell| spell.since <= answered);
    there && silence > if lossy { LOSSY_AFTER } else { MUTE_AFTER }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_made_anew_soon_after_a_cut_and_late_where_packets_are_lost() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let spell = |since, last| Some(Spell { since: at(since), last: at(last) });
        // Answered last after 10 s.
        let mute = |vouched, spell, ms| is_mute(at(10_000), vouched, spell, at(ms));
        assert!(!mute(false, None, 20_000), "nobody is there");
        assert!(
            !mute(true, None, 12_000) && mute(true, None, 12_001),
            "others have answers, datagrams are blocked"
        );
        assert!(!mute(false, spell(11_900, 12_000), 12_000), "the way was cut and is free again");
        assert!(mute(false, spell(11_900, 12_000), 12_001));
        assert!(!mute(true, spell(0, 16_900), 17_000), "datagrams came all the time");
        assert!(mute(true, spell(0, 16_900), 17_001));
        assert!(mute(false, spell(0, 16_900), 17_001));
    }
}
