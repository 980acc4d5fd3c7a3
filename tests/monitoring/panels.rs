//! What the dashboards show: a table each.

mod broker;
mod cluster;
mod convergence;

/// All dashboards.
pub const DASHBOARDS: &[Dashboard] = &[convergence::DASHBOARD, cluster::DASHBOARD, broker::DASHBOARD];

/// A page of panels.
pub struct Dashboard {
    /// Of its file.
    pub name: &'static str,
    pub title: &'static str,
    pub description: &'static str,
    pub panels: &'static [Panel],
}

/// How a panel draws its series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// One number each, as it is now.
    Stat,
    Lines,
    /// Lines that add up.
    Stacked,
    /// A row each, coloured by value up to `max`.
    Heatmap {
        max: u32,
    },
    /// A row each, coloured by named values.
    States,
}

pub struct Panel {
    pub title: &'static str,
    pub kind: Kind,
    /// In Grafana's words.
    pub unit: &'static str,
    /// In columns of 24.
    pub width: u32,
    pub height: u32,
    pub queries: &'static [Query],
    /// Names and colours of certain values.
    pub values: &'static [(u32, &'static str, &'static str)],
    /// Colours from values on.
    pub thresholds: &'static [(Option<f64>, &'static str)],
    /// What is seen.
    pub shows: &'static str,
    /// How that looks when all is well.
    pub healthy: &'static str,
}

pub struct Query {
    /// In PromQL; `@` stands for the cluster and the nodes that are chosen above the panels.
    expression: &'static str,
    pub legend: &'static str,
}

impl Query {
    /// As Grafana gets it.
    pub fn expression(&self) -> String {
        self.expression.replace('@', "cluster=\"$cluster\", node=~\"$node\"")
    }
}

const fn query(expression: &'static str, legend: &'static str) -> Query {
    Query { expression, legend }
}

/// A panel of half the width, with lines. Made different where it is.
const LINES: Panel = Panel {
    title: "",
    kind: Kind::Lines,
    unit: "short",
    width: 12,
    height: 8,
    queries: &[],
    values: &[],
    thresholds: &[(None, "green")],
    shows: "",
    healthy: "",
};

const STAT: Panel = Panel { kind: Kind::Stat, width: 4, height: 4, ..LINES };
