//! RumorMQ: a masterless MQTT broker cluster. This page is the map of the code; the README says what it does.
//!
//! Each module knows only modules below it, and there is a test that says so:
//!
//! ```text
//!   cli          the command: runs nodes, asks them questions
//!   node         a whole node: starts and stops what is below, shows it to admin
//!   config       what an operator decides             admin    HTTP API, metrics' and status page, over a view of a node
//!   bridge       a client of this node and of another broker        bench    clients that measure a broker
//!   net          sockets: one accept loop, one driver for each connection
//!   broker       joins the three below; the one place where the effects of a packet are decided
//!   cluster      interest, links, and forwarding between nodes
//!   router       topic trie: local subscribers, and the nodes that want a filter
//!   store        what is kept on disk
//!   session      the protocol state of one client
//!   message      application messages        codec    bytes <-> packets
//!   observation  traces of a client or topic, slow subscribers, top topics: bounded, off unless somebody asks
//!   access       who may connect, and do what        topic    names and filters
//!   pki          certificates and keys, from files
//!
//!   gossip       (crate rumormq_gossip) replicated OR-set, membership, anti-entropy: knows no MQTT
//! ```
//!
//! Where the cluster has something for the broker above it, it calls the trait [`cluster::host::Host`]; [`admin`] sees the
//! node above it as an [`admin::NodeView`].
//!
//! Two ways through the code, each worth following once:
//!
//! - *A publish*: [`net`] reads bytes, [`codec`] makes a packet of them, [`broker::connection`] checks it against the
//!   [`session`], [`broker`] asks the [`router`] who wants it, gives it to the sessions of this node, and hands it to
//!   [`cluster::forward`] for the other nodes, where the same broker code gives it to the sessions there.
//! - *A subscription*: the [`broker`] adds it to the [`router`]; the first subscriber of a filter becomes an element of the
//!   replicated set ([`cluster::interest`]), which [`rumormq_gossip`] brings to every node, where it becomes a route in the
//!   trie. SUBACK follows when the peers have it.
//!
//! [`session`], [`router`] and [`codec`] use no clock, socket, task or randomness: `now` is an argument.

pub mod access;
pub mod admin;
pub mod bench;
pub mod bridge;
pub mod broker;
pub mod cli;
pub mod cluster;
pub mod codec;
pub mod config;
pub mod message;
pub mod net;
pub mod node;
pub mod observation;
pub mod pki;
pub mod router;
pub mod session;
pub mod store;
pub mod topic;
