//! What is answered from one node, or from all: the same question, asked here and of the others, and the answers joined.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::cursor::Cursor;
use super::page::{ClientsQuery, SlowQuery, SubscriptionsQuery};
use super::top_topics::CountedReply;
use super::trace::{TraceQuestion, TraceReply};
use super::view::{
    ClientView, ClientsPage, Missing, NodeStats, SlowSubscriberView, SlowSubscribersPage, StatsView,
    SubscriptionView, SubscriptionsPage,
};
use super::{Kick, NodeView};

/// A question that every node has its own answer to. Nodes of other versions may not know it, or know more about it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Question {
    Clients(ClientsQuery),
    Client { id: String },
    Kick { id: String, kick: Kick },
    Subscriptions(SubscriptionsQuery),
    Slow(SlowQuery),
    Stats {},
    CountTopics { count: String, seconds: u64 },
    TopTopics { count: String },
    Trace(TraceQuestion),
}

/// Its answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    Clients(ClientsPage),
    Client(Option<Box<ClientView>>),
    Kicked(bool),
    Subscriptions(SubscriptionsPage),
    Slow(SlowSubscribersPage),
    Stats(Box<NodeStats>),
    /// Why it does not count, if it does not.
    Counting(Option<String>),
    TopTopics(Option<Box<CountedReply>>),
    Trace(TraceReply),
    /// The node does not know what it was asked.
    Unknown,
}

/// The answers to a question: the node's own and those of others.
pub(super) struct Replies {
    /// With the names of the nodes, this one's first.
    pub(super) replies: Vec<(String, Reply)>,
    /// Who has not answered, sorted.
    pub(super) missing: Vec<Missing>,
}

impl Question {
    fn answer(&self, view: &dyn NodeView) -> Reply {
        match self {
            Question::Clients(query) => Reply::Clients(view.clients(query)),
            Question::Client { id } => Reply::Client(view.client(id).map(Box::new)),
            Question::Kick { id, kick } => Reply::Kicked(view.kick(id, *kick)),
            Question::Subscriptions(query) => Reply::Subscriptions(view.subscriptions(query)),
            Question::Slow(query) => Reply::Slow(view.slow_subscribers(query)),
            Question::Stats {} => Reply::Stats(Box::new(view.stats())),
            Question::CountTopics { count, seconds } => {
                Reply::Counting(view.count_topics(count, *seconds).err().map(|full| full.to_string()))
            }
            Question::TopTopics { count } => {
                Reply::TopTopics(view.counted_topics(count).map(|counted| Box::new(counted.into())))
            }
            Question::Trace(question) => Reply::Trace(question.answer(view)),
        }
    }

    /// Halves the page that is asked for; false where it is not one, or as small as can be.
    fn ask_for_less(&mut self) -> bool {
        let part = match self {
            Question::Clients(query) => &mut query.part,
            Question::Subscriptions(query) => &mut query.part,
            Question::Slow(query) => &mut query.part,
            Question::Trace(question) => return question.ask_for_less(),
            Question::Client { .. }
            | Question::Kick { .. }
            | Question::Stats {}
            | Question::CountTopics { .. }
            | Question::TopTopics { .. } => return false,
        };
        part.limit /= 2;
        part.limit > 0
    }

    /// Asks this node.
    pub(super) async fn ask_node(self, view: &Arc<dyn NodeView>) -> Reply {
        let view = view.clone();
        let answer = tokio::task::spawn_blocking(move || self.answer(&*view)).await;
        // It does not panic; should it, one answer is none.
        answer.unwrap_or(Reply::Unknown)
    }

    /// Asks this node and all others.
    pub(super) async fn ask_cluster(self, view: &Arc<dyn NodeView>) -> Replies {
        // Plain data becomes JSON.
        let text = serde_json::to_vec(&self).unwrap_or_default();
        let (own, others) = tokio::join!(self.ask_node(view), view.ask_members(text));
        let mut replies = vec![(view.name(), own)];
        let mut missing = Vec::new();
        for (node, answer) in others {
            let reply = answer.map(|text| serde_json::from_slice(&text).unwrap_or(Reply::Unknown));
            match reply {
                Ok(Reply::Unknown) => missing.push(Missing { node, reason: UNKNOWN.to_owned() }),
                Ok(reply) => replies.push((node, reply)),
                Err(reason) => missing.push(Missing { node, reason }),
            }
        }
        missing.sort();
        Replies { replies, missing }
    }
}

pub(super) const UNKNOWN: &str = "its version answers no such question";

/// Answers what another node asks, in at most `max` bytes: a page that would be longer has fewer entries than were asked for.
pub fn answer(view: &dyn NodeView, question: &[u8], max: usize) -> Vec<u8> {
    let question: Result<Question, _> = serde_json::from_slice(question);
    let Ok(mut question) = question else { return Reply::Unknown.to_text() };
    loop {
        let text = question.answer(view).to_text();
        if text.len() <= max || !question.ask_for_less() {
            return text;
        }
    }
}

