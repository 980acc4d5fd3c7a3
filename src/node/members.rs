//! A member, in the words of the HTTP API.

use rumormq_gossip::{LinkState, MemberState as State, MemberStatus};

use crate::admin::view::{LinkKind, MemberState};

/// How a member is reached, and through whom.
pub(super) fn link_of(status: &MemberStatus) -> (LinkKind, Option<String>) {
    match &status.link {
        LinkState::Direct => (LinkKind::Direct, None),
        LinkState::Relayed(via) => (LinkKind::Relayed, Some(via.name.to_string())),
        LinkState::None => (LinkKind::None, None),
    }
}

/// Whether a member lives.
pub(super) fn state_of(status: &MemberStatus) -> MemberState {
    match status.state {
        Some(State::Alive) => MemberState::Alive,
        Some(State::Suspect) => MemberState::Suspect,
        Some(State::Stopped) => MemberState::Stopped,
        Some(State::Left) => MemberState::Left,
        // Known by hearsay only: nobody has heard it here.
        Some(State::Dead) | None => MemberState::Dead,
    }
}
