//! A client as the scenarios see it, whatever library it is made with.

use serde::{Deserialize, Serialize};

/// How a client connects.
#[derive(Clone, Debug, Serialize)]
pub struct Options {
    pub port: u16,
    pub transport: Transport,
    /// The file with the authority that TLS trusts.
    pub ca: String,
    /// 4 is 3.1.1.
    pub version: u8,
    pub id: String,
    /// Clean start, and for 3.1.1 clean session.
    pub clean: bool,
    /// Session expiry interval of 5.0.
    pub expiry: Option<u32>,
    pub keep_alive: u16,
    pub will: Option<Will>,
    pub user: Option<String>,
    pub password: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Tcp,
    Tls,
    Ws,
    Wss,
}

#[derive(Clone, Debug, Serialize)]
pub struct Will {
    pub topic: String,
    pub payload: String,
    pub qos: u8,
    pub retain: bool,
}

/// A subscription that is wanted.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Wanted {
    pub filter: String,
    pub qos: u8,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub identifier: Option<u32>,
}

/// A message to publish.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outgoing {
    /// Empty where the alias stands for it.
    pub topic: String,
    pub payload: String,
    pub qos: u8,
    pub retain: bool,
    pub alias: Option<u16>,
    pub expiry: Option<u32>,
    pub content_type: Option<String>,
    pub response_topic: Option<String>,
    pub correlation: Option<String>,
    pub user: Vec<(String, String)>,
}

/// A message that came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Incoming {
    pub topic: String,
    pub payload: String,
    pub qos: u8,
    pub retain: bool,
    pub expiry: Option<u32>,
    pub content_type: Option<String>,
    pub response_topic: Option<String>,
    pub correlation: Option<String>,
    pub user: Vec<(String, String)>,
    pub identifiers: Vec<u32>,
}

/// What the library tells of a CONNACK.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Connected {
    /// Session present, where the library tells.
    pub present: Option<bool>,
    pub reason: u8,
    /// The identifier that the broker assigned, where the library tells.
    pub assigned: Option<String>,
}

/// A library, with a way to connect.
pub trait Library {
    /// Whether it is installed; false where the test may be skipped.
    fn is_installed(&self) -> bool;
    /// How its clients connect.
    fn transport(&self) -> Transport;
    /// A client that has been accepted.
    fn connect(&mut self, options: Options) -> Box<dyn Peer>;
}

/// A client. Everything panics where the library reports a failure, or nothing for a long time.
pub trait Peer {
    /// What CONNACK said.
    fn connected(&self) -> Connected;
    /// Gives the reason code.
    fn subscribe(&mut self, wanted: Wanted) -> u8;
    /// Several subscriptions, one after the other where the library can.
    fn subscribe_all(&mut self, wanted: Vec<Wanted>) {
        for wanted in wanted {
            self.subscribe(wanted);
        }
    }
    fn unsubscribe(&mut self, filter: &str);
    /// Returns when all are acknowledged.
    fn publish(&mut self, messages: Vec<Outgoing>);
    /// The next message.
    fn message(&mut self) -> Incoming;
    /// The broker ends the connection; gives the reason code, where it and the library tell one.
    fn ended(&mut self) -> Option<u8>;
    /// DISCONNECT with reason 0.
    fn disconnect(self: Box<Self>);
    /// Whether [`Peer::disconnect`] can keep the broker from publishing the will.
    fn can_say_goodbye(&self) -> bool {
        true
    }
    /// Goes without DISCONNECT.
    fn lose_power(self: Box<Self>);
    /// A client that came back to a session and gets what was queued for it. Libraries that cannot connect without subscribing do
    /// so here.
    fn come_back(&mut self, wanted: Wanted) {
        drop(wanted);
    }
}
