//! Where Prometheus finds the nodes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One entry of `GET /api/v1/prometheus/targets`, as Prometheus' `http_sd` reads it: a member of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TargetGroup {
    /// Its `HOST:PORT`; there is one.
    pub targets: Vec<String>,
    /// What all its series bear: `cluster`, the cluster's name, and `node`, its own.
    pub labels: BTreeMap<String, String>,
}
