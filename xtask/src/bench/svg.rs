//! The results as a plot: for every speed a bar of ours, one of the peer's, and a line where the limit is.

use super::row::{Against, Row};

const WIDTH: f64 = 900.0;
/// Where bars begin and how long the longest is.
const LEFT: f64 = 250.0;
const LONGEST: f64 = 540.0;
const BAR: f64 = 14.0;
const GROUP: f64 = 46.0;
const TOP: f64 = 86.0;

/// Colours for light and for dark pages; contrast of text at least 4.5 to 1.
const STYLE: &str = "
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-size: 17px; font-weight: 600 }
  .head { font-weight: 600 }
  .quiet { fill: #59636e; font-size: 12px }
  .page { fill: #ffffff }
  .ours { fill: #0969da }
  .peer { fill: #9ea7b3 }
  .limit { stroke: #bc4c00; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .quiet { fill: #9198a1 }
    .page { fill: #0d1117 }
    .ours { fill: #4493f8 }
    .peer { fill: #656c76 }
    .limit { stroke: #f0883e }
  }
";

/// What a plot says.
pub struct Plot {
    pub title: &'static str,
    /// For who does not see it.
    pub description: &'static str,
    /// What the peer is called.
    pub peer: &'static str,
    /// What the limit is, and how bars compare.
    pub limit: &'static str,
}

/// One group of bars.
struct Bars<'a> {
    row: &'a Row,
    ours: f64,
    peer: Option<f64>,
    limit: Option<f64>,
}

/// A plot of the rows that are to be drawn. `about` is the line below the title.
pub fn draw(rows: &[Row], plot: &Plot, about: &str) -> String {
    let groups = groups(rows.iter().filter(|row| row.drawn));
    let headings = headings(&groups);
    let height = TOP + GROUP * groups.len() as f64 + 34.0 * headings.len() as f64 + 20.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-labelledby=\"t\">\n<title id=\"t\">{}</title>\n<style>{STYLE}</style>\n<rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\" rx=\"6\"/>\n",
        plot.description
    );
    text(&mut svg, "title", 20.0, 30.0, "start", plot.title);
    text(&mut svg, "quiet", 20.0, 50.0, "start", about);
    legend(&mut svg, plot);
    let mut y = TOP;
    for (at, group) in groups.iter().enumerate() {
        if let Some(heading) = headings.iter().find(|heading| heading.from == at) {
            text(&mut svg, "head", 20.0, y + 20.0, "start", heading.text);
            y += 34.0;
        }
        bars(&mut svg, group, y, LONGEST / scale(&groups, group));
        y += GROUP;
    }
    svg.push_str("</svg>\n");
    svg
}

/// The rows with what is known of them.
fn groups<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<Bars<'a>> {
    rows.filter_map(|row| {
        Some(Bars {
            ours: row.ours()?,
            peer: row.peer(),
            limit: row.limit(),
            row,
        })
    })
    .collect()
}

struct Heading<'a> {
    from: usize,
    text: &'a str,
}

fn headings<'a>(groups: &[Bars<'a>]) -> Vec<Heading<'a>> {
    let mut headings: Vec<Heading> = Vec::new();
    for (from, bars) in groups.iter().enumerate() {
        let text = bars.row.heading.as_str();
        if headings.last().is_none_or(|last| last.text != text) {
            headings.push(Heading { from, text });
        }
    }
    headings
}

/// The largest value among the rows that measure the same: a prefill is far faster than an answer.
fn scale(groups: &[Bars], bars: &Bars) -> f64 {
    let alike = groups
        .iter()
        .filter(|other| other.row.what == bars.row.what);
    let values = alike.flat_map(|bars| [Some(bars.ours), bars.peer, bars.limit]);
    values.flatten().fold(f64::MIN_POSITIVE, f64::max)
}

fn bars(svg: &mut String, bars: &Bars, y: f64, per_unit: f64) {
    let what = &bars.row.what;
    let what = what.split_once(", to ").map_or(&**what, |(what, _)| what);
    let values = [("ours", Some(bars.ours)), ("peer", bars.peer)];
    let count: u8 = match bars.row.against {
        Against::Peer => 2,
        Against::Limit => 1,
    };
    let middle = y + 5.0 + 7.5 * f64::from(count);
    text(svg, "", LEFT - 12.0, middle, "end", what);
    for (at, (class, value)) in values.into_iter().take(count.into()).enumerate() {
        let top = y + 2.0 + at as f64 * (BAR + 2.0);
        let Some(value) = value else {
            text(svg, "quiet", LEFT, top + 11.0, "start", "not measured");
            continue;
        };
        let length = value * per_unit;
        svg.push_str(&format!(
            "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{top}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"2\"/>\n"
        ));
        // Past the line of the limit, should it be where the number would stand.
        let limit = bars.limit.map_or(0.0, |limit| limit * per_unit);
        let near = (length - 4.0..length + 50.0).contains(&limit);
        let x = LEFT + if near { limit } else { length } + 6.0;
        text(svg, "", x, top + 11.5, "start", &bars.row.unit.show(value));
    }
    if let Some(limit) = bars.limit {
        let x = LEFT + limit * per_unit;
        let bottom = y + f64::from(count) * (BAR + 2.0) + 2.0;
        svg.push_str(&format!(
            "<line class=\"limit\" x1=\"{x:.1}\" y1=\"{y}\" x2=\"{x:.1}\" y2=\"{bottom}\"/>\n"
        ));
    }
}

fn legend(svg: &mut String, plot: &Plot) {
    for (x, class, name) in [(20.0, "ours", "rbee"), (90.0, "peer", plot.peer)] {
        svg.push_str(&format!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"62\" width=\"12\" height=\"12\" rx=\"2\"/>\n"
        ));
        text(svg, "", x + 18.0, 72.5, "start", name);
    }
    svg.push_str("<line class=\"limit\" x1=\"216\" y1=\"61\" x2=\"216\" y2=\"75\"/>\n");
    text(svg, "", 228.0, 72.5, "start", plot.limit);
}

