//! Draws the model.

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Sparkline, Table};

use super::model::{Model, Pane};
use crate::admin::view::{LinkKind, MemberState};
use crate::cli::ask::state_name;

const GOOD: Style = Style::new().fg(Color::Green);
const DOUBTFUL: Style = Style::new().fg(Color::Yellow);
const BAD: Style = Style::new().fg(Color::Red);
const FAINT: Style = Style::new().fg(Color::DarkGray);
const HEADING: Style = Style::new().add_modifier(Modifier::BOLD);

/// Draws everything, and corrects what is seen of it to what there is.
pub(super) fn draw(frame: &mut Frame<'_>, model: &mut Model, now: Instant) {
    let areas = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
    ]);
    let [title, health, panes, body, keys] = areas.areas(frame.area());
    frame.render_widget(
        Line::from(vec![Span::styled("RumorMQ", HEADING), " as told by ".into(), model.base.clone().into()]),
        title,
    );
    frame.render_widget(summary(model, now), health);
    frame.render_widget(tabs(model.pane), panes);
    frame.render_widget(Line::styled("q quit   Tab or 1-4 pane   arrows, PgUp, PgDn move", FAINT), keys);
    if model.stats.is_none() {
        return frame.render_widget(Paragraph::new("\nwaiting for the first answer"), body);
    }
    match model.pane {
        Pane::Overview => overview(frame, model, body),
        Pane::Links => matrix(frame, model, body, 7, LINKS_LEGEND, link),
        Pane::Convergence => matrix(frame, model, body, 9, CONVERGENCE_LEGEND, lag),
        Pane::Buffers => buffers(frame, model, body),
    }
}

fn summary(model: &Model, now: Instant) -> Line<'static> {
    if let Some(trouble) = &model.trouble {
        let secs = now.saturating_duration_since(trouble.since).as_secs();
        return Line::styled(format!("no answer for {secs} s: {}", trouble.error), BAD);
    }
    let names = model.names().len();
    if names == 0 {
        return Line::default();
    }
    let stats = model.stats.as_ref();
    let missing = stats.map_or(0, |stats| stats.missing.len());
    let diverged: u64 = stats.iter().flat_map(|stats| &stats.nodes).map(|node| node.divergence_total).sum();
    let (word, style) = match (model.is_converged(), missing) {
        (true, 0) => ("converged".to_owned(), GOOD),
        (true, missing) => (format!("converged, {missing} without answer"), DOUBTFUL),
        (false, 0) => ("not converged".to_owned(), DOUBTFUL),
        (false, missing) => (format!("not converged, {missing} without answer"), BAD),
    };
    let mut line = vec![Span::raw(format!("{names} nodes, ")), Span::styled(word, style)];
    if diverged > 0 {
        line.push(Span::styled(format!(", {diverged} DIVERGENCES"), BAD));
    }
    line.into()
}

fn tabs(current: Pane) -> Line<'static> {
    let tab = |(place, pane): (usize, &Pane)| {
        let style =
            if *pane == current { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        [Span::styled(format!(" {} {} ", place + 1, pane.name()), style), Span::raw(" ")]
    };
    Pane::ALL.iter().enumerate().flat_map(tab).collect::<Vec<_>>().into()
}

/// Lines that are kept for what is below a list.
const BELOW: u16 = 5;

fn overview(frame: &mut Frame<'_>, model: &mut Model, area: Rect) {
    let [list, totals, curve, notes] = Layout::vertical([
        Constraint::Fill(1),
        Constraint::Length(1),
        Constraint::Length(2),
        Constraint::Length(BELOW - 3),
    ])
    .areas(area);
    let names: Vec<String> = model.names().into_iter().map(str::to_owned).collect();
    scroll(model, names.len(), list);
    let rows = names.iter().skip(model.row).map(|name| node_row(model, name));
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(10),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(6),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(4),
    ];
    let header = ["NODE", "STATE", "CLIENTS", "IN/S", "OUT/S", "DROP/S", "BUFFER", "LAG", "CONV"];
    frame.render_widget(Table::new(rows, widths).header(Row::new(header).style(HEADING)), list);
    frame.render_widget(all_together(model, &names), totals);
    let width = usize::from(curve.width);
    let recent: Vec<u64> =
        model.history.iter().skip(model.history.len().saturating_sub(width)).copied().collect();
    frame.render_widget(Sparkline::default().data(recent).style(GOOD), curve);
    let stats = model.stats.iter();
    let silent = stats
        .flat_map(|stats| &stats.missing)
        .map(|it| Line::styled(format!("{}: {}", it.node, it.reason), BAD));
    frame.render_widget(Paragraph::new(silent.collect::<Vec<_>>()), notes);
}

