//! What is owed came: QoS 1 at least once, QoS 2 exactly once.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::filter::{matches, parts};
use super::knowledge::Knowledge;
use super::sessions::{Session, Stay, Subscription, Why};
use super::verdict::Verdict;
use super::{Records, seconds};
use crate::history::{ClientNumber, Delivered, Moment, Node, Published};

/// Not delivered because a session went from one node to another one while not all of them could reach each other.
pub(super) const MOVED: &str = "session moved while nodes were apart";
/// Delivered by both.
pub(super) const MOVED_TWICE: &str = "twice, for its session moved while nodes were apart";
/// Not delivered because the session was on the other side, and a new one began on this one.
pub(super) const LEFT_BEHIND: &str = "session left behind on the other side";

/// A way from a publish to a subscriber.
struct Way<'a> {
    session: &'a Session,
    stay: &'a Stay,
    subscription: &'a Subscription,
    /// Which node was told, when it was told, and when it said that it has it; for QoS 0 the latter two are the same.
    node: Node,
    sent: Moment,
    acked: Moment,
}

/// Why nothing came.
enum Excuse {
    NotOwed(&'static str),
    Exempt(&'static str),
}

pub(super) fn check(records: &Records<'_>, verdict: &mut Verdict) {
    let knowledge = Knowledge::of(records.history, records.troubles);
    let mut wanting: HashMap<&str, Vec<(usize, usize)>> = HashMap::new();
    for published in records.published.values() {
        let wanting = wanting.entry(&published.topic).or_insert_with(|| wanted_by(records, &published.topic));
        let Some((node, sent, acked)) = known_to_be_taken(published) else { continue };
        let mut single: BTreeMap<usize, Vec<Way<'_>>> = BTreeMap::new();
        let mut groups: BTreeMap<&str, Vec<Way<'_>>> = BTreeMap::new();
        for &(session, subscription) in wanting.iter() {
            let held = &records.sessions.all[session];
            let wanted = &held.subscriptions[subscription];
            let stay = held.stay_at(sent);
            let over = held.end.is_some_and(|end| end.at <= acked);
            if wanted.at > sent || wanted.unwanted_at.is_some_and(|at| at <= acked) || over {
                continue;
            }
            let way = Way { session: held, stay, subscription: wanted, node, sent, acked };
            match parts(&wanted.filter).0 {
                Some(_) => groups.entry(&wanted.filter).or_default().push(way),
                None => single.entry(session).or_default().push(way),
            }
        }
        for ways in single.values() {
            check_subscriber(records, &knowledge, published, ways, verdict);
        }
        for (group, ways) in &groups {
            check_group(records, &knowledge, published, group, ways, verdict);
        }
    }
    check_copies(records, verdict);
    check_sessions(records, verdict);
}

/// Which node is bound by having taken it. QoS 0 binds nobody, and may be counted.
fn known_to_be_taken(published: &Published) -> Option<(Node, Moment, Moment)> {
    let first = published.sent.first()?;
    if published.qos == 0 {
        return Some((first.node, first.at, first.at));
    }
    let acked = published.acked.filter(|acked| acked.reason < 0x80)?;
    let sent = published.sent.iter().rfind(|sent| sent.connection == acked.connection)?;
    Some((acked.node, sent.at, acked.at))
}

/// Sessions and their subscriptions that match, whenever they were.
fn wanted_by(records: &Records<'_>, topic: &str) -> Vec<(usize, usize)> {
    let mut wanted = Vec::new();
    for (session, held) in records.sessions.all.iter().enumerate() {
        let matching = held.subscriptions.iter().enumerate().filter(|(_, s)| matches(&s.filter, topic));
        wanted.extend(matching.map(|(subscription, _)| (session, subscription)));
    }
    wanted
}

/// One session wants it, by one subscription or several.
fn check_subscriber(
    records: &Records<'_>,
    knowledge: &Knowledge<'_>,
    published: &Published,
    ways: &[Way<'_>],
    verdict: &mut Verdict,
) {
    let session = ways[0].session;
    let came = records.delivered.contains_key(&(session.client, published.id));
    let wanted_qos = ways.iter().map(|way| way.subscription.qos).max().unwrap_or(0);
    if published.qos.min(wanted_qos) == 0 {
        verdict.best_effort.0 += 1;
        verdict.best_effort.1 += u64::from(came);
        return;
    }
    if came {
        verdict.owed += 1;
        return;
    }
    // One way that has no excuse is enough.
    let excuses: Vec<Option<Excuse>> = ways.iter().map(|way| way.excuse(records, knowledge)).collect();
    match excuses.into_iter().max_by_key(severity) {
        Some(Some(Excuse::NotOwed(reason))) => *verdict.not_owed.entry(reason).or_default() += 1,
        Some(Some(Excuse::Exempt(reason))) => verdict.exemption(reason, || ways[0].tell(records, published)),
        _ => verdict.violation("what is owed is delivered", || ways[0].tell(records, published)),
    }
}

fn severity(excuse: &Option<Excuse>) -> u8 {
    match excuse {
        Some(Excuse::NotOwed(_)) => 0,
        Some(Excuse::Exempt(_)) => 1,
        None => 2,
    }
}

impl Way<'_> {
    fn excuse(&self, records: &Records<'_>, knowledge: &Knowledge<'_>) -> Option<Excuse> {
        let (troubles, holder) = (records.troubles, self.stay.node);
        if !knowledge.had(self.node, self.session, self.stay, self.subscription, self.sent) {
            return Some(Excuse::NotOwed("no route where it was published"));
        }
        let due = self.due(records);
        // What a client gave up itself comes before what happened to its nodes.
        if self.subscription.unwanted_at.is_some_and(|at| at < due) {
            return Some(Excuse::NotOwed("unsubscribed before it was due"));
        }
        let end = self.session.end.filter(|end| end.at < due);
        match end.map(|end| end.why) {
            Some(Why::Client) => return Some(Excuse::NotOwed("the subscriber left before it was due")),
            Some(Why::ConnectionLost) => {
                return Some(Excuse::NotOwed("the session ended with its connection"));
            }
            _ => {}
        }
        // A node that died with what it had only in a buffer for another one.
        if let Some(died) = troubles.died(self.node, self.acked, due)
            && troubles.hindered(self.node, holder, self.sent, died)
        {
            let elsewhere = self.node != holder
                && (troubles.apart(self.node, holder, self.sent, died - 1)
                    || troubles.cut_off(self.node, self.sent, died));
            if elsewhere {
                return Some(Excuse::Exempt("buffered on a node that died"));
            }
        }
        let moved_in_trouble = self.session.moves(self.sent, due).any(|(old, new)| {
            let (from, until) = (self.sent, new.at.max(self.acked));
            [(old, new.node), (self.node, old), (self.node, new.node)]
                .iter()
                .any(|&(a, b)| troubles.hindered(a, b, from, until))
        });
        if moved_in_trouble {
            return Some(Excuse::Exempt(MOVED));
        }
        match end?.why {
            Why::NodeDied => Some(Excuse::Exempt("session on a node that died")),
            Why::Split => Some(Excuse::Exempt(LEFT_BEHIND)),
            _ => None,
        }
    }

    fn tell(&self, records: &Records<'_>, published: &Published) -> String {
        format!(
            "{} did not get {}; it has {} since {}, and was on {} since {}",
            records.history.clients[self.session.client],
            records.describe(published),
            self.subscription.filter,
            seconds(self.subscription.at),
            records.history.nodes[self.stay.node],
            seconds(self.stay.at)
        )
    }

    /// When it must have been delivered.
    fn due(&self, records: &Records<'_>) -> Moment {
        let reachable = records.troubles.due(self.node, self.stay.node, self.sent, self.acked);
        let online = self.session.online_from(reachable);
        // Whoever comes back is owed what was kept, not at once.
        records.troubles.due(self.stay.node, self.stay.node, self.sent, online.min(Moment::MAX / 2))
    }
}

/// A group wants it: one of its members has to get it.
fn check_group(
    records: &Records<'_>,
    knowledge: &Knowledge<'_>,
    published: &Published,
    group: &str,
    ways: &[Way<'_>],
    verdict: &mut Verdict,
) {
    let in_group: HashSet<_> = records
        .sessions
        .all
        .iter()
        .filter(|session| session.subscriptions.iter().any(|held| held.filter == group))
        .map(|session| session.client)
        .collect();
    let copies: Vec<&&Delivered> = in_group
        .iter()
        .filter_map(|&client| records.delivered.get(&(client, published.id)))
        .flatten()
        .collect();
    let qos = ways.iter().map(|way| way.subscription.qos).min().unwrap_or(0).min(published.qos);
    if qos == 0 {
        verdict.best_effort.0 += 1;
        verdict.best_effort.1 += u64::from(!copies.is_empty());
        return;
    }
    let getters: HashSet<_> = copies.iter().map(|copy| copy.client).collect();
    let left = ways.iter().any(|way| {
        let due = way.due(records);
        way.session.end.is_some_and(|end| end.at < due)
            || way.session.moves(way.sent, due).next().is_some()
            || way
                .session
                .stays
                .iter()
                .any(|stay| stay.until.is_some_and(|until| until > way.sent && until < due))
            || records.troubles.hindered(way.node, way.stay.node, way.sent, due)
            || records.troubles.absent(way.stay.node, way.sent, due)
    });
    if let Some(last) = copies.iter().map(|copy| copy.at).max() {
        verdict.owed += 1;
        // Whose node died before it could say that it has it, is not the only one.
        let died = copies.iter().any(|copy| records.troubles.died(copy.node, copy.at, last).is_some());
        if getters.len() > 1 && qos == 2 && !left && !died {
            verdict.violation("a group gets a QoS 2 message once", || {
                let names: Vec<&str> =
                    getters.iter().map(|&client| records.history.clients[client].as_str()).collect();
                format!("{} of {group} got {}", names.join(" and "), records.describe(published))
            });
        }
        return;
    }
    let unknown = |way: &Way<'_>| !knowledge.had(way.node, way.session, way.stay, way.subscription, way.sent);
    if ways.iter().all(unknown) {
        *verdict.not_owed.entry("no route where it was published").or_default() += 1;
    } else if left {
        verdict.exemption("a member of its group went, or was out of reach", || {
            format!("nobody of {group} got {}", records.describe(published))
        });
    } else {
        verdict.violation("what is owed is delivered", || {
            format!("nobody of {group} got {}", records.describe(published))
        });
    }
}

/// No session gets a QoS 2 message twice, nor a QoS 0 one; QoS 1 is counted.
fn check_copies(records: &Records<'_>, verdict: &mut Verdict) {
    for ((client, id), copies) in &records.delivered {
        let mut of_session: HashMap<Option<usize>, Vec<&&Delivered>> = HashMap::new();
        for copy in copies {
            let session = records.sessions.of_connection.get(&copy.connection).copied();
            of_session.entry(session).or_default().push(copy);
        }
        for copies in of_session.values().filter(|copies| copies.len() > 1) {
            if copies.iter().all(|copy| copy.qos == 1) {
                verdict.duplicates += copies.len() as u64 - 1;
                continue;
            }
            // Published at QoS 1 and sent twice, it may come twice, at whatever QoS.
            let told_twice = records.published.get(id).is_some_and(|p| p.qos == 1 && p.sent.len() > 1);
            if told_twice {
                verdict.duplicates += copies.len() as u64 - 1;
                continue;
            }
            let tell = || {
                let times: Vec<String> = copies
                    .iter()
                    .map(|copy| format!("{} from {}", seconds(copy.at), records.history.nodes[copy.node]))
                    .collect();
                let what = records.published.get(id).map(|published| records.describe(published));
                format!(
                    "{} got {} times, QoS {}, at {}: {}",
                    records.history.clients[*client],
                    copies.len(),
                    copies[0].qos,
                    times.join(", "),
                    what.unwrap_or_default()
                )
            };
            let published = records.published.get(id);
            match published.is_some_and(|published| moved_in_trouble(records, *client, published, copies)) {
                true => verdict.exemption(MOVED_TWICE, tell),
                false => verdict.violation("QoS 2 and QoS 0 come once", tell),
            }
        }
    }
}

/// Whether the client went to another node between the publish and the last copy, and one of the nodes that had to do with
/// it could not reach another one.
fn moved_in_trouble(
    records: &Records<'_>,
    client: ClientNumber,
    published: &Published,
    copies: &[&&Delivered],
) -> bool {
    let (Some(sent), Some(last)) = (published.sent.first(), copies.iter().map(|copy| copy.at).max()) else {
        return false;
    };
    let sessions = records.sessions.all.iter().filter(|session| session.client == client);
    let stays: Vec<&Stay> = sessions.flat_map(|session| &session.stays).collect();
    stays.windows(2).any(|pair| {
        let (old, new) = (pair[0].node, pair[1].node);
        let moved = old != new && pair[1].asked_at <= last;
        let apart = |a, b| records.troubles.hindered(a, b, pair[1].asked_at.min(sent.at), last);
        moved && [(old, new), (sent.node, old), (sent.node, new)].iter().any(|&(a, b)| apart(a, b))
    })
}

/// A session that is not over is found again.
fn check_sessions(records: &Records<'_>, verdict: &mut Verdict) {
    for session in &records.sessions.all {
        let Some(end) = session.end.filter(|end| end.why == Why::Unexplained) else { continue };
        // What its client has not been answered to may never have arrived: it may be told once more that it begins.
        let unanswered = |subscription: &Subscription| subscription.at == Moment::MAX;
        if session.subscriptions.iter().all(unanswered) {
            continue;
        }
        verdict.violation("a session is found again", || {
            let last = session.stays.last().map_or(0, |stay| stay.node);
            format!(
                "{} does not find the session that it left on {}, at {}",
                records.history.clients[session.client],
                records.history.nodes[last],
                seconds(end.at)
            )
        });
    }
}
