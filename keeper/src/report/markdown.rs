//! A plan as the comment of a pull request.
//!
//! What comes from outside — names, paths, error texts — stands in code spans, in which nothing of GitHub's Markdown is
//! read: no markup, no HTML, no mention. What takes things away comes first. Where there is too little room for all, each
//! section has its share of it, and what one does not need is the first ones' that need more.

use pool_core::units;
use reconciler::desired::Purpose;
use reconciler::plan::{Action, ActionKind, Order, Plan};

use super::plan::entry::Entry;
use super::plan::{Places, outage, rest, totals};

/// GitHub takes comments of 65,536 characters.
const MOST: usize = 60_000;
/// Room for the line that says what was left out.
const LAST: usize = 600;
/// Characters of one text that are shown.
const TEXT: usize = 400;

/// A heading and its lines.
struct Section {
    title: &'static str,
    lines: Vec<String>,
}

impl Section {
    /// Its title and how many lines it has, and how many of them are shown where that is not all.
    fn head(&self, shown: usize) -> String {
        let count = match self.lines.len() {
            all if all == shown => all.to_string(),
            all => format!("{shown} of {all}"),
        };
        format!("\n**{}** ({count})\n\n", self.title)
    }

    /// Bytes of all of it.
    fn size(&self) -> usize {
        let lines = self.lines.iter().map(|line| line.len() + 1);
        self.head(self.lines.len()).len() + lines.sum::<usize>()
    }
}

/// How much room each has of all that there is: as much as it takes, or its share and what others leave.
fn share(room: usize, sizes: &[usize]) -> Vec<usize> {
    let equal = room / sizes.len().max(1);
    let mut rooms: Vec<usize> = sizes.iter().map(|size| *size.min(&equal)).collect();
    let mut left = room - rooms.iter().sum::<usize>();
    for (room, size) in rooms.iter_mut().zip(sizes) {
        let more = left.min(size - *room);
        *room += more;
        left -= more;
    }
    rooms
}

/// The comment, less than 60,000 bytes of it; `about` says where the plan comes from.
pub fn text(plan: &Plan, places: &Places, purpose: Purpose, about: Option<&str>) -> String {
    let mut out = format!("### {}\n", title(plan, purpose));
    if let Some(about) = about {
        out += &format!("\n{about}\n");
    }
    if let Some(left_out) = &plan.left_out {
        let by = code(&left_out.targets);
        out += &format!("\nLeft out by {by}: {}.\n", rest(left_out));
    }
    let mut sections = sections(plan, places);
    sections.retain(|section| !section.lines.is_empty());
    let sizes: Vec<usize> = sections.iter().map(Section::size).collect();
    let rooms = share((MOST - LAST).saturating_sub(out.len()), &sizes);
    let mut left_out = Vec::new();
    for (section, room) in sections.iter().zip(rooms) {
        let (title, all) = (section.title, section.lines.len());
        // The head is longest where the most lines are shown.
        let head = section.head(if room < section.size() { all - 1 } else { all });
        let mut room = room.saturating_sub(head.len());
        let fits = |line: &&String| {
            let fits = line.len() < room;
            room = room.saturating_sub(line.len() + 1);
            fits
        };
        let shown: Vec<&String> = section.lines.iter().take_while(fits).collect();
        if shown.len() < all {
            left_out.push(format!("{} of “{title}”", all - shown.len()));
        }
        out += &section.head(shown.len());
        for line in shown {
            out += line;
            out += "\n";
        }
    }
    if !left_out.is_empty() {
        let left_out = left_out.join(", ");
        out += &format!("\n_Left out for want of room: {left_out}. `rbee plan` shows all._\n");
    }
    out
}

/// Where a saved plan comes from.
pub fn about(at: &impl ToString, rbee: &str) -> String {
    format!("Made at {} by rbee {}.", code(at), code(&rbee))
}

fn title(plan: &Plan, purpose: Purpose) -> String {
    let name = match purpose {
        Purpose::Apply => "rbee plan",
        Purpose::Destroy => "rbee destroy",
    };
    let fleet = code(&plan.fleet);
    let what = if plan.is_empty() {
        "no changes".into()
    } else {
        totals(&plan.totals())
    };
    let blocked = plan.blocked.len();
    let unknown = units::count(plan.unknown.len(), "pool");
    let more = [
        (blocked > 0).then(|| format!("{blocked} blocked")),
        (!plan.unknown.is_empty()).then(|| format!("{unknown} not known")),
    ];
    let parts: Vec<String> = [what]
        .into_iter()
        .chain(more.into_iter().flatten())
        .collect();
    format!("{name}: fleet {fleet}: {}", parts.join(", "))
}

