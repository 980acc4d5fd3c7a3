//! What can be done to a cluster, as data.

use std::fmt;

use crate::history::{FaultKind, Node};

/// One thing done to a cluster, and undone later.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Each packet between any two hosts is lost with this probability in percent.
    Loss { percent: u8 },
    /// No packet passes between these nodes and all others.
    Split { side: Vec<Node> },
    /// No packet passes between these two.
    Cut { one: Node, other: Node },
    /// No packet passes from the one to the other; those of the other way do.
    OneWay { from: Node, to: Node },
    /// The process stands still (SIGSTOP), until SIGCONT.
    Pause { node: Node },
    /// `kill -9`, until it is started again at the same addresses.
    Kill { node: Node },
    /// A clean stop, until it is started again.
    Stop { node: Node },
    /// These lose their power together: nothing of them reaches anybody, not even that their connections are gone.
    PowerOff { nodes: Vec<Node> },
    /// The node's wall clock is moved, at once, and back at the end.
    Clock { node: Node, by_secs: i64 },
}

impl Fault {
    /// What a history of a cluster of `size` nodes calls it.
    pub fn kinds(&self, size: usize, data_dir: bool) -> Vec<FaultKind> {
        match self {
            Fault::Loss { percent } => {
                let share = f64::from(*percent) / 100.0;
                (0..size).map(|node| FaultKind::Loss { node, share }).collect()
            }
            Fault::Split { .. } | Fault::Cut { .. } | Fault::OneWay { .. } => {
                vec![FaultKind::Cut { pairs: self.deaf_pairs(size) }]
            }
            Fault::Pause { node } => vec![FaultKind::Pause { node: *node }],
            Fault::Kill { node } => vec![FaultKind::Kill { node: *node, data_dir }],
            Fault::Stop { node } => vec![FaultKind::Stop { node: *node, data_dir }],
            Fault::PowerOff { nodes } => {
                let kills = nodes.iter().map(|&node| FaultKind::Kill { node, data_dir });
                [FaultKind::Cut { pairs: self.deaf_pairs(size) }].into_iter().chain(kills).collect()
            }
            Fault::Clock { node, by_secs } => {
                vec![FaultKind::ClockStep { node: *node, by_ms: by_secs * 1000 }]
            }
        }
    }

    /// Whose packets do not reach whom: first the sender, then the receiver.
    pub fn deaf_pairs(&self, size: usize) -> Vec<(Node, Node)> {
        let all = || (0..size).flat_map(|from| (0..size).map(move |to| (from, to)));
        let is_lost = |from: Node, to: Node| match self {
            Fault::Split { side } => side.contains(&from) != side.contains(&to),
            Fault::Cut { one, other } => (from, to) == (*one, *other) || (to, from) == (*one, *other),
            Fault::OneWay { from: sender, to: receiver } => (from, to) == (*sender, *receiver),
            Fault::PowerOff { nodes } => from != to && (nodes.contains(&from) || nodes.contains(&to)),
            _ => false,
        };
        all().filter(|&(from, to)| is_lost(from, to)).collect()
    }

    /// Nodes whose process it needs for itself: two such faults of a node must not overlap.
    pub fn processes(&self) -> &[Node] {
        match self {
            Fault::Pause { node } | Fault::Kill { node } | Fault::Stop { node } => std::slice::from_ref(node),
            Fault::Clock { node, .. } => std::slice::from_ref(node),
            Fault::PowerOff { nodes } => nodes,
            _ => &[],
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |nodes: &[Node]| {
            let names: Vec<String> = nodes.iter().map(|node| format!("n{}", node + 1)).collect();
            names.join(",")
        };
        match self {
            Fault::Loss { percent } => write!(f, "loss of {percent} % everywhere"),
            Fault::Split { side } => write!(f, "split {} | the others", names(side)),
            Fault::Cut { one, other } => write!(f, "cut {} -x- {}", names(&[*one]), names(&[*other])),
            Fault::OneWay { from, to } => write!(f, "cut {} -x> {}", names(&[*from]), names(&[*to])),
            Fault::Pause { node } => write!(f, "pause {}", names(&[*node])),
            Fault::Kill { node } => write!(f, "kill -9 {}", names(&[*node])),
            Fault::Stop { node } => write!(f, "stop {}", names(&[*node])),
            Fault::PowerOff { nodes } => write!(f, "power off {}", names(nodes)),
            Fault::Clock { node, by_secs } => write!(f, "clock of {} by {by_secs:+} s", names(&[*node])),
        }
    }
}
