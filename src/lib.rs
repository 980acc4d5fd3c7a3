//! RumorMQ: a masterless MQTT broker cluster.

pub mod admin;
pub mod broker;
pub mod cli;
pub mod cluster;
pub mod codec;
pub mod config;
pub mod message;
pub mod net;
pub mod node;
pub mod router;
pub mod session;
pub mod topic;