fn node_row(model: &Model, name: &str) -> Row<'static> {
    let state = match model.state(name) {
        None => Cell::from("unknown").style(BAD),
        Some((state, seen, all)) => {
            let text = if seen == all {
                state_name(state).to_owned()
            } else {
                format!("{} {seen}/{all}", state_name(state))
            };
            Cell::from(text).style(state_style(state))
        }
    };
    let Some(node) = model.node(name) else {
        return Row::new(vec![Cell::from(name.to_owned()), state, Cell::from("silent").style(FAINT)]);
    };
    let rate = |of: fn(super::model::Rates) -> f64| {
        model.rates(name).map_or("-".to_owned(), |rates| short(of(rates)))
    };
    let buffered: u64 = node.peers.iter().map(|peer| peer.unacked_bytes).sum();
    let lag = node.peers.iter().map(|peer| peer.lag_seconds).fold(0.0, f64::max);
    let dropped = model.rates(name).is_some_and(|rates| rates.dropped > 0.0);
    Row::new(vec![
        Cell::from(name.to_owned()),
        state,
        Cell::from(short(node.connections as f64)),
        Cell::from(rate(|rates| rates.received)),
        Cell::from(rate(|rates| rates.delivered)),
        Cell::from(rate(|rates| rates.dropped)).style(if dropped { DOUBTFUL } else { Style::new() }),
        Cell::from(bytes(buffered)),
        Cell::from(seconds(lag)).style(if lag > 0.0 { DOUBTFUL } else { Style::new() }),
        if node.converged { Cell::from("yes").style(GOOD) } else { Cell::from("no").style(DOUBTFUL) },
    ])
}

fn all_together(model: &Model, names: &[String]) -> Line<'static> {
    let nodes = || names.iter().filter_map(|name| model.node(name));
    let rates = || names.iter().filter_map(|name| model.rates(name));
    let sum = |of: fn(super::model::Rates) -> f64| short(rates().map(of).sum::<f64>());
    let connections: u64 = nodes().map(|node| node.connections).sum();
    let sessions: u64 = nodes().map(|node| node.sessions).sum();
    let queued: u64 = nodes().map(|node| node.queued).sum();
    let text = format!(
        "all: {} in/s {}B/s, {} out/s {}B/s, {} clients, {} sessions, {} queued",
        sum(|rates| rates.received),
        sum(|rates| rates.bytes_in),
        sum(|rates| rates.delivered),
        sum(|rates| rates.bytes_out),
        short(connections as f64),
        short(sessions as f64),
        short(queued as f64),
    );
    Line::styled(text, HEADING)
}

const LINKS_LEGEND: [&str; 2] = [
    "Row: the node that says so; column: the node it speaks of. A number is the round trip in ms,",
    ">N through node N, -- no way, ? the row's node has not answered.",
];
const CONVERGENCE_LEGEND: [&str; 2] = [
    "Row: the node; column: whose changes it has applied. ok: all it knows of; else how many are",
    "missing and for how long, ? the row's node has not answered.",
];

