//! The picture: bytes and times over the number of nodes, both axes logarithmic.

use crate::scenario::Figures;

const WIDTH: f64 = 430.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 62.0;
const TOP: f64 = 34.0;
/// Told apart by those who see few colours (Okabe and Ito), and on light and dark.
const COLOURS: [&str; 5] = ["#e69f00", "#2f8fd0", "#00a37a", "#d55e00", "#b9699c"];

struct Panel<'a> {
    title: &'a str,
    unit: &'a str,
    /// Powers of ten at the ends of the axis.
    range: (i32, i32),
    label: fn(i32) -> String,
    series: Vec<(&'a str, Vec<(f64, f64)>)>,
}

/// Draws the figures of all sizes.
pub fn svg(all: &[Figures]) -> String {
    let series = |value: fn(&Figures) -> f64| all.iter().map(|f| (f.nodes as f64, value(f))).collect();
    let traffic = Panel {
        title: "Bytes a node",
        unit: "bytes, or bytes a second",
        range: (2, 8),
        label: |power| match power {
            ..3 => format!("{} B", 10_i64.pow(power as u32)),
            3..6 => format!("{} kB", 10_i64.pow(power as u32 - 3)),
            _ => format!("{} MB", 10_i64.pow(power as u32 - 6)),
        },
        series: vec![
            ("1,000 changes/s, a second", series(|f| f.busy.bytes_a_second)),
            ("join, the joiner", series(|f| f.join.bytes_joiner)),
            ("heal after 10 minutes", series(|f| f.heal.bytes)),
            ("idle, a second", series(|f| f.idle_bytes_a_second)),
            ("one change", series(|f| f.one_change.bytes)),
        ],
    };
    let times = Panel {
        title: "Time until all nodes have it",
        unit: "milliseconds, round trip 1 ms",
        range: (-1, 4),
        label: |power| match power {
            ..0 => "0.1 ms".to_owned(),
            0..3 => format!("{} ms", 10_i64.pow(power as u32)),
            _ => format!("{} s", 10_i64.pow(power as u32 - 3)),
        },
        series: vec![
            ("1,000 changes/s, the slowest", series(|f| f.busy.all.as_secs_f64() * 1e3)),
            ("join, until it has all", series(|f| f.join.synced.as_secs_f64() * 1e3)),
            ("heal after 10 minutes", series(|f| f.heal.converged.as_secs_f64() * 1e3)),
            ("one change, half of the nodes", series(|f| f.one_change.median.as_secs_f64() * 1e3)),
            ("one change, SUBACK", series(|f| f.one_change.settled.as_secs_f64() * 1e3)),
        ],
    };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>Cost of changes, joins and healed splits by number of nodes, simulated</title>\n\
         <style>.paper {{ fill: #fff }} text {{ fill: #333 }} .grid {{ stroke: #8886 }} .axis {{ stroke: #888 }}\n\
         @media (prefers-color-scheme: dark) {{ .paper {{ fill: #0d1117 }} text {{ fill: #ccc }} }}</style>\n\
         <rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n",
        2.0 * (LEFT + WIDTH) + 60.0,
        TOP + HEIGHT + 150.0
    );
    out += &draw(&traffic, LEFT);
    out += &draw(&times, 2.0 * LEFT + WIDTH + 30.0);
    out + "</svg>\n"
}

fn draw(panel: &Panel<'_>, left: f64) -> String {
    let (low, high) = panel.range;
    let x = |nodes: f64| left + (nodes.log10() - 0.8) / 2.4 * WIDTH;
    let y = |value: f64| {
        let share = (value.log10() - f64::from(low)) / f64::from(high - low);
        TOP + HEIGHT * (1.0 - share.clamp(0.0, 1.0))
    };
    let (right, bottom) = (left + WIDTH, TOP + HEIGHT);
    let mut out = format!(
        "<text x=\"{left}\" y=\"16\" font-size=\"15\" font-weight=\"bold\">{}</text>\n\
         <text x=\"{right}\" y=\"16\" text-anchor=\"end\">{}</text>\n",
        panel.title, panel.unit
    );
    for power in low..=high {
        let at = y(10_f64.powi(power));
        out += &format!(
            "<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
            left - 6.0,
            at + 4.0,
            (panel.label)(power)
        );
    }
    for nodes in [10.0, 100.0, 1000.0] {
        let at = x(nodes);
        out += &format!(
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{nodes}</text>\n",
            bottom + 17.0
        );
    }
    out += &format!(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">nodes (links to a grid of peers above 64)</text>\n\
         <path class=\"axis\" fill=\"none\" d=\"M{left} {TOP}V{bottom}H{right}\"/>\n",
        (left + right) / 2.0,
        bottom + 34.0
    );
    for (index, (name, points)) in panel.series.iter().enumerate() {
        let colour = COLOURS[index];
        let path: Vec<String> =
            points.iter().map(|(nodes, value)| format!("{:.1} {:.1}", x(*nodes), y(*value))).collect();
        out += &format!(
            "<path fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" d=\"M{}\"/>\n",
            path.join("L")
        );
        for (nodes, value) in points {
            out += &format!(
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{colour}\"/>\n",
                x(*nodes),
                y(*value)
            );
        }
        let line = bottom + 56.0 + 17.0 * index as f64;
        out += &format!(
            "<path stroke=\"{colour}\" stroke-width=\"3\" d=\"M{left} {:.1}h24\"/>\
             <text x=\"{}\" y=\"{line:.1}\">{name}</text>\n",
            line - 4.0,
            left + 32.0
        );
    }
    out
}
