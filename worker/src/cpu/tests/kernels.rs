use super::{Numbers, bits};
use crate::cpu::activations::Group;
use crate::cpu::kind::{Kind, LANES, TILE};
use crate::cpu::{Tier, raw, scalar};

fn float_panel(numbers: &mut Numbers, kind: Kind, k: usize) -> Vec<u8> {
    let mut panel = vec![0; k * LANES * kind.size()];
    for at in 0..k * LANES {
        crate::cpu::encode::put_number(kind, &mut panel, at, numbers.float());
    }
    panel
}

fn group_panel(numbers: &mut Numbers, kind: Kind, groups: usize) -> Vec<u8> {
    let mut panel = numbers.bytes(groups * kind.group_bytes());
    for group in panel.chunks_exact_mut(kind.group_bytes()) {
        for scale in group[..kind.scale_bytes()].chunks_exact_mut(2) {
            scale.copy_from_slice(&half::f16::from_f32(numbers.float() * 0.01).to_le_bytes());
        }
    }
    panel
}

fn groups(numbers: &mut Numbers, count: usize) -> Vec<Group> {
    let mut x = vec![Group::default(); count];
    raw::quantise(Tier::SCALAR, &numbers.floats(count * 32), &mut x);
    x
}

#[test]
fn float_kernels_of_every_tier_give_the_bits_of_their_twin() {
    let mut numbers = Numbers::new(1);
    for tier in Tier::available() {
        for kind in [Kind::F32, Kind::F16] {
            for k in [1, 7, 31, 32, 33, 64, 96, 159, 896, 4864] {
                let panel = float_panel(&mut numbers, kind, k);
                for rows in 1..=TILE {
                    let x = numbers.floats(k * rows + 3);
                    let offsets: Vec<usize> =
                        (0..rows).map(|_| numbers.below(x.len() - k)).collect();
                    let (mut got, mut wanted) = ([[9.0; LANES]; TILE], [[9.0; LANES]; TILE]);
                    raw::floats(tier, kind, &panel, k, &x, &offsets, &mut got);
                    scalar::floats(kind, &panel, k, &x, &offsets, &mut wanted);
                    assert_eq!(
                        bits(got.as_flattened()),
                        bits(wanted.as_flattened()),
                        "{tier:?} {kind:?} k {k} rows {rows}"
                    );
                }
            }
        }
    }
}

#[test]
fn pair_kernels_of_every_tier_give_the_bits_of_their_twin() {
    let mut numbers = Numbers::new(8);
    for tier in Tier::available() {
        for k in [1, 3, 15, 16, 17, 32, 63, 64, 65, 79, 128, 145, 448, 2432] {
            let words = |numbers: &mut Numbers, count: usize| {
                let mut words = vec![0; count];
                raw::round(Tier::SCALAR, &numbers.floats(2 * count), &mut words);
                words
            };
            let panel = words(&mut numbers, k * LANES);
            let panel: Vec<u8> = panel.iter().flat_map(|word| word.to_le_bytes()).collect();
            for rows in 1..=TILE {
                let x = words(&mut numbers, k * rows + 3);
                let offsets: Vec<usize> = (0..rows).map(|_| numbers.below(x.len() - k)).collect();
                let (mut got, mut wanted) = ([[9.0; LANES]; TILE], [[9.0; LANES]; TILE]);
                raw::pairs(tier, &panel, k, &x, &offsets, &mut got);
                scalar::pairs(&panel, k, &x, &offsets, &mut wanted);
                assert_eq!(
                    bits(got.as_flattened()),
                    bits(wanted.as_flattened()),
                    "{tier:?} k {k} rows {rows}"
                );
            }
        }
    }
}

#[test]
fn inputs_are_rounded_as_half_does_it() {
    let mut x = Numbers::new(9).floats(2001);
    x.extend([
        f32::NAN,
        -f32::NAN,
        f32::INFINITY,
        -0.0,
        f32::MAX,
        1e-40,
        1.0,
        f32::from_bits(0x7fff_ffff),
    ]);
    let halves = |x: &[f32]| -> Vec<u16> {
        x.iter()
            .map(|x| half::bf16::from_f32(*x).to_bits())
            .collect()
    };
    for tier in Tier::available() {
        for x in [&x[..], &x[..7], &x[..1]] {
            let mut pairs = vec![9; x.len().div_ceil(2)];
            raw::round(tier, x, &mut pairs);
            let got = pairs
                .iter()
                .flat_map(|pair| [*pair as u16, (pair >> 16) as u16]);
            let mut wanted = halves(x);
            wanted.resize(2 * pairs.len(), 0);
            assert_eq!(got.collect::<Vec<_>>(), wanted, "{tier:?}");
        }
    }
}

