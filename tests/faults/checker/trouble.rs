//! When nodes could not reach each other, or were not there.

use crate::history::{Event, Fault, FaultKind, History, Moment, Node};

const SECOND: Moment = 1_000_000;

/// So long after a fault nodes may still act on it: until they know each other live and have reconnected.
const AFTERMATH: Moment = 5 * SECOND;
/// What is acknowledged on a network that works is with its subscribers so much later, on a machine that has other things
/// to do.
const PROMPT: Moment = 5 * SECOND;
/// The same for what was held up by a fault, from its end on; and on a network that loses packets.
const LATE: Moment = 20 * SECOND;

/// The faults of a history.
pub struct Troubles {
    faults: Vec<Fault>,
}

impl Troubles {
    pub fn of(history: &History) -> Troubles {
        let fault = |event: &Event| match event {
            Event::Fault(fault) => Some(fault.clone()),
            _ => None,
        };
        Troubles { faults: history.events.iter().filter_map(fault).collect() }
    }

    /// Faults that had an effect within a time.
    fn within(&self, from: Moment, until: Moment) -> impl Iterator<Item = &Fault> {
        self.faults.iter().filter(move |fault| fault.from <= until && end(fault) >= from)
    }

    /// Whether these two could not reach each other directly at any time in between, or one of them was not there.
    pub fn apart(&self, a: Node, b: Node, from: Moment, until: Moment) -> bool {
        self.within(from, until).any(|fault| separates(&fault.kind, a, b))
    }

    /// The same, packet loss included.
    pub fn hindered(&self, a: Node, b: Node, from: Moment, until: Moment) -> bool {
        let lossy = |kind: &FaultKind| matches!(kind, FaultKind::Loss { node, .. } if [a, b].contains(node));
        self.within(from, until).any(|fault| separates(&fault.kind, a, b) || (a != b && lossy(&fault.kind)))
    }

    /// When the node went down for the first time in between, with what it held.
    pub fn died(&self, node: Node, from: Moment, until: Moment) -> Option<Moment> {
        let deaths = self.faults.iter().filter(|fault| is_death(&fault.kind, node));
        deaths.map(|fault| fault.from).filter(|&at| (from..=until).contains(&at)).min()
    }

    /// Whether the node is down, or stands still, at any time in between.
    pub fn absent(&self, node: Node, from: Moment, until: Moment) -> bool {
        self.within(from, until).any(|fault| separates(&fault.kind, node, node))
    }

    /// Whether the node was down then.
    pub fn down(&self, node: Node, at: Moment) -> bool {
        let deaths = self.faults.iter().filter(|fault| is_death(&fault.kind, node));
        deaths.into_iter().any(|fault| fault.from <= at && fault.until.is_none_or(|until| at <= until))
    }

    /// Whether anything kept any two nodes from each other in between.
    pub fn any(&self, from: Moment, until: Moment) -> bool {
        self.within(from, until).any(|fault| !matches!(fault.kind, FaultKind::ClockStep { .. }))
    }

    /// Starts of the node since then, each with the time from its death to its being ready.
    pub fn restarts(
        &self,
        node: Node,
        from: Moment,
        until: Moment,
    ) -> impl Iterator<Item = (Moment, Moment)> {
        let deaths = self.faults.iter().filter(move |fault| is_death(&fault.kind, node));
        let times = deaths.map(|fault| (fault.from, fault.until.unwrap_or(Moment::MAX)));
        times.filter(move |&(died, _)| (from..=until).contains(&died))
    }

    /// Whether the node could not reach everybody else at any time in between.
    pub fn cut_off(&self, node: Node, from: Moment, until: Moment) -> bool {
        self.within(from, until).any(|fault| match &fault.kind {
            FaultKind::Cut { pairs } => pairs.iter().any(|pair| pair.0 == node || pair.1 == node),
            FaultKind::Pause { .. } => true,
            FaultKind::Loss { .. } => true,
            _ => false,
        })
    }

    /// By when a message that was published on `a` and acknowledged then is with a subscriber on `b` that reads.
    pub fn due(&self, a: Node, b: Node, sent: Moment, acked: Moment) -> Moment {
        let mut due = acked + PROMPT;
        loop {
            let held_up = self.within(sent, due).filter_map(|fault| match &fault.kind {
                FaultKind::Loss { node, .. } if a != b && [a, b].contains(node) => Some(acked + LATE),
                kind if separates(kind, a, b) => Some(end(fault).saturating_add(LATE)),
                _ => None,
            });
            match held_up.max().filter(|&later| later > due) {
                Some(later) => due = later,
                None => return due,
            }
        }
    }
}

fn end(fault: &Fault) -> Moment {
    fault.until.map_or(Moment::MAX, |until| until + AFTERMATH)
}

fn is_death(kind: &FaultKind, of: Node) -> bool {
    matches!(kind, FaultKind::Kill { node, .. } | FaultKind::Stop { node, .. } if *node == of)
}

fn separates(kind: &FaultKind, a: Node, b: Node) -> bool {
    match kind {
        FaultKind::Cut { pairs } => pairs.contains(&(a, b)) || pairs.contains(&(b, a)),
        FaultKind::Pause { node } | FaultKind::Kill { node, .. } | FaultKind::Stop { node, .. } => {
            [a, b].contains(node)
        }
        FaultKind::Loss { .. } | FaultKind::ClockStep { .. } => false,
    }
}
