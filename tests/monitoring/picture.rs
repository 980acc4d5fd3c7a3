//! A picture of a run, for those who have no Grafana at hand: the series of the dashboard *Convergence*.

use std::fmt::Write;
use std::fs;

use crate::dashboards::folder;
use crate::panels::DASHBOARDS;
use crate::partition::{Moments, View};
use crate::prometheus::Series;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 20.0;
const CHART: f64 = 90.0;
const ROW: f64 = 14.0;
const GAP: f64 = 42.0;
const COLORS: [&str; 6] = ["#3274d9", "#e0752d", "#629e51", "#962d82", "#e5ac0e", "#0a437c"];

enum Style {
    Lines,
    /// A row for each series, in the colour that `color` gives its values.
    Rows(fn(f64) -> &'static str),
}

/// What is drawn: titles of panels, and which of their queries.
const CHARTS: &[(&str, usize, Style)] = &[
    ("Members as seen by each node", 0, Style::Lines),
    ("Distinct set hashes", 0, Style::Lines),
    ("Links", 0, Style::Rows(link)),
    ("Lag, by node and origin", 0, Style::Rows(lag)),
    ("Propagation of a change", 1, Style::Lines),
    ("Forward buffers: messages", 0, Style::Lines),
    ("Forward buffers: oldest", 0, Style::Lines),
];

fn link(value: f64) -> &'static str {
    match value {
        2.0.. => "#629e51",
        1.0.. => "#f2c96d",
        _ => "#bf1b00",
    }
}

fn lag(value: f64) -> &'static str {
    match value {
        0.0 => "#d8ead2",
        ..1.0 => "#f9e2a8",
        ..5.0 => "#eab839",
        _ => "#bf1b00",
    }
}

/// Draws the run into `dashboards/convergence.svg`, with `RUMORMQ_PICTURE=1`.
pub fn draw(view: &View) {
    if std::env::var("RUMORMQ_PICTURE").is_ok_and(|value| value == "1") {
        fs::write(folder().join("convergence.svg"), picture(view)).expect("a writable folder");
    }
}

fn picture(view: &View) -> String {
    let Moments { began, cut, healed, cut_in_part, mended, end, .. } = view.moments;
    let x = |at: f64| LEFT + (at - began) / (end - began) * (WIDTH - LEFT - RIGHT);
    let (mut body, mut y) = (String::new(), 62.0);
    for (title, query, style) in CHARTS {
        let panels = DASHBOARDS.iter().flat_map(|dashboard| dashboard.panels);
        let panel = panels.into_iter().find(|panel| panel.title == *title).expect("a panel");
        let query = &panel.queries[*query];
        let mut series = view.prometheus.range(&view.fill_in(&query.expression()), began, end);
        series.retain(|series| series.values.iter().any(|(_, value)| value.is_finite()));
        let name = |series: &Series| {
            series.labels.iter().fold(query.legend.to_owned(), |name, (label, value)| {
                let short = value.split('@').next().unwrap_or_default();
                name.replace(&format!("{{{{{label}}}}}"), short)
            })
        };
        series.sort_by_key(&name);
        text(&mut body, LEFT, y - 8.0, "bold", "#333", title);
        let height = match style {
            Style::Lines => lines(&mut body, &series, &name, panel.unit, y, &x),
            Style::Rows(color) => rows(&mut body, &series, &name, *color, y, &x),
        };
        y += height + GAP;
    }
    let height = y - GAP + 40.0;
    let mut page = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<title>Three nodes, split and healed</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height:.0}\" fill=\"white\"/>\n"
    );
    for (from, to, what, color) in
        [(cut, healed, "n3 is cut off", "#fbe3e0"), (cut_in_part, mended, "no way from n1 to n3", "#fdf3d7")]
    {
        let width = x(to) - x(from);
        let _ = writeln!(
            page,
            "<rect x=\"{:.1}\" y=\"40\" width=\"{width:.1}\" height=\"{:.0}\" fill=\"{color}\"/>",
            x(from),
            height - 70.0
        );
        text(&mut page, x(from), 34.0, "normal", "#666", what);
    }
    page.push_str(&body);
    let seconds = (end - began) as u32;
    for at in (0..=seconds).step_by(5) {
        text(&mut page, x(began + f64::from(at)) - 6.0, height - 14.0, "normal", "#666", &format!("{at} s"));
    }
    page.push_str("</svg>\n");
    page
}

/// Lines on one scale from zero; returns the height.
fn lines(
    body: &mut String,
    series: &[Series],
    name: &dyn Fn(&Series) -> String,
    unit: &str,
    y: f64,
    x: &dyn Fn(f64) -> f64,
) -> f64 {
    let values = series.iter().flat_map(|series| &series.values).map(|(_, value)| *value);
    let highest = values.filter(|value| value.is_finite()).fold(0.0, f64::max).max(1e-9);
    let _ = writeln!(
        body,
        "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{CHART}\" fill=\"none\" stroke=\"#ccc\"/>",
        WIDTH - LEFT - RIGHT
    );
    for (y, words) in [(y + 10.0, label(highest, unit)), (y + CHART, "0".to_owned())] {
        let _ = writeln!(
            body,
            "<text x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"end\" fill=\"#666\">{words}</text>",
            LEFT - 4.0
        );
    }
    for (number, series) in series.iter().enumerate() {
        let color = COLORS[number % COLORS.len()];
        let mut points = String::new();
        for (at, value) in series.values.iter().filter(|(_, value)| value.is_finite()) {
            let _ = write!(points, "{:.1},{:.1} ", x(*at), y + CHART - value / highest * (CHART - 6.0));
        }
        let _ = writeln!(
            body,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\"/>",
            points.trim_end()
        );
        text(body, 8.0, y + 24.0 + 11.0 * number as f64, "normal", color, &name(series));
    }
    CHART
}

/// A row of coloured seconds for each series; returns the height.
fn rows(
    body: &mut String,
    series: &[Series],
    name: &dyn Fn(&Series) -> String,
    color: fn(f64) -> &'static str,
    y: f64,
    x: &dyn Fn(f64) -> f64,
) -> f64 {
    for (number, series) in series.iter().enumerate() {
        let y = y + ROW * number as f64;
        text(body, 8.0, y + 10.0, "normal", "#333", &name(series));
        for (at, value) in &series.values {
            let width = (x(at + 1.0).min(WIDTH - RIGHT) - x(*at)).max(0.0);
            let _ = writeln!(
                body,
                "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"12\" fill=\"{}\"/>",
                x(*at),
                color(*value)
            );
        }
    }
    ROW * series.len() as f64
}

fn label(value: f64, unit: &str) -> String {
    match unit {
        "s" if value < 1.0 => format!("{:.0} ms", value * 1e3),
        "s" => format!("{value:.0} s"),
        "ops" => format!("{value:.1} /s"),
        _ => format!("{value:.0}"),
    }
}

fn text(out: &mut String, x: f64, y: f64, weight: &str, color: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" font-weight=\"{weight}\" fill=\"{color}\">{words}</text>"
    );
}
