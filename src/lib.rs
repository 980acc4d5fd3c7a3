//! RumorMQ: a masterless MQTT broker cluster.

pub mod codec;
pub mod router;
pub mod topic;