impl Reply {
    fn to_text(&self) -> Vec<u8> {
        // Plain data becomes JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Replies {
    /// The numbers of all nodes.
    pub(super) fn into_stats(self) -> StatsView {
        let stats = self.replies.into_iter().filter_map(|(_, reply)| match reply {
            Reply::Stats(stats) => Some(*stats),
            _ => None,
        });
        let mut nodes: Vec<NodeStats> = stats.collect();
        nodes.sort_by(|a, b| a.node.cmp(&b.node));
        StatsView { nodes, missing: self.missing }
    }

    /// The clients of all nodes: the first `limit` of them, and those of the same identifier as the last.
    pub(super) fn into_clients(self, limit: usize) -> ClientsPage {
        let pages = self.replies.into_iter().filter_map(|(_, reply)| match reply {
            Reply::Clients(page) => Some((page.clients, page.next)),
            _ => None,
        });
        let (clients, next) = join(pages, limit, |client| client.client.clone());
        ClientsPage { clients, next, missing: self.missing }
    }

    /// The subscriptions of all nodes, in the same way.
    pub(super) fn into_subscriptions(self, limit: usize) -> SubscriptionsPage {
        let pages = self.replies.into_iter().filter_map(|(_, reply)| match reply {
            Reply::Subscriptions(page) => Some((page.subscriptions, page.next)),
            _ => None,
        });
        let key = |it: &SubscriptionView| SubscriptionsQuery::key(&it.client, &it.filter);
        let (subscriptions, next) = join(pages, limit, key);
        SubscriptionsPage { subscriptions, next, missing: self.missing }
    }

    /// The slow subscribers of all nodes, in the same way.
    pub(super) fn into_slow(self, limit: usize) -> SlowSubscribersPage {
        let pages = self.replies.into_iter().filter_map(|(_, reply)| match reply {
            Reply::Slow(page) => Some((page.slow_subscribers, page.next)),
            _ => None,
        });
        let (slow_subscribers, next) = join(pages, limit, SlowSubscriberView::key);
        SlowSubscribersPage { slow_subscribers, next, missing: self.missing }
    }

    /// A client: where it is connected, or was last.
    pub(super) fn into_client(self) -> (Option<ClientView>, Vec<Missing>) {
        let clients = self.replies.into_iter().filter_map(|(_, reply)| match reply {
            Reply::Client(client) => client,
            _ => None,
        });
        let newest =
            clients.max_by_key(|client| (client.connected, client.connected_ms, client.disconnected_ms));
        (newest.map(|client| *client), self.missing)
    }

    /// Where a client was kicked, sorted.
    pub(super) fn into_kicked(self) -> (Vec<String>, Vec<Missing>) {
        let kicked = self.replies.into_iter().filter(|(_, reply)| matches!(reply, Reply::Kicked(true)));
        let mut nodes: Vec<String> = kicked.map(|(node, _)| node).collect();
        nodes.sort();
        (nodes, self.missing)
    }
}

/// Joins one page of each node to one of all. Where a node has more than is on its page, nothing is taken that may be sorted
/// behind what is not here. Entries of one key stay together, so that none is lost between two pages.
fn join<T>(
    pages: impl Iterator<Item = (Vec<T>, Option<String>)>,
    limit: usize,
    key: impl Fn(&T) -> String,
) -> (Vec<T>, Option<String>) {
    let mut end: Option<String> = None;
    let mut all: Vec<(String, T)> = Vec::new();
    for (entries, next) in pages {
        if let Some(last) = next.and_then(|next| Cursor::decode(&next)) {
            end = Some(end.map_or(last.0.clone(), |end| end.min(last.0)));
        }
        all.extend(entries.into_iter().map(|entry| (key(&entry), entry)));
    }
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    let had = all.len();
    all.retain(|(key, _)| end.as_ref().is_none_or(|end| key <= end));
    if let Some(last) = all.get(limit.saturating_sub(1)).map(|(key, _)| key.clone()) {
        all.retain(|(key, _)| *key <= last);
    }
    let more = end.is_some() || all.len() < had;
    let next = all.last().filter(|_| more).map(|(last, _)| Cursor(last.clone()).encode());
    (all.into_iter().map(|(_, entry)| entry).collect(), next)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::admin::page::{FirstEntries, Part};

    proptest! {
        /// Whatever each node has, and however much of it fits its page: all of it comes, once, in order.
        #[test]
        fn pages_of_all_nodes_are_the_sorted_list_in_pieces(
            nodes in prop::collection::vec(prop::collection::btree_set("[a-c]{1,3}", 0..20), 1..5),
            limit in 1_usize..8,
            cut in prop::collection::vec(1_usize..8, 5),
        ) {
            let mut expected: Vec<(String, usize)> =
                nodes.iter().enumerate().flat_map(|(node, keys)| keys.iter().map(move |key| (key.clone(), node))).collect();
            expected.sort();
            let (mut after, mut got) = (None, Vec::new());
            loop {
                let pages = nodes.iter().enumerate().map(|(node, keys)| {
                    let mut first = FirstEntries::of(&Part { after: after.clone(), limit: limit.min(cut[node]) });
                    keys.iter().for_each(|key| first.insert(key.clone(), (key.clone(), node)));
                    first.into_page()
                });
                let (entries, next) = join(pages, limit, |(key, _): &(String, usize)| key.clone());
                prop_assert!(entries.len() < limit + nodes.len());
                prop_assert!(!entries.is_empty() || next.is_none());
                got.extend(entries);
                match next {
                    None => break,
                    Some(next) => after = Cursor::decode(&next).map(|cursor| cursor.0),
                }
            }
            got.sort_by(|(a, _), (b, _)| a.cmp(b));
            prop_assert_eq!(got, expected);
        }
    }
}
