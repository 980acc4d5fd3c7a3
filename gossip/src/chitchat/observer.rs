//! From chitchat's state to observations: pure, `now` is passed in.
//!
//! It bridges what chitchat's state does not tell: that an incarnation has ended when a newer one is seen; that two nodes
//! hold one name when it has not; and that members are still there while chitchat, started anew, knows nobody.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ::chitchat::NodeState;
use tokio::time::Instant;

use crate::{Incarnation, NodeName, ReplicaId};

/// Keys taken over from one member; the rest is left out.
const MAX_KEYS: usize = 64;
/// Longest value of a key taken over, in bytes.
const MAX_VALUE_LEN: usize = 1024;
/// How long members that were alive stay so after a restart of chitchat, or after this node stood still: by then a live one
/// was heard of many times.
const GRACE: Duration = Duration::from_secs(5);
/// How long a member just heard of, but not yet known to live, is kept back: chitchat takes two heartbeats to tell.
const SETTLE: Duration = Duration::from_secs(3);
/// An incarnation whose heartbeats still come so long after a newer one appeared did not end: two nodes hold its name.
const CONFLICT_AFTER: Duration = Duration::from_secs(10);

/// What is known of another member, emitted when any of it has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Which start of which node.
    pub replica: ReplicaId,
    /// Whether its heartbeats arrive, on whatever path.
    pub liveness: Liveness,
    /// Another live incarnation of the same node exists: two nodes hold one name.
    pub conflict: bool,
    /// Where it receives datagrams and links.
    pub cluster_addr: SocketAddr,
    /// What it publishes.
    pub keys: BTreeMap<String, String>,
}

/// Whether a member lives, as far as heartbeats tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// Its heartbeats arrive.
    Alive,
    /// They stopped, or a newer incarnation of the node was seen.
    Dead,
    /// It was dead for `forget_after`. The last observation of it.
    Forgotten,
}

/// One entry of chitchat's state.
pub(super) struct Sighting<'a> {
    pub replica: ReplicaId,
    pub generation: u64,
    pub live: bool,
    pub cluster_addr: SocketAddr,
    pub version: u64,
    pub keys: &'a dyn Keys,
}

/// The keys of a member, read only when they have changed.
pub(super) trait Keys {
    fn collect(&self) -> BTreeMap<String, String>;
}

/// Everybody who was seen and is not forgotten.
pub(super) struct Observer {
    me: ReplicaId,
    forget_after: Duration,
    members: BTreeMap<ReplicaId, Member>,
    /// The moment of the last state.
    now: Instant,
    /// Since when it is not held against the others that they were not heard.
    listening_since: Option<Instant>,
}

struct Member {
    /// Generation and version of what `keys` holds.
    seen: (u64, u64),
    keys: BTreeMap<String, String>,
    cluster_addr: SocketAddr,
    first_seen: Instant,
    last_seen: Instant,
    superseded_since: Option<Instant>,
    /// The first moment of the present spell of death.
    dead_since: Option<Instant>,
    live: bool,
    conflict: bool,
    /// Whether something has changed that was not emitted.
    changed: bool,
    /// Whether anything was emitted.
    emitted: bool,
}

impl Observer {
    pub(super) fn new(me: ReplicaId, forget_after: Duration, now: Instant) -> Observer {
        Observer { me, forget_after, members: BTreeMap::new(), now, listening_since: None }
    }

    /// This node has not listened: chitchat starts anew, and its next states know nobody at first; or the process stood
    /// still, and chitchat takes its own silence for that of all others.
    pub(super) fn handle_deafness(&mut self, now: Instant) {
        self.listening_since = Some(now);
    }

