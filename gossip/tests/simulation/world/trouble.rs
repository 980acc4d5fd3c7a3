//! What applications do, and what goes wrong.

use std::time::Duration;

use rumormq_gossip::{SetId, Stamp, Status};

use super::{Happening, Sabotage, World};
use crate::process::{Kept, SETS, is_stamped};

const KEYS: usize = 12;

impl World {
    /// Some application writes something.
    pub(super) fn churn(&mut self) {
        let host = self.random.below(0..self.hosts.len());
        let set = self.random.below(0..SETS.len());
        match self.random.below(0..20) {
            _ if is_stamped(set) => self.write(host, set),
            0 => {
                for _ in 0..self.random.below(5..60) {
                    self.insert(host, set);
                }
            }
            1 => while self.remove(host, set) && !self.random.chance(5) {},
            2..=12 => self.insert(host, set),
            _ => {
                self.remove(host, set);
            }
        }
        self.drain(host);
        if self.troubled {
            let delay = self.random.millis(2..80);
            self.at(delay, Happening::Churn);
        }
    }

    /// Writes, clears or retires some key of a stamped set.
    fn write(&mut self, host: usize, set: usize) {
        let key = format!("key{}", self.random.below(0..KEYS)).into_bytes();
        let value = format!("{}", self.random.below(0..100)).into_bytes();
        let (what, wait) = (self.random.below(0..10), self.random.chance(40));
        let (now, id) = (self.instant(), SetId(set as u8));
        let wall_ms = 1_000_000 + self.now.as_millis() as u64 + self.hosts[host].clock_ahead;
        let Some(process) = &mut self.hosts[host].process else { return };
        let (value, written) = match what {
            0..=5 => (Some(value.clone()), Some(process.node.write(id, &key, &value, wall_ms, now))),
            6..=7 => (None, Some(process.node.clear(id, &key, wall_ms, now))),
            // What is retired is not remembered for long: what the checks know of the retained must be.
            _ if SETS[set].name == "retained" => return,
            _ => (None, process.node.retire(id, &key, wall_ms, now)),
        };
        let Some(written) = written else { return };
        let after = process.node.winner(id, &key);
        process.truth[set].insert(key, Kept { value, stamp: written.stamp });
        if wait {
            process.awaited += 1;
            process.node.await_settled(id, written.seq, now);
        }
        if after.is_some() || written.replaced.is_some() {
            self.note_winner(host, id, written.replaced.as_ref(), after.as_ref());
        }
        self.drain_sometimes(host);
    }

    fn insert(&mut self, host: usize, set: usize) {
        let key = match self.random.chance(70) {
            true => format!("key{}", self.random.below(0..KEYS)),
            false => format!("once{}", self.random.below(0..1_000_000)),
        };
        let value = format!("{}", self.random.below(0..100));
        let wait = self.random.chance(40);
        let now = self.instant();
        let Some(process) = &mut self.hosts[host].process else { return };
        let seq = process.node.insert(SetId(set as u8), key.as_bytes(), value.as_bytes(), now);
        let kept = Kept { value: Some(value.into_bytes()), stamp: Stamp::default() };
        process.truth[set].insert(key.into_bytes(), kept);
        if wait {
            process.awaited += 1;
            process.node.await_settled(SetId(set as u8), seq, now);
        }
        self.drain_sometimes(host);
    }

    /// Removes some key; false if there is none.
    fn remove(&mut self, host: usize, set: usize) -> bool {
        let choice = self.random.below(0..1000);
        let now = self.instant();
        let Some(process) = &mut self.hosts[host].process else { return false };
        let keys = process.truth[set].len();
        if keys == 0 {
            return false;
        }
        let key = process.truth[set].keys().nth(choice % keys).cloned().unwrap_or_default();
        process.truth[set].remove(&key);
        if process.node.remove(SetId(set as u8), &key, now).is_none() {
            self.violations.push(format!("host {host} cannot remove what it holds"));
        }
        self.drain_sometimes(host);
        true
    }

    fn drain_sometimes(&mut self, host: usize) {
        if self.random.chance(50) {
            return self.drain(host);
        }
        if let Some(after) = self.drain_events(host) {
            self.restart_lane(host, after);
        }
    }

    pub(super) fn trouble(&mut self) {
        if !self.troubled {
            return;
        }
        let hosts = self.hosts.len();
        let (one, other) = (self.random.below(0..hosts), self.random.below(0..hosts));
        match self.random.below(0..12) {
            0..=1 => {
                self.kill(one);
                let delay = self.random.pick(&[0, 5, 100, 1000, 4000]);
                self.at(Duration::from_millis(delay), Happening::Start { host: one });
            }
            2 => self.kill(one),
            3 => self.end(one, Status::Stopped),
            4 => self.end(one, Status::Left),
            5 => self.close(one, other),
            6..=7 => self.cut(one, other, true),
            8 => self.cut(one, other, false),
            9 => {
                // A partition into two groups.
                let group: Vec<bool> = (0..hosts).map(|_| self.random.chance(50)).collect();
                let length = self.random.millis(500..6000);
                for one in 0..hosts {
                    for other in (0..hosts).filter(|other| group[one] != group[*other]) {
                        self.cut_for(one, other, length);
                    }
                }
            }
            10 => {
                for other in 0..hosts {
                    self.cut(one, other, true);
                }
            }
            _ => self.at(Duration::ZERO, Happening::Start { host: one }),
        }
        let delay = self.random.millis(50..1500);
        self.at(delay, Happening::Trouble);
    }

    /// The process says that it stops or leaves, gossips that for a moment, and ends.
    fn end(&mut self, host: usize, status: Status) {
        let Some(process) = &mut self.hosts[host].process else { return };
        if process.status == Status::Running {
            process.status = status;
            let life = process.life;
            self.at(Duration::from_millis(700), Happening::Exit { host, life });
        }
    }

    fn cut(&mut self, one: usize, other: usize, both_ways: bool) {
        if one == other {
            return;
        }
        let length = self.random.millis(200..6000);
        self.cut_for(one, other, length);
        if both_ways {
            self.cut_for(other, one, length);
        }
    }

    fn cut_for(&mut self, one: usize, other: usize, length: Duration) {
        self.blocked[one][other] += 1;
        self.at(length, Happening::Heal { one, other });
    }

    /// From now on nothing new goes wrong, and what is cut heals; messages are still lost.
    pub(super) fn end_trouble(&mut self) {
        self.troubled = false;
        let hosts = self.hosts.len();
        for one in 0..hosts {
            for other in 0..one {
                // A chain of the hosts in order always stays whole.
                let keep = self.profile.keep_cuts && one - other > 1 && self.random.chance(60);
                let isolated = self.sabotage == Sabotage::NeverHeal && other == 0;
                if keep || isolated {
                    self.blocked[one][other] += 1;
                    self.blocked[other][one] += 1;
                }
            }
        }
        // Of those that are down some come back, and a chain with a hole in it would be none.
        for host in 0..hosts {
            if self.profile.keep_cuts || self.random.chance(60) {
                // Who is about to exit has done so by then.
                let delay = self.random.millis(800..3000);
                self.at(delay, Happening::Start { host });
            }
        }
    }
}
