//! Which node knew of which subscription, as far as clients and questions can tell.

use std::collections::HashMap;

use super::sessions::{Session, Stay, Subscription};
use super::trouble::Troubles;
use crate::history::{Event, History, Moment, Node};

/// From, until.
type Interval = (Moment, Moment);

/// What nodes have shown of their routes.
pub struct Knowledge<'a> {
    /// By the node that was asked, the filter and the subscriber's node: when a route was seen first, and when not any more.
    shown: HashMap<(Node, &'a str, Node), Vec<Interval>>,
    /// By node: when it was asked, and when the answer came.
    asked: HashMap<Node, Vec<Interval>>,
    troubles: &'a Troubles,
}

impl<'a> Knowledge<'a> {
    pub fn of(history: &'a History, troubles: &'a Troubles) -> Knowledge<'a> {
        let mut knowledge = Knowledge { shown: HashMap::new(), asked: HashMap::new(), troubles };
        for event in &history.events {
            let Event::RoutesShown(shown) = event else { continue };
            knowledge.asked.entry(shown.node).or_default().push((shown.asked_at, shown.at));
            for (filter, subscriber) in &shown.removed {
                let times = knowledge.shown.get_mut(&(shown.node, filter.as_str(), *subscriber));
                if let Some(last) = times.and_then(|times| times.last_mut()) {
                    last.1 = shown.at;
                }
            }
            for (filter, subscriber) in &shown.added {
                let times = knowledge.shown.entry((shown.node, filter.as_str(), *subscriber)).or_default();
                times.push((shown.at, Moment::MAX));
            }
        }
        knowledge
    }

    /// Whether node `by` must have known at `at` that this session, which then was where `stay` says, wants this.
    pub fn had(&self, by: Node, session: &Session, stay: &Stay, wanted: &Subscription, at: Moment) -> bool {
        if by == stay.node {
            return true;
        }
        let came_with_subscribe = wanted.at >= stay.at && wanted.node == stay.node;
        let (asked_at, since, confirmed) = if came_with_subscribe {
            let apart = self.troubles.apart(by, stay.node, wanted.asked_at, wanted.at);
            (wanted.asked_at, wanted.at, !wanted.unconfirmed && !apart)
        } else {
            // CONNACK waits as SUBACK does, and has no words for it if it was in vain. From a node that stays the session
            // comes with routes of its own.
            let first = session.stays.iter().rev().take_while(|other| other.node == stay.node).last();
            let first = first.unwrap_or(stay);
            let hindered = self.troubles.cut_off(by, first.asked_at, first.at)
                || self.troubles.cut_off(stay.node, first.asked_at, first.at)
                || self.troubles.apart(by, stay.node, first.asked_at, first.at);
            (first.asked_at, first.at, !hindered)
        };
        (confirmed && self.remembers(by, stay.node, since, at))
            || self.evidence(by, &wanted.filter, stay.node, asked_at, at)
    }

    /// Whether what `by` knew of `of` at `since` it still knows at `at`: it has not been started again where nobody could
    /// tell it.
    fn remembers(&self, by: Node, of: Node, since: Moment, at: Moment) -> bool {
        let mut restarts = self.troubles.restarts(by, since, at);
        !restarts.any(|(died, ready)| {
            self.troubles.cut_off(by, died, ready) || self.troubles.absent(of, died, ready)
        })
    }

    /// Whether an answer of `by` to a question after `since` had the route, and was there before `at`.
    fn evidence(&self, by: Node, filter: &str, of: Node, since: Moment, at: Moment) -> bool {
        let Some(times) = self.shown.get(&(by, filter, of)) else { return false };
        let Some(asked) = self.asked.get(&by) else { return false };
        let mut answers = asked.iter().filter(|&&(asked_at, answered)| asked_at >= since && answered <= at);
        answers.any(|&(_, answered)| {
            times.iter().any(|&(first, last)| first <= answered && answered < last)
                && self.remembers(by, of, answered, at)
        })
    }
}
