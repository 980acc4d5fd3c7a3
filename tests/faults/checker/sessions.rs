//! Which sessions there were, where they were, and what they wanted: rebuilt from what clients saw.

use std::collections::HashMap;

use super::trouble::Troubles;
use crate::history::{
    ClientNumber, Connected, Connection, Disconnected, Ending, Event, History, Moment, Node,
};

/// A session, as its client knows it.
#[derive(Debug)]
pub struct Session {
    pub client: ClientNumber,
    /// Its connections, one after the other. At least one.
    pub stays: Vec<Stay>,
    pub subscriptions: Vec<Subscription>,
    pub end: Option<End>,
    lasting: bool,
    /// Where its client has tried to connect since the last connection, in vain: it may be there.
    tried: Vec<(Node, Moment)>,
}

/// A connection of a session. The session stays on its node until the next connection.
#[derive(Debug)]
pub struct Stay {
    pub node: Node,
    pub connection: Connection,
    /// When CONNECT was sent.
    pub asked_at: Moment,
    /// When CONNACK came.
    pub at: Moment,
    /// When the connection ended.
    pub until: Option<Moment>,
}

/// What a session wants. Subscribing again to the same filter ends one and begins another.
#[derive(Debug)]
pub struct Subscription {
    pub filter: String,
    pub qos: u8,
    /// Where SUBACK came.
    pub node: Node,
    pub asked_at: Moment,
    /// Of SUBACK; never, if it did not come.
    pub at: Moment,
    pub unconfirmed: bool,
    /// From when on the client does not want it any more.
    pub unwanted_at: Option<Moment>,
    /// From when on the broker said that it is gone.
    pub gone_at: Option<Moment>,
}

/// How a session ended.
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub at: Moment,
    pub why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its client wanted it so.
    Client,
    /// With the node that held it.
    NodeDied,
    /// Its client went to a node that could not reach the one that held it.
    Split,
    /// The network connection ended, and it with it.
    ConnectionLost,
    /// It should still have been there.
    Unexplained,
}

impl Session {
    /// The last connection that was accepted by then.
    pub fn stay_at(&self, at: Moment) -> &Stay {
        self.stays.iter().rfind(|stay| stay.at <= at).unwrap_or(&self.stays[0])
    }

    /// From then on, the first time at which its client is connected; never, if there is none.
    pub fn online_from(&self, at: Moment) -> Moment {
        let later = self.stays.iter().filter(|stay| stay.until.is_none_or(|until| until > at));
        later.map(|stay| stay.at.max(at)).min().unwrap_or(Moment::MAX)
    }

    /// The moves to other nodes in between, with both nodes.
    pub fn moves(&self, from: Moment, until: Moment) -> impl Iterator<Item = (Node, &Stay)> {
        let moves = self.stays.windows(2).map(|pair| (pair[0].node, &pair[1]));
        moves.filter(move |(old, new)| *old != new.node && new.at >= from && new.asked_at <= until)
    }
}

/// All sessions, and whose each connection was.
pub struct Sessions {
    pub all: Vec<Session>,
    pub of_connection: HashMap<Connection, usize>,
}

impl Sessions {
    pub fn of(history: &History, troubles: &Troubles) -> Sessions {
        let mut events: Vec<(Moment, &Event)> =
            history.events.iter().filter_map(|event| Some((moment(event)?, event))).collect();
        events.sort_by_key(|(at, _)| *at);
        let mut sessions = Sessions { all: Vec::new(), of_connection: HashMap::new() };
        let mut newest: HashMap<ClientNumber, usize> = HashMap::new();
        for (_, event) in events {
            match event {
                Event::Connected(connected) => sessions.connect(connected, &mut newest, troubles),
                Event::NotConnected(tried) => {
                    if let Some(&at) = newest.get(&tried.client) {
                        sessions.all[at].tried.push((tried.node, tried.asked_at));
                    }
                }
                Event::Disconnected(disconnected) => sessions.disconnect(disconnected, troubles),
                Event::Subscribed(subscribed) => {
                    let Some(session) = sessions.session(subscribed.connection) else { continue };
                    if let Some(at) = subscribed.at {
                        session.unsubscribe(&subscribed.filter, subscribed.asked_at, Some(at));
                    }
                    session.subscriptions.push(Subscription {
                        filter: subscribed.filter.clone(),
                        qos: subscribed.qos,
                        node: subscribed.node,
                        asked_at: subscribed.asked_at,
                        at: subscribed.at.unwrap_or(Moment::MAX),
                        unconfirmed: subscribed.unconfirmed,
                        unwanted_at: None,
                        gone_at: None,
                    });
                }
                Event::Unsubscribed(unsubscribed) => {
                    if let Some(session) = sessions.session(unsubscribed.connection) {
                        session.unsubscribe(&unsubscribed.filter, unsubscribed.asked_at, unsubscribed.at);
                    }
                }
                _ => {}
            }
        }
        sessions
    }

