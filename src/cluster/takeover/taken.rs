//! Sessions that were taken from other nodes. A holder that has not heard so, for a link was lost, offers its copy again,
//! and what is in that must not be delivered a second time.

use std::collections::HashMap;

use rumormq_gossip::{ReplicaId, Stamp};

/// From whom sessions, or what was left of them, were taken last, and with which claims of theirs.
#[derive(Debug, Default)]
pub struct Taken {
    from: HashMap<Box<str>, Vec<(ReplicaId, Stamp)>>,
}

/// Sessions that are remembered. It matters for as long as a link takes to come back; beyond that all are forgotten.
const MAX: usize = 100_000;
/// Holders that are remembered of each.
const HOLDERS_MAX: usize = 8;

impl Taken {
    /// The session that `holder` had with this claim is here.
    pub fn insert(&mut self, id: &str, holder: &ReplicaId, claim: Stamp) {
        if self.from.len() >= MAX {
            self.from.clear();
        }
        let holders = self.from.entry(id.into()).or_default();
        holders.retain(|(replica, _)| replica != holder);
        if holders.len() >= HOLDERS_MAX {
            holders.remove(0);
        }
        holders.push((holder.clone(), claim));
    }

    /// Whether it was taken. One that went back to the holder has another claim there.
    pub fn contains(&self, id: &str, holder: &ReplicaId, claim: Stamp) -> bool {
        let holders = self.from.get(id).into_iter().flatten();
        holders.into_iter().any(|(replica, taken)| replica == holder && *taken == claim)
    }
}

#[cfg(test)]
mod tests {
    use rumormq_gossip::{Incarnation, NodeName};

    use super::*;

    #[test]
    fn what_was_taken_is_known_by_its_holder_and_claim() {
        let holder = |incarnation| ReplicaId {
            name: NodeName::parse("a@h").expect("a name"),
            incarnation: Incarnation(incarnation),
        };
        let mut taken = Taken::default();
        taken.insert("x", &holder(1), Stamp(5));
        assert!(taken.contains("x", &holder(1), Stamp(5)));
        assert!(!taken.contains("x", &holder(1), Stamp(6)), "it has been there again");
        assert!(!taken.contains("x", &holder(2), Stamp(5)) && !taken.contains("y", &holder(1), Stamp(5)));
        for incarnation in 2..=HOLDERS_MAX as u64 {
            taken.insert("x", &holder(incarnation), Stamp(5));
            assert!(taken.contains("x", &holder(incarnation), Stamp(5)));
        }
        assert!(taken.contains("x", &holder(1), Stamp(5)), "beside the others");
        taken.insert("x", &holder(HOLDERS_MAX as u64 + 1), Stamp(5));
        assert!(!taken.contains("x", &holder(1), Stamp(5)), "too long ago");
        taken.insert("x", &holder(1), Stamp(5));
        for id in 0..MAX {
            taken.insert(&id.to_string(), &holder(1), Stamp(1));
        }
        assert!(taken.from.len() <= MAX);
    }
}
