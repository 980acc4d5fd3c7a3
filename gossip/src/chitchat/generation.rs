//! How an incarnation of ours is an id of chitchat's, and back.
//!
//! chitchat tells the starts of a node apart by a generation, and needs a new one also when only chitchat itself is
//! started anew. So the generation holds the incarnation in its upper 44 bits and counts those restarts in the lower 20:
//! a higher incarnation is always a higher generation, and a member's incarnation is known with its first heartbeat.

use ::chitchat::ChitchatId;

use crate::{Incarnation, NodeName, ReplicaId};

const RESTART_BITS: u32 = 20;

/// The highest incarnation that has a generation.
pub(super) const MAX_INCARNATION: u64 = Incarnation::MAX.0;
const _: () = assert!(MAX_INCARNATION == u64::MAX >> RESTART_BITS);

/// The generation of a restart. Restarts beyond a million share one: with the pauses between them that takes months.
pub(super) fn generation(incarnation: Incarnation, restart: u32) -> u64 {
    let restart = restart.min((1 << RESTART_BITS) - 1);
    incarnation.0.min(MAX_INCARNATION) << RESTART_BITS | u64::from(restart)
}

/// Whose id this is, or `None` where its name is none of ours.
pub(super) fn replica(id: &ChitchatId) -> Option<ReplicaId> {
    let name = NodeName::parse(&id.node_id).ok()?;
    Some(ReplicaId { name, incarnation: Incarnation(id.generation_id >> RESTART_BITS) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_order_as_incarnation_then_restart() {
        let ordered = [(1, 0), (1, 1), (1, u32::MAX), (2, 0), (MAX_INCARNATION, 0), (MAX_INCARNATION, 7)];
        let generations = ordered.map(|(incarnation, restart)| generation(Incarnation(incarnation), restart));
        assert!(generations.is_sorted_by(|a, b| a < b));
        let id = ChitchatId::new("a@h", generation(Incarnation(77), 5), ([127, 0, 0, 1], 1).into());
        assert_eq!(replica(&id).unwrap().incarnation, Incarnation(77));
    }
}
