//! Who lost a connection, and whether that was to be.

use super::verdict::Verdict;
use super::{Promises, Records, seconds};
use crate::history::{Disconnected, Ending, Event};

/// DISCONNECT because the client has connected again.
const SESSION_TAKEN_OVER: u8 = 0x8E;

pub(super) fn check(records: &Records<'_>, promises: &Promises, verdict: &mut Verdict) {
    if !promises.no_disconnects {
        return;
    }
    for event in &records.history.events {
        let Event::Disconnected(lost) = event else { continue };
        if lost.why == Ending::Client || is_own_doing(records, lost) {
            continue;
        }
        if records.troubles.down(lost.node, lost.at) {
            continue;
        }
        verdict.violation("nobody is disconnected", || {
            format!(
                "{} by {} at {}: {:?}",
                records.history.clients[lost.client],
                records.history.nodes[lost.node],
                seconds(lost.at),
                lost.why
            )
        });
    }
}

/// Whether the client had tried to connect once more by then.
fn is_own_doing(records: &Records<'_>, lost: &Disconnected) -> bool {
    let Some(&session) = records.sessions.of_connection.get(&lost.connection) else { return false };
    let since = |at: u64, connection: u64| at <= lost.at && connection > lost.connection;
    let again = |event: &Event| match event {
        Event::Connected(again) => again.client == lost.client && since(again.asked_at, again.connection),
        Event::NotConnected(tried) => {
            let began = records.sessions.all[session].stays.iter().find(|s| s.connection == lost.connection);
            tried.client == lost.client
                && tried.asked_at <= lost.at
                && began.is_some_and(|stay| tried.asked_at >= stay.at)
        }
        _ => false,
    };
    // A 3.1.1 client is not told why.
    matches!(lost.why, Ending::Told(SESSION_TAKEN_OVER) | Ending::Closed)
        && records.history.events.iter().any(again)
}