fn sections(plan: &Plan, places: &Places) -> Vec<Section> {
    let (mut going, mut coming) = (Vec::new(), Vec::new());
    for action in &plan.actions {
        let Some(entry) = Entry::of(action) else {
            continue;
        };
        if is_felt(action) {
            going.push(line(action, &entry));
        } else {
            coming.push(line(action, &entry));
        }
    }
    let outages = plan.outages.iter().map(|down| {
        let label = if down.is_too_long() {
            "**outage that is too long**"
        } else {
            "**outage**"
        };
        format!("- {label}: {}", code(&outage::text(down)))
    });
    let blocked = plan.blocked.iter().map(|blocked| {
        let (pool, what, why) = (code(&blocked.pool), code(&blocked.what), code(&blocked.why));
        format!("- {pool}: {what}: {why}")
    });
    let unknown = plan.unknown.iter().map(|pool| {
        let cause = code(&pool.unknown.cause);
        let help = pool.unknown.help.as_ref();
        let help = help.map(|help| format!("; help: {}", code(help)));
        let place = places
            .get(&pool.pool)
            .map(|place| format!(" ({})", code(place)));
        let (place, help) = (place.unwrap_or_default(), help.unwrap_or_default());
        format!("- {}{place}: {cause}{help}", code(&pool.pool))
    });
    let bills = plan
        .bills
        .iter()
        .filter(|(_, bill)| bill.brought() > 0)
        .map(|(pool, bill)| {
            let ways = [
                (bill.from_hub, "the hub"),
                (bill.from_pools, "other pools"),
                (bill.from_operator, "the operator"),
            ];
            let ways = ways.iter().filter(|(count, _)| *count > 0);
            let ways = ways.map(|(count, from)| format!("{} from {from}", units::bytes(*count)));
            let ways: Vec<String> = ways.collect();
            let disk = units::bytes(bill.peak_disk);
            format!(
                "- {}: {}; {disk} of disk at most",
                code(pool),
                ways.join(", ")
            )
        });
    let section = |title, lines: Vec<String>| Section { title, lines };
    vec![
        section("Stops or takes away", outages.chain(going).collect()),
        section("Blocked", blocked.collect()),
        section("Not known, and not touched", unknown.collect()),
        section(
            "To mind",
            plan.warnings
                .iter()
                .map(|text| format!("- {}", code(text)))
                .collect(),
        ),
        section("Comes or changes", coming),
        section("Bytes to bring", bills.collect()),
    ]
}

/// It stops what may serve, or takes something away.
fn is_felt(action: &Action) -> bool {
    matches!(
        action.kind,
        ActionKind::Stop { .. }
            | ActionKind::StopOrchestrator
            | ActionKind::StartOrchestrator { replaces: true, .. }
            | ActionKind::Unregister { .. }
            | ActionKind::Spawn {
                replaces: Some(Order::StopFirst),
                ..
            }
    )
}

/// One item of a list, with its fields on lines of their own.
fn line(action: &Action, entry: &Entry) -> String {
    let Entry {
        symbol,
        kind,
        name,
        why,
        ..
    } = entry;
    let (symbol, pool, name) = (code(symbol), code(&action.pool), code(name));
    let mut line = format!("- {symbol} {kind} {name} on {pool}: {}", code(why));
    for (field, value) in &entry.fields {
        line += &format!("\n  - {}: {}", code(field), code(value));
    }
    line
}

/// The text in a code span: on one line, cut where it is long, without what changes the direction of writing.
pub(super) fn code(text: &impl ToString) -> String {
    let text = text.to_string();
    let mut shown = String::new();
    for c in text.chars().take(TEXT) {
        match c {
            '\n' | '\r' | '\t' => shown.push(' '),
            c if c.is_control() || is_invisible(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    if text.chars().nth(TEXT).is_some() {
        shown.push('…');
    }
    if shown.trim().is_empty() {
        return "``` ```".into();
    }
    let longest = shown.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    // A space inside keeps a backtick at the edge from the fence; one on both sides is taken away again.
    let pad = if shown.starts_with(['`', ' ']) || shown.ends_with(['`', ' ']) {
        " "
    } else {
        ""
    };
    format!("{fence}{pad}{shown}{pad}{fence}")
}

/// Marks that order or hide text.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests;
