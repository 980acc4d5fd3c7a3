//! A session gets what was published on one connection in the order in which it was published, for each QoS
//! [MQTT-4.6.0-6].
//!
//! What counts is when a message comes first: what comes again, comes again whenever it may. Left out is what was sent a
//! second time on another connection, for it may have come by either way; what was published before the session began,
//! for an older session of the client has left it; what was published while nodes were apart and the session, or one that
//! it follows, moved between them; and shared subscriptions, where members that go hand on what they have.

use std::collections::{HashMap, HashSet};

use super::filter::parts;
use super::sessions::{Session, Why};
use super::verdict::Verdict;
use super::{Records, seconds};
use crate::history::{Connection, Delivered, Event, MessageId, Moment, Node, Published};

/// Delivered behind newer ones, by way of the node that had the session before.
pub(super) const MOVED_LATE: &str = "late, for its session moved while nodes were apart";

/// Session, publisher's connection, QoS of the publish and of the delivery.
type Stream = (usize, Connection, u8, u8);

pub(super) fn check(records: &Records<'_>, verdict: &mut Verdict) {
    let mut seen: HashSet<(usize, MessageId)> = HashSet::new();
    let mut newest: HashMap<Stream, (&Delivered, &Published)> = HashMap::new();
    for event in &records.history.events {
        let Event::Delivered(delivered) = event else { continue };
        let Some((id, published)) = delivered.id.and_then(|id| Some((id, *records.published.get(&id)?)))
        else {
            continue;
        };
        let Some(&session) = records.sessions.of_connection.get(&delivered.connection) else { continue };
        let [sent] = published.sent[..] else { continue };
        let held = &records.sessions.all[session];
        let of_group = held.subscriptions.iter().any(|subscription| parts(&subscription.filter).0.is_some());
        let first = seen.insert((session, id));
        if delivered.retained
            || !first
            || of_group
            || sent.at < held.stays[0].at
            || is_late(records, held, sent.at)
        {
            continue;
        }
        let stream = (session, sent.connection, published.qos, delivered.qos);
        match newest.get(&stream) {
            Some((before, newer)) if newer.id.counter > id.counter => {
                let tell = || {
                    format!(
                        "{} got at {} (dup {}) {}, and at {} before it {}",
                        records.history.clients[delivered.client],
                        seconds(delivered.at),
                        delivered.dup,
                        records.describe(published),
                        seconds(before.at),
                        records.describe(newer)
                    )
                };
                match moved_apart_from(records, held, sent.node, sent.at, delivered.at) {
                    true => verdict.exemption(MOVED_LATE, tell),
                    false => verdict.violation("messages of a publisher come in order", tell),
                }
            }
            _ => {
                newest.insert(stream, (delivered, published));
            }
        }
    }
}

/// Whether the session moved while the publisher's node could not reach one of the two between which it did.
fn moved_apart_from(
    records: &Records<'_>,
    session: &Session,
    origin: Node,
    sent: Moment,
    until: Moment,
) -> bool {
    session.moves(0, until).any(|(old, new)| {
        let from = new.asked_at.min(sent);
        [old, new.node].iter().any(|&node| records.troubles.hindered(origin, node, from, until))
    })
}

/// Whether it may come late because the client had a session on either side.
fn is_late(records: &Records<'_>, session: &Session, sent: Moment) -> bool {
    let sessions = records.sessions.all.iter().filter(|other| other.client == session.client);
    let split = sessions.filter_map(|other| other.end.filter(|end| end.why == Why::Split));
    let moved_apart = session
        .moves(0, Moment::MAX)
        .filter(|(old, new)| records.troubles.hindered(*old, new.node, new.asked_at, new.at));
    let times = split.map(|end| end.at).chain(moved_apart.map(|(_, new)| new.at));
    times.into_iter().any(|at| {
        // From the trouble's begin to its end, and until the rest has come.
        sent < at || records.troubles.any(at, sent)
    })
}