fn text(svg: &mut String, class: &str, x: f64, y: f64, anchor: &str, words: &str) {
    let words = words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let class = if class.is_empty() {
        String::new()
    } else {
        format!(" class=\"{class}\"")
    };
    svg.push_str(&format!(
        "<text{class} x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>\n"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::row::tests::row;

    fn widths(svg: &str, class: &str) -> Vec<f64> {
        let start = format!("<rect class=\"{class}\" x=\"{LEFT}\"");
        let lines = svg.lines().filter(|line| line.starts_with(&start));
        lines
            .map(|line| {
                let (_, rest) = line.split_once("width=\"").unwrap();
                rest.split_once('"').unwrap().0.parse().unwrap()
            })
            .collect()
    }

    const PLOT: Plot = Plot {
        title: "Tokens per second",
        description: "Tokens per second of rbee",
        peer: "a peer",
        limit: "limit",
    };

    #[test]
    fn bars_are_as_long_as_their_values() {
        let rows = [row(30.0, Some(40.0), Some(60.0)), row(15.0, None, None)];
        let svg = draw(&rows, &PLOT, "a machine");
        assert_eq!(widths(&svg, "ours"), [LONGEST / 2.0, LONGEST / 4.0]);
        assert_eq!(widths(&svg, "peer"), [LONGEST * 2.0 / 3.0]);
        assert_eq!(svg.matches("not measured").count(), 1);
        assert!(svg.contains(&format!("x1=\"{:.1}\"", LEFT + LONGEST)));
    }

    #[test]
    fn what_has_no_peer_has_no_bar_for_one() {
        let alone = Row {
            what: "copy, to curl".to_owned(),
            against: Against::Limit,
            ..row(30.0, None, Some(60.0))
        };
        let svg = draw(&[alone], &PLOT, "a machine");
        assert_eq!(widths(&svg, "ours"), [LONGEST / 2.0]);
        assert!(!svg.contains("not measured"));
        assert!(svg.contains(">copy</text>"), "{svg}");
    }

    #[test]
    fn what_is_not_shown_is_not_drawn_and_words_are_escaped() {
        let quiet = Row {
            drawn: false,
            ..row(1.0, Some(2.0), None)
        };
        let svg = draw(&[quiet], &PLOT, "a <b> & c");
        assert!(widths(&svg, "ours").is_empty());
        assert!(svg.contains("a &lt;b&gt; &amp; c"));
    }
}
