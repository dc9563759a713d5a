//! Plots as inline SVG: no script, no font, no file beside the page.

use std::fmt::Write as _;

use super::job::Plot;
use super::table::thousands;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 46.0;
/// Colours that are told apart by most eyes.
const COLOURS: [&str; 6] = [
    "#0b6e99", "#d9822b", "#3d8b52", "#8c4a9e", "#b3362b", "#5c6670",
];

/// Text as it may stand in a page.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

struct Scale {
    low: f64,
    high: f64,
    log: bool,
}

impl Scale {
    fn of(values: impl Iterator<Item = f64>, log: bool) -> Self {
        let values: Vec<f64> = values
            .filter(|value| value.is_finite() && (!log || *value > 0.0))
            .collect();
        let high = values.iter().copied().fold(0.0, f64::max);
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        if log {
            // Nothing to show still has an axis.
            let high = if high > 0.0 { high } else { 1.0 };
            let low = low.max(high / 1e6).min(high);
            Self {
                low: 10_f64.powf(low.max(1e-9).log10().floor()),
                high: 10_f64.powf(high.max(1e-9).log10().ceil()).max(low * 10.0),
                log,
            }
        } else {
            Self {
                low: 0.0,
                high: nice(high),
                log,
            }
        }
    }

    /// From 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let share = if self.log {
            let (low, high) = (self.low.log10(), self.high.log10());
            (value.max(self.low).log10() - low) / (high - low)
        } else {
            (value - self.low) / (self.high - self.low)
        };
        share.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.log {
            let mut ticks = vec![self.low];
            let mut tick = self.low * 10.0;
            while tick <= self.high * 1.001 && ticks.len() < 12 {
                ticks.push(tick);
                tick *= 10.0;
            }
            ticks
        } else {
            (0..=4)
                .map(|step| self.high * f64::from(step) / 4.0)
                .collect()
        }
    }
}

/// A tick's label: no zeros behind the point that say nothing.
fn short(value: f64) -> String {
    let text = thousands(value);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// The next of 1, 2, 2.5, 4, 5, 8, 10 times a power of ten.
fn nice(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 2.5, 4.0, 5.0, 8.0, 10.0];
    let found = steps.into_iter().find(|step| step * power >= value * 0.999);
    found.unwrap_or(10.0) * power
}

/// One plot.
pub(super) fn plot(plot: &Plot) -> String {
    let points = || plot.lines.iter().flat_map(|(_, points)| points.iter());
    let across = Scale::of(points().map(|(x, _)| *x), false);
    let up = Scale::of(points().map(|(_, y)| *y), plot.log);
    let x = |value: f64| LEFT + across.place(value) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - up.place(value) * (HEIGHT - TOP - BOTTOM);
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0}\"><title>{0}</title>\
         <text class=\"t\" x=\"{LEFT}\" y=\"18\">{0}</text>",
        escape(&plot.title)
    );
    // Writing into a string can't fail.
    for tick in up.ticks() {
        let at = y(tick);
        let _ = write!(
            out,
            "<line class=\"g\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"a e\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            short(tick)
        );
    }
    for tick in across.ticks() {
        let _ = write!(
            out,
            "<text class=\"a m\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x(tick),
            HEIGHT - BOTTOM + 16.0,
            short(tick)
        );
    }
    let _ = write!(
        out,
        "<text class=\"a m\" x=\"{:.1}\" y=\"{:.1}\">{}</text><text class=\"a e\" x=\"{:.1}\" y=\"18\">{}</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 12.0,
        escape(&plot.x),
        WIDTH - RIGHT,
        escape(&plot.y)
    );
    for ((name, points), (index, colour)) in
        plot.lines.iter().zip(COLOURS.iter().cycle().enumerate())
    {
        let path: Vec<String> = points
            .iter()
            .filter(|(_, value)| value.is_finite() && (!plot.log || *value > 0.0))
            .map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value)))
            .collect();
        let row = TOP + 10.0 + f64::from(u16::try_from(index).unwrap_or_default()) * 15.0;
        let _ = write!(
            out,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>\
             <text class=\"a\" x=\"{:.1}\" y=\"{row:.1}\" style=\"fill:{colour}\">{}</text>",
            path.join(" "),
            LEFT + 10.0,
            escape(name)
        );
    }
    out + "</svg>"
}

/// A bar from 0 to twice the target, with the target as a mark.
pub(super) fn bar(ratio: f64, target: f64, ok: bool) -> String {
    let share = |value: f64| (value / (target * 2.0).max(1e-9)).clamp(0.0, 1.0) * 160.0;
    format!(
        "<svg class=\"bar\" viewBox=\"0 0 160 14\"><rect class=\"b\" width=\"160\" height=\"14\" rx=\"3\"/>\
         <rect fill=\"{}\" width=\"{:.1}\" height=\"14\" rx=\"3\"/>\
         <line class=\"k\" x1=\"80\" x2=\"80\" y1=\"0\" y2=\"14\"/></svg>",
        if ok { "#3d8b52" } else { "#b3362b" },
        share(ratio)
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp, reason = "tests")]

    use super::{Plot, escape, nice, plot, short};

    #[test]
    fn axes_end_at_round_figures() {
        assert_eq!(nice(78_000.0), 80_000.0);
        assert_eq!(nice(0.23), 0.25);
        assert_eq!(nice(0.0), 1.0);
        assert_eq!(
            [0.0, 2.5, 40.0, 1_500.0].map(short),
            ["0", "2.5", "40", "1,500"]
        );
    }

    #[test]
    fn nothing_in_a_plot_is_not_a_number_and_names_are_escaped() {
        for points in [vec![], vec![(0.0, 0.0)], vec![(1.0, f64::NAN), (2.0, 1e9)]] {
            for log in [true, false] {
                let drawn = plot(&Plot {
                    title: "<a & b>".into(),
                    x: "s".into(),
                    y: "ms".into(),
                    log,
                    lines: vec![("one".into(), points.clone())],
                });
                assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
                assert!(drawn.contains("&lt;a &amp; b&gt;"));
            }
        }
        assert_eq!(escape("\"x\""), "&quot;x&quot;");
    }
}