/// A matrix of what each node says of each other.
fn matrix(
    frame: &mut Frame<'_>,
    model: &mut Model,
    area: Rect,
    width: u16,
    legend: [&'static str; 2],
    cell: fn(&Model, &[String], &str, &str) -> (String, Style),
) {
    let [grid, below] = Layout::vertical([Constraint::Fill(1), Constraint::Length(3)]).areas(area);
    let names: Vec<String> = model.names().into_iter().map(str::to_owned).collect();
    scroll(model, names.len(), grid);
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let named = u16::try_from(longest + 5).unwrap_or(u16::MAX).min(area.width / 2);
    let columns = usize::from(area.width.saturating_sub(named) / (width + 1)).max(1);
    model.column = model.column.min(names.len().saturating_sub(columns));
    let shown = || names.iter().enumerate().skip(model.column).take(columns);
    let header = std::iter::once(String::new()).chain(shown().map(|(place, _)| (place + 1).to_string()));
    let rows = names.iter().enumerate().skip(model.row).map(|(place, from)| {
        let title = Cell::from(format!("{:>3} {from}", place + 1));
        let cells = shown().map(|(_, to)| {
            let (text, style) =
                if from == to { ("·".to_owned(), FAINT) } else { cell(model, &names, from, to) };
            Cell::from(text).style(style)
        });
        Row::new(std::iter::once(title).chain(cells).collect::<Vec<_>>())
    });
    let widths = std::iter::once(Constraint::Length(named)).chain(shown().map(|_| Constraint::Length(width)));
    let table = Table::new(rows, widths.collect::<Vec<_>>());
    frame.render_widget(table.header(Row::new(header.collect::<Vec<_>>()).style(HEADING)), grid);
    let legend: Vec<Line<'_>> =
        std::iter::once("").chain(legend).map(|text| Line::styled(text, FAINT)).collect();
    frame.render_widget(Paragraph::new(legend), below);
}

fn link(model: &Model, names: &[String], from: &str, to: &str) -> (String, Style) {
    let Some(peer) = model.peer(from, to) else { return ("?".to_owned(), FAINT) };
    match peer.link {
        LinkKind::Own | LinkKind::Direct => (
            peer.rtt_ms.map_or("up".to_owned(), |rtt| {
                if rtt < 10.0 { format!("{rtt:.1}") } else { format!("{rtt:.0}") }
            }),
            GOOD,
        ),
        LinkKind::Relayed => {
            let via = names.iter().position(|name| Some(name) == peer.via.as_ref());
            (via.map_or(">?".to_owned(), |place| format!(">{}", place + 1)), DOUBTFUL)
        }
        LinkKind::None => ("--".to_owned(), BAD),
    }
}

fn lag(model: &Model, _: &[String], from: &str, to: &str) -> (String, Style) {
    match model.peer(from, to) {
        None => ("?".to_owned(), FAINT),
        Some(peer) if peer.state >= MemberState::Dead => (state_name(peer.state).to_owned(), FAINT),
        Some(peer) if peer.lag_ops == 0 && peer.lag_seconds == 0.0 => ("ok".to_owned(), GOOD),
        Some(peer) => (format!("{} {}", short(peer.lag_ops as f64), seconds(peer.lag_seconds)), DOUBTFUL),
    }
}

fn buffers(frame: &mut Frame<'_>, model: &mut Model, area: Rect) {
    let stats = model.stats.iter().flat_map(|stats| &stats.nodes);
    let mut pairs: Vec<_> =
        stats.flat_map(|node| node.peers.iter().map(move |peer| (node.node.clone(), peer.clone()))).collect();
    pairs.sort_by_key(|(_, peer)| std::cmp::Reverse((peer.unacked_bytes, peer.unacked)));
    scroll(model, pairs.len(), area);
    let rows = pairs.iter().skip(model.row).map(|(from, peer)| {
        let rates = model.peer_rates(from, &peer.node);
        let rate =
            |of: fn(super::model::PeerRates) -> f64| rates.map_or("-".to_owned(), |rates| short(of(rates)));
        let style = if peer.oldest_seconds > 1.0 { DOUBTFUL } else { Style::new() };
        Row::new([
            from.clone(),
            peer.node.clone(),
            short(peer.unacked as f64),
            bytes(peer.unacked_bytes),
            seconds(peer.oldest_seconds),
            rate(|rates| rates.sent),
            rate(|rates| rates.received),
            rate(|rates| rates.dropped),
        ])
        .style(style)
    });
    let number = Constraint::Length(7);
    let widths = [Constraint::Fill(1), Constraint::Fill(1), number, number, number, number, number, number];
    let header = ["FROM", "TO", "UNACKED", "BYTES", "OLDEST", "SENT/S", "RECV/S", "DROP/S"];
    frame.render_widget(Table::new(rows, widths).header(Row::new(header).style(HEADING)), area);
}

/// Sees to it that the last rows are not scrolled past.
fn scroll(model: &mut Model, rows: usize, area: Rect) {
    let visible = usize::from(area.height.saturating_sub(1)).max(1);
    model.row = model.row.min(rows.saturating_sub(visible));
}

fn state_style(state: MemberState) -> Style {
    match state {
        MemberState::Alive => GOOD,
        MemberState::Suspect | MemberState::Stopped => DOUBTFUL,
        MemberState::Dead | MemberState::Left => BAD,
    }
}

/// A number in a few characters.
fn short(number: f64) -> String {
    let (scaled, unit) = match number {
        n if n >= 999.5e6 => (n / 1e9, "G"),
        n if n >= 999.5e3 => (n / 1e6, "M"),
        n if n >= 999.5 => (n / 1e3, "k"),
        n => {
            return if n > 0.0 && n < 9.95 && n.fract() != 0.0 {
                format!("{n:.1}")
            } else {
                format!("{n:.0}")
            };
        }
    };
    if scaled < 9.95 { format!("{scaled:.1}{unit}") } else { format!("{scaled:.0}{unit}") }
}

fn bytes(number: u64) -> String {
    if number == 0 { "-".to_owned() } else { format!("{}B", short(number as f64)) }
}

fn seconds(secs: f64) -> String {
    match secs {
        0.0 => "-".to_owned(),
        secs if secs < 9.95 => format!("{secs:.1}s"),
        secs if secs < 600.0 => format!("{secs:.0}s"),
        secs => format!("{:.0}m", secs / 60.0),
    }
}

#[cfg(test)]
mod tests;
