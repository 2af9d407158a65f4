use super::{Numbers, assert_close, bits, processors};
use crate::cpu::kind::Kind;
use crate::cpu::{Attention, Cpu, KvCache, KvShape, Place, Region, Scratch, attention};

/// Keys and values of sequences, plain and in a cache.
struct Case {
    shape: KvShape,
    heads: usize,
    window: Option<usize>,
    /// (slots, capacity, heads, `head_dim`)
    keys: Vec<f32>,
    values: Vec<f32>,
    kv: KvCache,
}

fn case(
    cpu: &Cpu,
    numbers: &mut Numbers,
    shape: KvShape,
    group: usize,
    window: Option<usize>,
) -> Case {
    let width = shape.heads * shape.head_dim;
    let count = shape.slots * shape.capacity * width;
    // Numbers that 8 bits of mantissa hold, so that every kind keeps them.
    let mut coarse = || {
        (0..count)
            .map(|_| (numbers.float() * 128.0).round() / 64.0)
            .collect::<Vec<_>>()
    };
    let (keys, values) = (coarse(), coarse());
    let mut region = Region::new(KvCache::bytes_of(shape).expect("a size")).expect("memory");
    let mut kv = KvCache::new(&mut region, shape).expect("room");
    let places: Vec<Place> = (0..shape.slots * shape.capacity)
        .map(|at| Place {
            slot: at / shape.capacity,
            position: at % shape.capacity,
        })
        .collect();
    for layer in 0..shape.layers {
        let by = if layer == 1 { 1.0 } else { 0.25 };
        let scaled = |x: &[f32]| x.iter().map(|x| x * by).collect::<Vec<_>>();
        kv.store(cpu, layer, &places, &scaled(&keys), &scaled(&values));
    }
    Case {
        shape,
        heads: shape.heads * group,
        window,
        keys,
        values,
        kv,
    }
}

impl Case {
    fn run(&self, cpu: &Cpu, places: &[Place], q: &[f32]) -> Vec<f32> {
        let mut y = vec![f32::NAN; q.len()];
        let mut scratch = Scratch::new(cpu, 0, 0);
        let with = Attention {
            kv: &self.kv,
            layer: 1,
            heads: self.heads,
            scale: 0.3,
            window: self.window,
        };
        attention(cpu, &mut scratch, with, places, q, &mut y);
        y
    }

    fn wanted(&self, places: &[Place], q: &[f32]) -> Vec<f64> {
        let KvShape {
            heads,
            head_dim,
            capacity,
            ..
        } = self.shape;
        let mut y = Vec::new();
        for (at, q) in q.chunks_exact(head_dim).enumerate() {
            let (place, head) = (
                places[at / self.heads],
                at % self.heads / (self.heads / heads),
            );
            let row =
                |position: usize| ((place.slot * capacity + position) * heads + head) * head_dim;
            let start = (place.position + 1).saturating_sub(self.window.unwrap_or(usize::MAX));
            let scores: Vec<f64> = (start..=place.position)
                .map(|position| {
                    let keys = &self.keys[row(position)..][..head_dim];
                    q.iter()
                        .zip(keys)
                        .map(|(q, k)| f64::from(*q) * f64::from(*k))
                        .sum::<f64>()
                        * f64::from(0.3_f32)
                })
                .collect();
            let top = scores.iter().fold(f64::MIN, |a, x| a.max(*x));
            let total: f64 = scores.iter().map(|x| (x - top).exp()).sum();
            y.extend((0..head_dim).map(|d| {
                let terms = scores.iter().enumerate().map(|(at, score)| {
                    (score - top).exp() / total * f64::from(self.values[row(start + at) + d])
                });
                terms.sum::<f64>()
            }));
        }
        y
    }
}

fn places(numbers: &mut Numbers, shape: &KvShape, rows: usize) -> Vec<Place> {
    let mut place = || Place {
        slot: numbers.below(shape.slots),
        position: numbers.below(shape.capacity),
    };
    (0..rows).map(|_| place()).collect()
}

#[test]
fn attention_is_the_formula_for_all_shapes() {
    let mut numbers = Numbers::new(12);
    for kind in [Kind::F32, Kind::F16] {
        for (heads, group, head_dim, capacity, window) in [
            (1, 1, 8, 1, None),
            (2, 7, 64, 100, None),
            (3, 1, 80, 65, Some(33)),
            (1, 9, 24, 47, Some(1)),
            (2, 17, 16, 33, Some(1000)),
        ] {
            let shape = KvShape {
                kind,
                slots: 3,
                layers: 2,
                heads,
                head_dim,
                capacity,
            };
            let places = places(&mut numbers, &shape, 9);
            let q = numbers.floats(9 * heads * group * head_dim);
            let mut first = None;
            for cpu in processors() {
                let case = case(&cpu, &mut Numbers::new(13), shape, group, window);
                let y = case.run(&cpu, &places, &q);
                assert_close(&y, &case.wanted(&places, &q), 1e-5);
                assert_eq!(
                    *first.get_or_insert_with(|| bits(&y)),
                    bits(&y),
                    "{kind:?} on {:?}",
                    cpu.tier
                );
            }
        }
    }
}

#[test]
fn a_row_gives_the_same_bits_alone_and_in_a_batch() {
    let mut numbers = Numbers::new(14);
    let shape = KvShape {
        kind: Kind::F32,
        slots: 2,
        layers: 2,
        heads: 2,
        head_dim: 32,
        capacity: 90,
    };
    for cpu in processors() {
        let case = case(&cpu, &mut numbers, shape, 4, Some(40));
        let places: Vec<Place> = (0..90)
            .map(|position| Place { slot: 1, position })
            .collect();
        let q = numbers.floats(90 * 256);
        let together = bits(&case.run(&cpu, &places, &q));
        let alone = places
            .iter()
            .zip(q.chunks_exact(256))
            .flat_map(|(place, q)| bits(&case.run(&cpu, &[*place], q)));
        assert_eq!(alone.collect::<Vec<_>>(), together);
    }
}

#[test]
fn a_copied_slot_gives_the_same_bits() {
    let mut numbers = Numbers::new(15);
    let cpu = &processors()[0];
    let shape = KvShape {
        kind: Kind::F16,
        slots: 2,
        layers: 2,
        heads: 2,
        head_dim: 24,
        capacity: 50,
    };
    let mut case = case(cpu, &mut numbers, shape, 2, None);
    let q = numbers.floats(96);
    let wanted = case.run(
        cpu,
        &[Place {
            slot: 0,
            position: 36,
        }],
        &q,
    );
    case.kv.copy(0, 1, 37);
    assert_eq!(
        case.run(
            cpu,
            &[Place {
                slot: 1,
                position: 36
            }],
            &q
        ),
        wanted
    );
}
