//! What bringing the models takes, pool by pool.

use std::collections::BTreeMap;

use pool_core::name::PoolName;
use pool_core::units;
use reconciler::plan::Bill;

use crate::report::table::Table;

/// A row for each pool, and one for all where there are several; without columns that say nothing of any pool.
pub fn table(bills: &BTreeMap<PoolName, Bill>) -> Table {
    let mut rows: Vec<(&str, Bill)> = bills
        .iter()
        .map(|(pool, bill)| (pool.as_str(), *bill))
        .collect();
    if rows.len() > 1 {
        rows.push(("all", all(bills.values())));
    }
    type Cell = fn(&Bill) -> Option<String>;
    let columns: [(&'static str, Cell); 7] = [
        ("HUB", |bill| some(bill.from_hub)),
        ("POOLS", |bill| some(bill.from_pools)),
        ("OPERATOR", |bill| some(bill.from_operator)),
        ("ALREADY THERE", |bill| some(bill.here)),
        ("DISK PEAK", |bill| some(bill.peak_disk)),
        ("DISK FREE", |bill| bill.disk_free.map(units::bytes)),
        ("TIME", |bill| bill.seconds.map(time)),
    ];
    let says = |(_, cell): &(&'static str, Cell)| bills.values().any(|bill| cell(bill).is_some());
    let columns: Vec<(&'static str, Cell)> = columns.into_iter().filter(says).collect();
    let header: Vec<&'static str> = ["POOL"]
        .into_iter()
        .chain(columns.iter().map(|(name, _)| *name))
        .collect();
    let mut table = Table::new(&header).spare(&["ALREADY THERE", "OPERATOR", "POOLS", "DISK FREE"]);
    for (pool, bill) in rows {
        let cells = columns
            .iter()
            .map(|(_, cell)| cell(&bill).unwrap_or_else(|| "-".into()));
        table.row(
            [pool.to_owned()]
                .into_iter()
                .chain(cells)
                .collect::<Vec<String>>(),
        );
    }
    table
}

fn some(bytes: u64) -> Option<String> {
    (bytes > 0).then(|| units::bytes(bytes))
}

/// The sums, and the longest time; what is not known of one pool is not known of all.
fn all<'a>(bills: impl Iterator<Item = &'a Bill>) -> Bill {
    let none = Bill {
        seconds: Some(0),
        ..Bill::default()
    };
    bills.fold(none, |sum, bill| Bill {
        from_hub: sum.from_hub + bill.from_hub,
        from_pools: sum.from_pools + bill.from_pools,
        from_operator: sum.from_operator + bill.from_operator,
        here: sum.here + bill.here,
        peak_disk: sum.peak_disk + bill.peak_disk,
        // Pools may share a disk.
        disk_free: None,
        seconds: sum.seconds.zip(bill.seconds).map(|(a, b)| a.max(b)),
    })
}

/// `about 40 s`, `about 3 min`, `about 2 h 5 min`.
pub fn time(seconds: u64) -> String {
    let minutes = seconds.div_ceil(60);
    match (minutes / 60, minutes % 60) {
        _ if seconds < 60 => format!("about {seconds} s"),
        (0, minutes) => format!("about {minutes} min"),
        (hours, 0) => format!("about {hours} h"),
        (hours, minutes) => format!("about {hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Style;

    fn text(bills: &[(&str, Bill)]) -> String {
        let bills = bills
            .iter()
            .map(|(pool, bill)| (pool.parse().unwrap(), *bill));
        table(&bills.collect()).text(Style {
            colour: false,
            width: None,
            unicode: true,
        })
    }

    #[test]
    fn what_is_not_known_of_one_pool_is_not_known_of_all() {
        let known = Bill {
            from_operator: 2_100_000,
            here: 500,
            peak_disk: 2_100_000,
            disk_free: Some(9_000_000),
            seconds: Some(7500),
            ..Bill::default()
        };
        let unknown = Bill {
            disk_free: None,
            seconds: None,
            ..known
        };
        let one = "\
POOL  OPERATOR  ALREADY THERE  DISK PEAK
a     2.1 MB    500 B          2.1 MB
";
        assert_eq!(text(&[("a", unknown)]), one);
        let both = "\
POOL  OPERATOR  ALREADY THERE  DISK PEAK  DISK FREE  TIME
a     2.1 MB    500 B          2.1 MB     9.0 MB     about 2 h 5 min
b     2.1 MB    500 B          2.1 MB     -          -
all   4.2 MB    1.0 kB         4.2 MB     -          -
";
        assert_eq!(text(&[("a", known), ("b", unknown)]), both);
    }

    #[test]
    fn times_are_as_exact_as_they_matter() {
        let cases = [
            (1, "about 1 s"),
            (59, "about 59 s"),
            (60, "about 1 min"),
            (61, "about 2 min"),
            (3600, "about 1 h"),
            (3661, "about 1 h 2 min"),
        ];
        for (seconds, text) in cases {
            assert_eq!(time(seconds), text);
        }
    }
}
