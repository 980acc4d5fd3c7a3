//! Nothing comes that was not published, and nothing to who does not want it.

use super::filter::matches;
use super::sessions::Session;
use super::verdict::Verdict;
use super::{Records, seconds};
use crate::history::{Delivered, Event, Published};

pub(super) fn check(records: &Records<'_>, verdict: &mut Verdict) {
    for event in &records.history.events {
        let Event::Delivered(delivered) = event else { continue };
        let who = || {
            let client = &records.history.clients[delivered.client];
            format!("{client} got {} at {}", delivered.topic, seconds(delivered.at))
        };
        let published = delivered.id.and_then(|id| records.published.get(&id));
        let Some(published) = published.filter(|published| published.topic == delivered.topic) else {
            let told = || format!("{}: {:?} was never published there", who(), delivered.id);
            verdict.violation("what comes was published", told);
            continue;
        };
        let first = published.sent.first().map_or(0, |sent| sent.at);
        if delivered.at < first {
            verdict.violation("what comes was published", || {
                format!("{}: it was published later, {}", who(), records.describe(published))
            });
        }
        let session = records.sessions.of_connection.get(&delivered.connection);
        let Some(session) = session.map(|&at| &records.sessions.all[at]) else {
            verdict.violation("what comes is wanted", || format!("{} without a session", who()));
            continue;
        };
        match granted(session, delivered, first) {
            None => verdict.violation("what comes is wanted", || {
                format!("{}: no filter of its session matches {}", who(), records.describe(published))
            }),
            Some(granted) if !fits(delivered, published, granted) => {
                verdict.violation("a message has the lower of two QoS", || {
                    let qos = delivered.qos;
                    format!("{} with QoS {qos}, granted {granted}: {}", who(), records.describe(published))
                });
            }
            Some(_) => {}
        }
    }
}

/// The highest QoS of what the session wanted then and matches; none if nothing does. What was published before UNSUBACK may
/// come after it.
fn granted(session: &Session, delivered: &Delivered, published_at: u64) -> Option<u8> {
    let wanted = session.subscriptions.iter().filter(|subscription| {
        subscription.asked_at <= delivered.at
            && subscription.gone_at.is_none_or(|gone| published_at <= gone || delivered.retained)
            && matches(&subscription.filter, &delivered.topic)
    });
    wanted.map(|subscription| subscription.qos).max()
}

fn fits(delivered: &Delivered, published: &Published, granted: u8) -> bool {
    delivered.qos <= published.qos.min(granted)
}
