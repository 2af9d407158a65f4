//! Sets of bytes.

use std::collections::BTreeMap;
use std::ops::Range;

/// Ranges of bytes, none touching another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds a range, whatever of it is in already.
    pub fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let Range { mut start, mut end } = range;
        if let Some((&before, &its_end)) = self.0.range(..=start).next_back()
            && its_end >= start
        {
            start = before;
            end = end.max(its_end);
        }
        while let Some((&next, &its_end)) = self.0.range(start..=end).next() {
            self.0.remove(&next);
            end = end.max(its_end);
        }
        self.0.insert(start, end);
    }

    /// Whether all of a range is in.
    pub fn covers(&self, range: &Range<u64>) -> bool {
        let before = self.0.range(..=range.start).next_back();
        range.is_empty() || before.is_some_and(|(_, &end)| end >= range.end)
    }

    /// The ranges in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().map(|(&start, &end)| start..end)
    }

    /// Bytes from 0 on without a gap.
    pub fn prefix(&self) -> u64 {
        self.0.get(&0).copied().unwrap_or(0)
    }

    /// Bytes in all.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// What is missing of the first `size` bytes, in pieces that end at multiples of `piece`.
    pub fn gaps(&self, size: u64, piece: u64) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = 0;
        let ends = self.0.iter().map(|(&start, &end)| (start, end));
        for (start, end) in ends.chain([(size, size)]) {
            let stop = start.min(size);
            while at < stop {
                let end = stop.min((at / piece + 1) * piece);
                gaps.push(at..end);
                at = end;
            }
            at = at.max(end);
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_one() {
        let mut ranges = Ranges::default();
        for range in [30..40, 0..10, 20..30, 10..12, 35..36, 5..5] {
            ranges.insert(range);
        }
        assert_eq!(ranges.0, BTreeMap::from([(0, 12), (20, 40)]));
        assert_eq!((ranges.prefix(), ranges.len()), (12, 32));
        assert_eq!(ranges.gaps(60, 16), [12..16, 16..20, 40..48, 48..60]);
        assert_eq!(ranges.gaps(35, 16), [12..16, 16..20]);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [0..12, 20..40]);
        assert!(ranges.covers(&(20..40)) && ranges.covers(&(3..5)) && ranges.covers(&(15..15)));
        for open in [11..13, 12..20, 19..21, 39..41] {
            assert!(!ranges.covers(&open), "{open:?}");
        }
        ranges.insert(0..60);
        assert_eq!(ranges.gaps(60, 16), []);
        assert_eq!(Ranges::default().gaps(0, 16), []);
    }
}