    /// Takes over the state of a tick.
    pub(super) fn handle_state<'a>(&mut self, now: Instant, sightings: impl Iterator<Item = Sighting<'a>>) {
        self.now = now;
        // Of a replica that restarted chitchat the highest generation speaks; any of them tells that it lives.
        let mut speaking: BTreeMap<ReplicaId, Sighting<'a>> = BTreeMap::new();
        for mut sighting in sightings.filter(|sighting| sighting.replica != self.me) {
            if let Some(other) = speaking.get_mut(&sighting.replica) {
                let live = sighting.live || other.live;
                if (sighting.version > 0, sighting.generation) > (other.version > 0, other.generation) {
                    std::mem::swap(other, &mut sighting);
                }
                other.live = live;
            } else {
                speaking.insert(sighting.replica.clone(), sighting);
            }
        }
        speaking.into_values().for_each(|sighting| self.see(sighting));
        self.judge();
    }

    /// What has changed and is not yet told, one observation each call.
    pub(super) fn poll_observation(&mut self) -> Option<Observation> {
        let now = self.now;
        let (replica, member) =
            self.members.iter_mut().find(|(_, member)| member.changed && member.settled(now))?;
        let forgotten = member.is_forgotten(now, self.forget_after);
        let observation = Observation {
            replica: replica.clone(),
            liveness: match member.dead_since {
                None => Liveness::Alive,
                Some(_) if forgotten => Liveness::Forgotten,
                Some(_) => Liveness::Dead,
            },
            conflict: member.conflict,
            cluster_addr: member.cluster_addr,
            keys: member.keys.clone(),
        };
        (member.changed, member.emitted) = (false, true);
        if forgotten {
            self.members.remove(&observation.replica);
        }
        Some(observation)
    }

    /// Addresses of the members that were alive when last heard of.
    pub(super) fn live_addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.members.values().filter(|member| member.dead_since.is_none()).map(|member| member.cluster_addr)
    }

    fn see(&mut self, sighting: Sighting) {
        let now = self.now;
        let seen = (sighting.generation, sighting.version);
        let member = self.members.entry(sighting.replica).or_insert_with(|| Member {
            seen: (0, 0),
            keys: BTreeMap::new(),
            cluster_addr: sighting.cluster_addr,
            first_seen: now,
            last_seen: now,
            superseded_since: None,
            dead_since: Some(now),
            live: false,
            conflict: false,
            changed: true,
            emitted: false,
        });
        member.last_seen = now;
        member.live = sighting.live;
        // A restarted chitchat may at first hear of an older generation than the one it knew: that is no news.
        if seen > member.seen {
            let keys = sighting.keys.collect();
            member.changed |= keys != member.keys || sighting.cluster_addr != member.cluster_addr;
            (member.seen, member.keys, member.cluster_addr) = (seen, keys, sighting.cluster_addr);
        }
    }

    /// Who is alive, who is not, and who has a name that is not theirs alone.
    fn judge(&mut self) {
        let now = self.now;
        let was_deaf = self.listening_since.is_some_and(|at| now.duration_since(at) < GRACE);
        let mut newest: BTreeMap<NodeName, Incarnation> = BTreeMap::new();
        newest.insert(self.me.name.clone(), self.me.incarnation);
        for replica in self.members.keys() {
            let incarnation = newest.entry(replica.name.clone()).or_insert(replica.incarnation);
            *incarnation = replica.incarnation.max(*incarnation);
        }
        let mut live: BTreeMap<NodeName, usize> = BTreeMap::from([(self.me.name.clone(), 1)]);
        for (replica, member) in &mut self.members {
            let was_alive = member.dead_since.is_none();
            let heard = (member.live && member.last_seen == now) || (was_alive && was_deaf);
            let superseded = newest.get(&replica.name).is_some_and(|newest| *newest > replica.incarnation);
            let superseded_since = superseded.then(|| *member.superseded_since.get_or_insert(now));
            let alive =
                heard && superseded_since.is_none_or(|since| now.duration_since(since) >= CONFLICT_AFTER);
            if alive {
                *live.entry(replica.name.clone()).or_default() += 1;
            }
            if alive != was_alive {
                member.dead_since = (!alive).then_some(now);
                member.changed = true;
            }
            member.changed |= member.is_forgotten(now, self.forget_after);
        }
        for (replica, member) in &mut self.members {
            let conflict =
                member.dead_since.is_none() && live.get(&replica.name).is_some_and(|count| *count > 1);
            member.changed |= conflict != member.conflict;
            member.conflict = conflict;
        }
    }
}

impl Member {
    fn settled(&self, now: Instant) -> bool {
        self.emitted || self.dead_since.is_none() || now.duration_since(self.first_seen) >= SETTLE
    }

    /// chitchat forgets the dead at the same age, but may have been started anew meanwhile.
    fn is_forgotten(&self, now: Instant, forget_after: Duration) -> bool {
        self.last_seen < now && self.dead_since.is_some_and(|since| now.duration_since(since) >= forget_after)
    }
}