#[test]
fn integer_kernels_of_every_tier_give_the_bits_of_their_twin() {
    let mut numbers = Numbers::new(2);
    for tier in Tier::available() {
        for kind in [Kind::Q8, Kind::Q4, Kind::Q4Min] {
            for count in [1, 2, 3, 5, 28, 152] {
                let panel = group_panel(&mut numbers, kind, count);
                for rows in 1..=TILE {
                    let x = groups(&mut numbers, count * rows + 3);
                    let offsets: Vec<usize> =
                        (0..rows).map(|_| numbers.below(x.len() - count)).collect();
                    let (mut got, mut wanted) = ([[9.0; LANES]; TILE], [[9.0; LANES]; TILE]);
                    raw::integers(tier, kind, &panel, count, &x, &offsets, &mut got);
                    scalar::integers(kind, &panel, count, &x, &offsets, &mut wanted);
                    assert_eq!(
                        bits(got.as_flattened()),
                        bits(wanted.as_flattened()),
                        "{tier:?} {kind:?} groups {count} rows {rows}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_largest_weights_and_inputs_do_not_overflow() {
    for tier in Tier::available() {
        for (q, sign) in [(0_u8, -128.0), (255, 127.0)] {
            let mut panel = half::f16::ONE.to_le_bytes().repeat(LANES);
            panel.extend([q; 512]);
            let x = [Group {
                scale: 1.0,
                sum: 127 * 32,
                q: [127; 32],
            }];
            let mut out = [[0.0; LANES]];
            raw::integers(tier, Kind::Q8, &panel, 1, &x, &[0], &mut out);
            assert_eq!(out, [[sign * 127.0 * 32.0; LANES]], "{tier:?}");
        }
    }
}

#[test]
fn inputs_are_quantised_alike_by_every_tier() {
    let mut x = Numbers::new(3).floats(32 * 40);
    x[32..64].fill(0.0);
    x[64] = 1e-41;
    x[65..96].fill(0.0);
    let mut wanted = vec![Group::default(); 40];
    raw::quantise(Tier::SCALAR, &x, &mut wanted);
    assert_eq!(wanted[1], Group::default());
    for tier in Tier::available() {
        let mut got = vec![Group::default(); 40];
        raw::quantise(tier, &x, &mut got);
        assert_eq!(got, wanted, "{tier:?}");
    }
    for (x, group) in x.chunks_exact(32).zip(&wanted) {
        assert_eq!(
            group.sum,
            group.q.iter().map(|q| i32::from(*q)).sum::<i32>()
        );
        for (x, q) in x.iter().zip(group.q) {
            assert!((x - f32::from(q) * group.scale).abs() <= group.scale * 0.501 + 1e-38);
        }
    }
}

#[test]
fn a_number_that_is_none_stays_visible() {
    for tier in Tier::available() {
        let mut x = [1.0; 32];
        x[5] = f32::NAN;
        let mut groups = [Group::default()];
        raw::quantise(tier, &x, &mut groups);
        assert!(groups[0].scale.is_nan(), "{tier:?}");
    }
}

#[test]
#[should_panic(expected = "assertion")]
fn a_panel_that_is_too_short_is_refused() {
    let mut out = [[0.0; LANES]];
    raw::floats(
        Tier::best(),
        Kind::F32,
        &[0; 64 * 31],
        32,
        &[0.0; 32],
        &[0],
        &mut out,
    );
}

#[test]
#[should_panic(expected = "assertion")]
fn an_offset_past_the_inputs_is_refused() {
    let mut out = [[0.0; LANES]];
    raw::floats(
        Tier::best(),
        Kind::F32,
        &[0; 64 * 32],
        32,
        &[0.0; 33],
        &[2],
        &mut out,
    );
}
