//! RumorMQ: a masterless MQTT broker cluster.

pub mod codec;
pub mod topic;
