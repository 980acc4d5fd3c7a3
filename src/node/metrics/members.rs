//! Who is in the cluster, and how the others are reached.

use rumormq_gossip::{LinkState, MemberState, MemberStatus};

use super::page::Page;
use crate::cluster::{Cluster, Snapshot, state_label};

impl Page {
    pub fn members(&mut self, snapshot: &Snapshot) {
        let states = [
            MemberState::Alive,
            MemberState::Suspect,
            MemberState::Dead,
            MemberState::Stopped,
            MemberState::Left,
        ];
        self.gauges(
            "members",
            "Members by state, this node included.",
            &["state"],
            states.map(|state| {
                let others = snapshot.members.iter().filter(|member| member.state == Some(state)).count();
                let count = others + usize::from(state == MemberState::Alive);
                (vec![state_label(Some(state))], count as f64)
            }),
        );
        self.gauge(
            "name_conflicts",
            "Names that more than one live node has. Must be 0.",
            snapshot.name_conflicts as f64,
        );
        self.gauge(
            "incarnation",
            "This start of this node; higher is later.",
            snapshot.me.incarnation.0 as f64,
        );
        // Of several starts of one node, which follow each other here, the last one counts.
        let known = || snapshot.members.iter().filter(|member| member.state.is_some_and(is_expected));
        let is_up = |member: &MemberStatus| member.link == LinkState::Direct;
        let is_relayed = |member: &MemberStatus| matches!(member.link, LinkState::Relayed(_));
        let links = |is: fn(&MemberStatus) -> bool| {
            known().map(move |member| (vec![member.replica.name.as_str()], f64::from(u8::from(is(member)))))
        };
        self.gauges(
            "link_up",
            "1 if a link to the peer is up, and the peer is not taken to be dead.",
            &["peer"],
            links(is_up),
        );
        self.gauges(
            "link_relayed",
            "1 if the peer is reached through a third node instead.",
            &["peer"],
            links(is_relayed),
        );
        let linked = known().filter(|member| is_up(member));
        self.gauges(
            "link_rtt_seconds",
            "Round trip of the last ping over the link.",
            &["peer"],
            linked.filter_map(|member| Some((vec![member.replica.name.as_str()], member.rtt?.as_secs_f64()))),
        );
    }

    pub fn clock_skews(&mut self, cluster: &Cluster) {
        let skews = cluster.clock_skews();
        self.gauges(
            "clock_skew_seconds",
            "How far a member's clock was ahead when its link came up.",
            &["peer"],
            skews.iter().map(|(replica, skew)| (vec![replica.name.as_str()], *skew as f64 / 1e3)),
        );
    }

    pub fn gossip(&mut self, cluster: &Cluster) {
        cluster.with_membership(|counters| {
            self.sizes(
                "gossip_packet_bytes",
                "Sizes of gossip datagrams.",
                "direction",
                [("in", counters.incoming()), ("out", counters.outgoing())],
            );
            self.counters(
                "gossip_rejected_total",
                "Peers and datagrams turned away.",
                &["reason"],
                counters.rejected().by_reason().map(|(reason, count)| (vec![reason], count)),
            );
            self.counter(
                "gossip_restarts_total",
                "Restarts of the membership protocol after it failed.",
                counters.restarts(),
            );
        });
    }
}

/// Whether a link to it is wanted, now or later.
fn is_expected(state: MemberState) -> bool {
    state != MemberState::Left
}