    fn session(&mut self, connection: Connection) -> Option<&mut Session> {
        self.of_connection.get(&connection).map(|&at| &mut self.all[at])
    }

    fn connect(
        &mut self,
        connected: &Connected,
        newest: &mut HashMap<ClientNumber, usize>,
        troubles: &Troubles,
    ) {
        let stay = Stay {
            node: connected.node,
            connection: connected.connection,
            asked_at: connected.asked_at,
            at: connected.at,
            until: None,
        };
        let before = newest.get(&connected.client).copied();
        let resumed = before.filter(|_| connected.session_present);
        let at = match resumed {
            Some(at) => {
                self.all[at].stays.push(stay);
                self.all[at].tried.clear();
                at
            }
            None => {
                if let Some(session) =
                    before.map(|at| &mut self.all[at]).filter(|session| session.end.is_none())
                {
                    session.end = Some(why_lost(session, connected, troubles));
                }
                let session = Session {
                    client: connected.client,
                    stays: vec![stay],
                    subscriptions: Vec::new(),
                    end: None,
                    lasting: connected.lasting,
                    tried: Vec::new(),
                };
                self.all.push(session);
                self.all.len() - 1
            }
        };
        newest.insert(connected.client, at);
        self.of_connection.insert(connected.connection, at);
    }

    fn disconnect(&mut self, disconnected: &Disconnected, troubles: &Troubles) {
        let Some(session) = self.session(disconnected.connection) else { return };
        let mut stays = session.stays.iter_mut();
        let Some(stay) = stays.rfind(|stay| stay.connection == disconnected.connection) else { return };
        stay.until = Some(disconnected.at);
        let (node, from) = (stay.node, stay.asked_at);
        let is_last = session.stays.last().is_some_and(|stay| stay.connection == disconnected.connection);
        if session.lasting || !is_last || session.end.is_some() {
            return;
        }
        let died = troubles.died(node, from, disconnected.at);
        let (at, why) = match (died, disconnected.why) {
            (Some(died), _) => (died, Why::NodeDied),
            (None, Ending::Client) => (disconnected.at, Why::Client),
            (None, Ending::Told(_) | Ending::Closed) => (disconnected.at, Why::ConnectionLost),
        };
        session.end = Some(End { at, why });
    }
}

impl Session {
    fn unsubscribe(&mut self, filter: &str, unwanted_at: Moment, gone_at: Option<Moment>) {
        let live =
            self.subscriptions.iter_mut().filter(|held| held.filter == filter && held.gone_at.is_none());
        for subscription in live {
            subscription.unwanted_at.get_or_insert(unwanted_at);
            subscription.gone_at = gone_at;
        }
    }
}

/// Why a client that comes back does not find its session.
fn why_lost(session: &Session, connected: &Connected, troubles: &Troubles) -> End {
    let asked_at = connected.asked_at;
    if connected.clean_start {
        return End { at: asked_at, why: Why::Client };
    }
    let last = session.stays.iter().map(|stay| (stay.node, stay.asked_at)).next_back();
    let holders: Vec<(Node, Moment)> = last.into_iter().chain(session.tried.iter().copied()).collect();
    let deaths = holders.iter().filter_map(|&(node, from)| troubles.died(node, from, connected.at));
    if let Some(at) = deaths.min() {
        return End { at, why: Why::NodeDied };
    }
    let hindered = |node| troubles.hindered(node, connected.node, asked_at, connected.at);
    // What counts of claims on two sides of a cut is not the last one, if their clocks differ: the session may go to any of
    // those that it was on while they were apart.
    let rivals = session.stays.windows(2).rev().take_while(|pair| {
        let (old, new) = (&pair[0], &pair[1]);
        troubles.apart(old.node, new.node, new.asked_at, new.at)
    });
    let apart = holders.iter().map(|&(node, _)| node).chain(rivals.map(|pair| pair[0].node)).any(hindered);
    End { at: asked_at, why: if apart { Why::Split } else { Why::Unexplained } }
}

/// When a client knew of it; none for what sessions do not depend on.
fn moment(event: &Event) -> Option<Moment> {
    Some(match event {
        Event::Connected(connected) => connected.at,
        Event::NotConnected(tried) => tried.at,
        Event::Disconnected(disconnected) => disconnected.at,
        Event::Subscribed(subscribed) => subscribed.at.unwrap_or(subscribed.asked_at),
        Event::Unsubscribed(unsubscribed) => unsubscribed.at.unwrap_or(unsubscribed.asked_at),
        _ => return None,
    })
}
