//! The results as a plot: for every speed a bar of ours, one of the peer's, and a line where the limit is.

use super::row::{Against, Row, Unit};

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

/// One group of bars.
struct Bars<'a> {
    row: &'a Row,
    ours: f64,
    peer: Option<f64>,
    limit: Option<f64>,
}

/// A plot of the speeds among the rows. `about` is the line below the title.
pub fn draw(rows: &[Row], about: &str) -> String {
    let groups = groups(rows);
    let headings = headings(&groups);
    let height = TOP + GROUP * groups.len() as f64 + 34.0 * headings.len() as f64 + 20.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-labelledby=\"t\">\n<title id=\"t\">Tokens per second of rbee's worker and of llama.cpp</title>\n<style>{STYLE}</style>\n<rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\" rx=\"6\"/>\n"
    );
    text(&mut svg, "title", 20.0, 30.0, "start", "Tokens per second");
    text(&mut svg, "quiet", 20.0, 50.0, "start", about);
    legend(&mut svg);
    let mut y = TOP;
    for (at, group) in groups.iter().enumerate() {
        if let Some(heading) = headings.iter().find(|heading| heading.from == at) {
            text(&mut svg, "head", 20.0, y + 20.0, "start", &heading.text);
            y += 34.0;
        }
        bars(&mut svg, group, y, LONGEST / scale(&groups, group));
        y += GROUP;
    }
    svg.push_str("</svg>\n");
    svg
}

/// A row of speeds that is drawn, with what is known: one for each measurement, not one for each floor.
fn groups(rows: &[Row]) -> Vec<Bars<'_>> {
    let speeds = rows.iter().filter(|row| row.unit == Unit::TokensPerSecond);
    let drawn = speeds.filter(|row| row.against == Against::Peer);
    drawn
        .filter_map(|row| {
            Some(Bars {
                ours: row.ours()?,
                peer: row.peer(),
                limit: row.limit(),
                row,
            })
        })
        .collect()
}

struct Heading {
    from: usize,
    text: String,
}

fn headings(groups: &[Bars]) -> Vec<Heading> {
    let name = |bars: &Bars| format!("{}, {}", bars.row.shape, bars.row.kept.name());
    let mut headings: Vec<Heading> = Vec::new();
    for (from, bars) in groups.iter().enumerate() {
        let text = name(bars);
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
    let what = bars.row.what.trim_end_matches(", to the peer");
    text(svg, "", LEFT - 12.0, y + 20.0, "end", what);
    let values = [("ours", Some(bars.ours)), ("peer", bars.peer)];
    for (at, (class, value)) in values.into_iter().enumerate() {
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
        let bottom = y + 2.0 * BAR + 6.0;
        svg.push_str(&format!(
            "<line class=\"limit\" x1=\"{x:.1}\" y1=\"{y}\" x2=\"{x:.1}\" y2=\"{bottom}\"/>\n"
        ));
    }
}

fn legend(svg: &mut String) {
    for (x, class, name) in [(20.0, "ours", "rbee"), (90.0, "peer", "llama.cpp")] {
        svg.push_str(&format!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"62\" width=\"12\" height=\"12\" rx=\"2\"/>\n"
        ));
        text(svg, "", x + 18.0, 72.5, "start", name);
    }
    svg.push_str("<line class=\"limit\" x1=\"196\" y1=\"61\" x2=\"196\" y2=\"75\"/>\n");
    let limit =
        "limit: memory bandwidth over bytes of weights; bars of one measurement share a scale";
    text(svg, "", 208.0, 72.5, "start", limit);
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

    #[test]
    fn bars_are_as_long_as_their_values() {
        let rows = [row(30.0, Some(40.0), Some(60.0)), row(15.0, None, None)];
        let svg = draw(&rows, "a machine");
        assert_eq!(widths(&svg, "ours"), [LONGEST / 2.0, LONGEST / 4.0]);
        assert_eq!(widths(&svg, "peer"), [LONGEST * 2.0 / 3.0]);
        assert_eq!(svg.matches("not measured").count(), 1);
        assert!(svg.contains(&format!("x1=\"{:.1}\"", LEFT + LONGEST)));
    }

    #[test]
    fn what_is_no_speed_is_not_drawn_and_words_are_escaped() {
        let seconds = Row {
            unit: Unit::Seconds,
            ..row(1.0, Some(2.0), None)
        };
        let svg = draw(&[seconds], "a <b> & c");
        assert!(widths(&svg, "ours").is_empty());
        assert!(svg.contains("a &lt;b&gt; &amp; c"));
    }
}