impl Keys for NodeState {
    fn collect(&self) -> BTreeMap<String, String> {
        self.key_values()
            .filter(|(_, value)| value.len() <= MAX_VALUE_LEN)
            .take(MAX_KEYS)
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Keys for BTreeMap<String, String> {
        fn collect(&self) -> BTreeMap<String, String> {
            self.clone()
        }
    }

    const FORGET_AFTER: Duration = Duration::from_secs(60);

    fn replica(name: &str, incarnation: u64) -> ReplicaId {
        ReplicaId { name: NodeName::parse(name).unwrap(), incarnation: Incarnation(incarnation) }
    }

    fn keys(value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("k".to_owned(), value.to_owned())])
    }

    /// Drives an observer by a clock of its own.
    struct Script {
        observer: Observer,
        now: Instant,
    }

    /// Name, incarnation, restart of chitchat, whether live, version, value of the one key.
    type Seen<'a> = (&'a str, u64, u64, bool, u64, &'a str);

    impl Script {
        fn new() -> Script {
            let now = Instant::now();
            Script { observer: Observer::new(replica("me@h", 5), FORGET_AFTER, now), now }
        }

        fn after(&mut self, secs: u64, seen: &[Seen]) -> Vec<Observation> {
            self.now += Duration::from_secs(secs);
            let keys: Vec<BTreeMap<String, String>> = seen.iter().map(|seen| keys(seen.5)).collect();
            let sightings =
                seen.iter().zip(&keys).map(|((name, incarnation, restart, live, version, _), keys)| {
                    Sighting {
                        replica: replica(name, *incarnation),
                        generation: incarnation << 20 | restart,
                        live: *live,
                        cluster_addr: ([127, 0, 0, 1], 7883).into(),
                        version: *version,
                        keys,
                    }
                });
            self.observer.handle_state(self.now, sightings);
            std::iter::from_fn(|| self.observer.poll_observation()).collect()
        }

        /// The same as (name, incarnation, liveness, conflict).
        fn short(&mut self, secs: u64, seen: &[Seen]) -> Vec<(String, u64, Liveness, bool)> {
            self.after(secs, seen)
                .into_iter()
                .map(|o| (o.replica.name.to_string(), o.replica.incarnation.0, o.liveness, o.conflict))
                .collect()
        }
    }

    fn short(
        name: &str,
        incarnation: u64,
        liveness: Liveness,
        conflict: bool,
    ) -> (String, u64, Liveness, bool) {
        (name.to_owned(), incarnation, liveness, conflict)
    }

    use Liveness::{Alive, Dead, Forgotten};

    #[test]
    fn only_changes_are_told() {
        let mut script = Script::new();
        let first = script.after(0, &[("a@h", 1, 0, true, 1, "x")]);
        assert_eq!((first.len(), first[0].liveness, &first[0].keys), (1, Alive, &keys("x")));
        assert_eq!(script.after(1, &[("a@h", 1, 0, true, 1, "x")]), []);
        assert_eq!(script.after(1, &[("a@h", 1, 0, true, 2, "y")])[0].keys, keys("y"));
        assert_eq!(
            script.after(1, &[("me@h", 5, 0, true, 9, "z"), ("a@h", 1, 0, true, 2, "y")]),
            [],
            "itself"
        );
    }

    #[test]
    fn death_return_and_oblivion() {
        let mut script = Script::new();
        assert_eq!(script.short(0, &[("a@h", 1, 0, true, 1, "x")]), [short("a@h", 1, Alive, false)]);
        assert_eq!(script.short(1, &[("a@h", 1, 0, false, 1, "x")]), [short("a@h", 1, Dead, false)]);
        assert_eq!(script.short(1, &[("a@h", 1, 0, true, 1, "x")]), [short("a@h", 1, Alive, false)]);
        assert_eq!(script.short(1, &[("a@h", 1, 0, false, 1, "x")]), [short("a@h", 1, Dead, false)]);
        assert_eq!(script.short(61, &[("a@h", 1, 0, false, 1, "x")]), [], "chitchat still knows it");
        assert_eq!(script.short(1, &[]), [short("a@h", 1, Forgotten, false)]);
        assert_eq!(script.short(1, &[]), []);
    }

    #[test]
    fn a_newcomer_is_told_when_its_liveness_is_known() {
        let mut script = Script::new();
        assert_eq!(script.short(0, &[("a@h", 1, 0, false, 0, ""), ("b@h", 1, 0, false, 0, "")]), []);
        let seen = [("a@h", 1, 0, true, 0, ""), ("b@h", 1, 0, false, 0, "")];
        assert_eq!(script.short(1, &seen), [short("a@h", 1, Alive, false)]);
        assert_eq!(script.short(2, &seen), [short("b@h", 1, Dead, false)], "known by hearsay only");
    }

    #[test]
    fn a_new_incarnation_ends_the_old_one_at_once() {
        let mut script = Script::new();
        script.after(0, &[("a@h", 1, 0, true, 1, "x")]);
        let both = [("a@h", 1, 0, true, 1, "x"), ("a@h", 2, 0, false, 0, "")];
        assert_eq!(script.short(1, &both), [short("a@h", 1, Dead, false)]);
        let both = [("a@h", 1, 0, false, 1, "x"), ("a@h", 2, 0, true, 1, "y")];
        assert_eq!(script.short(1, &both), [short("a@h", 2, Alive, false)]);
        assert_eq!(script.short(20, &both), []);
    }

    #[test]
    fn two_that_live_under_one_name_are_a_conflict() {
        let mut script = Script::new();
        let both = [("a@h", 1, 0, true, 1, "x"), ("a@h", 2, 0, true, 1, "y")];
        assert_eq!(script.short(0, &both), [short("a@h", 2, Alive, false)]);
        let told = script.short(10, &both);
        assert_eq!(told, [short("a@h", 1, Alive, true), short("a@h", 2, Alive, true)]);
        let one = [("a@h", 1, 0, false, 1, "x"), ("a@h", 2, 0, true, 1, "y")];
        assert_eq!(script.short(1, &one), [short("a@h", 1, Dead, false), short("a@h", 2, Alive, false)]);
    }

    #[test]
    fn another_node_under_my_own_name_is_a_conflict() {
        let mut script = Script::new();
        assert_eq!(script.short(0, &[("me@h", 6, 0, true, 1, "")]), [short("me@h", 6, Alive, true)]);
        let mut script = Script::new();
        assert_eq!(script.short(0, &[("me@h", 4, 0, true, 1, "")]), [], "what I was before");
        assert_eq!(script.short(10, &[("me@h", 4, 0, true, 1, "")]), [short("me@h", 4, Alive, true)]);
    }

    #[test]
    fn a_restart_of_chitchat_here_kills_nobody_who_lives() {
        let mut script = Script::new();
        let all = [("a@h", 1, 0, true, 3, "x"), ("b@h", 1, 0, true, 3, "x")];
        assert_eq!(script.after(0, &all).len(), 2);
        script.observer.handle_deafness(script.now);
        assert_eq!(script.observer.live_addresses().count(), 2);
        assert_eq!(script.after(1, &[]), []);
        assert_eq!(script.after(1, &[("a@h", 1, 0, false, 0, "")]), [], "keys and liveness are kept");
        assert_eq!(script.after(1, &[("a@h", 1, 0, true, 3, "x")]), []);
        let told = script.short(3, &[("a@h", 1, 0, true, 3, "x")]);
        assert_eq!(told, [short("b@h", 1, Dead, false)], "it died meanwhile");
        let told = script.short(60, &[("a@h", 1, 0, true, 3, "x")]);
        assert_eq!(told, [short("b@h", 1, Forgotten, false)]);
    }

    #[test]
    fn a_restart_of_chitchat_elsewhere_is_the_same_replica() {
        let mut script = Script::new();
        script.after(0, &[("a@h", 1, 0, true, 9, "x")]);
        let both = [("a@h", 1, 0, true, 9, "x"), ("a@h", 1, 1, false, 0, "")];
        assert_eq!(script.after(1, &both), [], "the new generation says nothing yet");
        let both = [("a@h", 1, 0, false, 9, "x"), ("a@h", 1, 1, true, 2, "y")];
        let told = script.after(1, &both);
        assert_eq!((told.len(), told[0].liveness, &told[0].keys), (1, Alive, &keys("y")));
    }
}
