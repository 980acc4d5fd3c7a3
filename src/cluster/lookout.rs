//! Looks at the cluster every so often, and says what is different: ways to members, convergence, repairs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rumormq_gossip::{Counters, LinkState, MemberStatus, NodeName};

use super::Snapshot;
use super::events::{News, Subject};

/// Between two looks.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A node that is behind for less is at work, and no news.
const BEHIND_NEWS: Duration = Duration::from_secs(1);

/// What was seen last.
#[derive(Debug, Default)]
pub struct Lookout {
    ways: BTreeMap<NodeName, LinkState>,
    counters: Counters,
    /// Since when the node has not had all that it knows of, and whether that was told.
    behind: Option<(Instant, bool)>,
}

impl Lookout {
    /// What is different from the last time.
    pub fn look(&mut self, snapshot: &Snapshot, now: Instant) -> Vec<News> {
        let mut news = Vec::new();
        self.look_at_ways(snapshot, &mut news);
        self.look_at_repairs(&snapshot.counters, &mut news);
        self.look_at_convergence(snapshot.converged, now, &mut news);
        news
    }

    /// Of several starts of a node the one counts that is reached.
    fn look_at_ways(&mut self, snapshot: &Snapshot, news: &mut Vec<News>) {
        let mut ways: BTreeMap<NodeName, LinkState> = BTreeMap::new();
        let others = snapshot.members.iter().filter(|member| member.replica.name != snapshot.me.name);
        for MemberStatus { replica, link, .. } in others {
            let way = ways.entry(replica.name.clone()).or_insert(LinkState::None);
            if *link != LinkState::None {
                *way = link.clone();
            }
        }
        for (name, way) in &ways {
            let before = self.ways.get(name).unwrap_or(&LinkState::None);
            if before == way {
                continue;
            }
            let text = match (before, way) {
                (_, LinkState::Direct) => "linked".to_owned(),
                (LinkState::Direct, LinkState::Relayed(via)) => {
                    format!("link lost; reached through {}", via.name)
                }
                (_, LinkState::Relayed(via)) => format!("reached through {}", via.name),
                (LinkState::Direct, LinkState::None) => "link lost".to_owned(),
                (_, LinkState::None) => "not reached any more".to_owned(),
            };
            news.push(News { subject: Subject::Link, node: Some(name.clone()), text });
        }
        self.ways = ways;
    }

    fn look_at_repairs(&mut self, counters: &Counters, news: &mut Vec<News>) {
        let before = std::mem::replace(&mut self.counters, *counters);
        let counts = |it: &Counters| {
            [it.repair_range_origin, it.repair_range_peer, it.repair_snapshot_origin, it.repair_snapshot_peer]
        };
        let words = [
            "what was missed came from its owner",
            "what was missed came from a third node",
            "a whole copy came from its owner",
            "a whole copy came from a third node",
        ];
        for ((now, before), words) in counts(counters).into_iter().zip(counts(&before)).zip(words) {
            let text = match now.saturating_sub(before) {
                0 => continue,
                1 => words.to_owned(),
                times => format!("{words}, {times} times"),
            };
            news.push(News { subject: Subject::Repair, node: None, text });
        }
    }

    fn look_at_convergence(&mut self, converged: bool, now: Instant, news: &mut Vec<News>) {
        let text = match (converged, &mut self.behind) {
            (true, None) => return,
            (true, behind) => match behind.take() {
                Some((since, true)) => {
                    let took = now.saturating_duration_since(since);
                    format!("converged again after {:.1} s", took.as_secs_f64())
                }
                _ => return,
            },
            (false, Some((since, told @ false))) if now.saturating_duration_since(*since) >= BEHIND_NEWS => {
                *told = true;
                "behind: others have written what has not arrived".to_owned()
            }
            (false, Some(_)) => return,
            (false, behind @ None) => {
                *behind = Some((now, false));
                return;
            }
        };
        news.push(News { subject: Subject::Convergence, node: None, text });
    }
}

#[cfg(test)]
mod tests {
    use rumormq_gossip::{Incarnation, ReplicaId};

    use super::*;

    fn replica(name: &str) -> ReplicaId {
        ReplicaId { name: NodeName::parse(name).unwrap(), incarnation: Incarnation(1) }
    }

    fn snapshot(links: &[(&str, LinkState)]) -> Snapshot {
        let member = |(name, link): &(&str, LinkState)| MemberStatus {
            replica: replica(name),
            link: link.clone(),
            state: None,
            visible: true,
            rtt: None,
            lanes: Vec::new(),
        };
        Snapshot {
            me: replica("a@h"),
            heads: Vec::new(),
            members: links.iter().map(member).collect(),
            name_conflicts: 0,
            converged: true,
            converged_for: Duration::ZERO,
            stamps_ahead_ms: 0,
            counters: Counters::default(),
        }
    }

    fn texts(news: Vec<News>) -> Vec<String> {
        let text = |news: News| match news.node {
            Some(node) => format!("{node}: {}", news.text),
            None => news.text,
        };
        news.into_iter().map(text).collect()
    }

    #[test]
    fn ways_that_change_are_news_once() {
        let mut lookout = Lookout::default();
        let now = Instant::now();
        let mut look = |links: &[(&str, LinkState)]| texts(lookout.look(&snapshot(links), now));
        let direct = || LinkState::Direct;
        assert_eq!(look(&[("b@h", direct()), ("c@h", LinkState::None)]), ["b@h: linked"]);
        assert_eq!(look(&[("b@h", direct()), ("c@h", LinkState::None)]), [""; 0]);
        let relayed = || LinkState::Relayed(replica("c@h"));
        assert_eq!(
            look(&[("b@h", relayed()), ("c@h", direct())]),
            ["b@h: link lost; reached through c@h", "c@h: linked"]
        );
        assert_eq!(
            look(&[("b@h", LinkState::None), ("c@h", LinkState::None)]),
            ["b@h: not reached any more", "c@h: link lost"]
        );
        // Whoever is forgotten is told of as a member.
        assert_eq!(look(&[]), [""; 0]);
    }

    #[test]
    fn being_behind_is_news_when_it_lasts() {
        let mut lookout = Lookout::default();
        let begin = Instant::now();
        let mut look = |converged, at: u64| {
            let snapshot = Snapshot { converged, ..snapshot(&[]) };
            texts(lookout.look(&snapshot, begin + Duration::from_millis(at)))
        };
        assert_eq!(look(true, 0), [""; 0]);
        assert_eq!(look(false, 100), [""; 0]);
        assert_eq!(look(true, 900), [""; 0]);
        assert_eq!(look(false, 1000), [""; 0]);
        assert_eq!(look(false, 2000), ["behind: others have written what has not arrived"]);
        assert_eq!(look(false, 3000), [""; 0]);
        assert_eq!(look(true, 3500), ["converged again after 2.5 s"]);
        assert_eq!(look(true, 3600), [""; 0]);
    }

    #[test]
    fn repairs_are_counted() {
        let mut lookout = Lookout::default();
        let counters = Counters { repair_range_peer: 3, repair_snapshot_origin: 1, ..Counters::default() };
        let snapshot = Snapshot { counters, ..snapshot(&[]) };
        let expected =
            ["what was missed came from a third node, 3 times", "a whole copy came from its owner"];
        assert_eq!(texts(lookout.look(&snapshot, Instant::now())), expected);
        assert_eq!(lookout.look(&snapshot, Instant::now()), []);
    }
}
