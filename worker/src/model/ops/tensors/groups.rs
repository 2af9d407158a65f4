//! Which sequences attend together.

use std::cmp::Reverse;

/// A sequence that adds one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Which of the spans of the step it is.
    pub span: usize,
    pub slot: usize,
    /// Positions that it sees, its new token included.
    pub length: usize,
}

/// Positions that a group reads for nothing: it is all slots from its first to its last, each as long as the longest sequence.
fn waste(members: &[Member]) -> usize {
    let slots = || members.iter().map(|member| member.slot);
    let (Some(first), Some(last)) = (slots().min(), slots().max()) else {
        return 0;
    };
    let lengths = || members.iter().map(|member| member.length);
    let longest = lengths().max().unwrap_or(0);
    (last + 1 - first) * longest - lengths().sum::<usize>()
}

/// Divides sequences into groups that read at most so many positions for nothing, each in the order of its slots.
///
/// A group is divided where that saves most: between two slots, or into longer and shorter sequences.
pub fn divide(mut members: Vec<Member>, most: usize) -> Vec<Vec<Member>> {
    members.sort_by_key(|member| member.slot);
    if members.is_empty() {
        return Vec::new();
    }
    if waste(&members) <= most {
        return vec![members];
    }
    let mut by_length = members.clone();
    by_length.sort_by_key(|member| Reverse(member.length));
    let both = [members, by_length];
    let cuts = both
        .iter()
        .flat_map(|order| (1..order.len()).map(move |at| order.split_at(at)));
    let best = cuts.min_by_key(|(one, other)| waste(one) + waste(other));
    let parts = best.map(|(one, other)| [one.to_vec(), other.to_vec()]);
    let parts = parts.into_iter().flatten();
    parts.flat_map(|part| divide(part, most)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slots of each group of sequences, each a slot and its length.
    fn slots(sequences: &[(usize, usize)], most: usize) -> Vec<Vec<usize>> {
        let members = sequences.iter().enumerate();
        let members = members.map(|(span, &(slot, length))| Member { span, slot, length });
        let mut groups: Vec<Vec<usize>> = divide(members.collect(), most)
            .iter()
            .map(|group| group.iter().map(|member| member.slot).collect())
            .collect();
        groups.sort();
        groups
    }

    #[test]
    fn sequences_attend_together_while_that_wastes_little() {
        let few = [(3, 100), (0, 90), (1, 95)];
        // Slot 2 is idle.
        assert_eq!(slots(&few, 115), [vec![0, 1, 3]]);
        assert_eq!(slots(&few, 114), [vec![0, 1], vec![3]]);
        assert_eq!(slots(&few, 0), [[0], [1], [3]]);
        assert_eq!(slots(&[(7, 1)], 0), [[7]]);
    }

    #[test]
    fn a_long_sequence_is_left_out_wherever_its_slot_is() {
        let sequences: Vec<_> = (0..32)
            .map(|slot| (slot, if slot == 9 { 4000 } else { 100 }))
            .collect();
        let others: Vec<usize> = (0..32).filter(|slot| *slot != 9).collect();
        assert_eq!(slots(&sequences, 1000), [others, vec![9]]);
    }

    #[test]
    fn slots_that_are_far_apart_are_two_groups() {
        let sequences = [(0, 500), (1, 500), (30, 500), (31, 500)];
        assert_eq!(slots(&sequences, 1000), [[0, 1], [30, 31]]);
        assert_eq!(slots(&sequences, 28 * 500), [[0, 1, 30, 31]]);
    }
}
