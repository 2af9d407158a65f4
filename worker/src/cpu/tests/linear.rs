use super::{Numbers, assert_close, bits, held, little_endian, matrix, processors};
use crate::cpu::activations::Group;
use crate::cpu::kind::{Input, Kind};
use crate::cpu::{Cpu, Error, Linear, Matrix, Region, Scratch, Source, linear};
use crate::cpu::{Tier, raw};

fn product(cpu: &Cpu, weights: &Matrix, bias: Option<&[f32]>, x: &[f32]) -> Vec<f32> {
    let mut y = vec![f32::NAN; x.len() / weights.columns() * weights.rows()];
    let mut scratch = Scratch::new(cpu, x.len(), 0);
    linear(
        cpu,
        &mut scratch,
        x,
        [Linear {
            weights,
            bias,
            y: &mut y,
        }],
    );
    y
}

/// Inputs as a kind has them multiplied.
fn seen(kind: Kind, x: &[f32]) -> Vec<f32> {
    match kind.input() {
        Input::Floats => return x.to_vec(),
        Input::Pairs => {
            return x
                .iter()
                .map(|x| half::bf16::from_f32(*x).to_f32())
                .collect();
        }
        Input::Groups => {}
    }
    let mut groups = vec![Group::default(); x.len() / 32];
    raw::quantise(Tier::SCALAR, x, &mut groups);
    let numbers = |group: &Group| group.q.map(|q| f32::from(q) * group.scale);
    groups.iter().flat_map(numbers).collect()
}

#[test]
fn a_product_is_that_of_the_weights_as_kept() {
    let mut numbers = Numbers::new(4);
    for cpu in processors() {
        for kind in Kind::ALL {
            for (rows, out, k) in [
                (1, 1, 32),
                (2, 15, 64),
                (3, 17, 96),
                (8, 33, 160),
                (9, 48, 32),
                (17, 70, 896),
                (33, 5, 64),
            ] {
                let weights = matrix(&cpu, kind, out, k, &numbers.floats(out * k));
                let (x, bias) = (numbers.floats(rows * k), numbers.floats(out));
                let kept = held(&weights);
                let wanted: Vec<f64> = seen(kind, &x)
                    .chunks_exact(k)
                    .flat_map(|x| {
                        let kept = &kept;
                        bias.iter().enumerate().map(move |(at, bias)| {
                            let row = &kept[at * k..][..k];
                            let products = row
                                .iter()
                                .zip(x)
                                .map(|(w, x)| f64::from(*w) * f64::from(*x));
                            products.sum::<f64>() + f64::from(*bias)
                        })
                    })
                    .collect();
                assert_close(&product(&cpu, &weights, Some(&bias), &x), &wanted, 5e-6);
            }
        }
    }
}

#[test]
fn a_row_gives_the_same_bits_alone_in_a_batch_and_on_every_tier() {
    let mut numbers = Numbers::new(5);
    let (out, k) = (50, 288);
    for kind in Kind::ALL {
        let (w, x) = (numbers.floats(out * k), numbers.floats(40 * k));
        let mut first: Option<Vec<u32>> = None;
        for cpu in processors() {
            let weights = matrix(&cpu, kind, out, k, &w);
            let together = bits(&product(&cpu, &weights, None, &x));
            for rows in [1, 2, 3, 5, 8, 9, 17] {
                let parts = x
                    .chunks(rows * k)
                    .flat_map(|x| bits(&product(&cpu, &weights, None, x)));
                assert_eq!(
                    parts.collect::<Vec<_>>(),
                    together,
                    "{kind:?} by {rows} on {:?}",
                    cpu.tier
                );
            }
            assert_eq!(
                *first.get_or_insert_with(|| together.clone()),
                together,
                "{kind:?} on {:?}",
                cpu.tier
            );
        }
    }
}

#[test]
fn products_of_one_input_are_those_of_each_alone() {
    let mut numbers = Numbers::new(6);
    let cpu = &processors()[0];
    let query = matrix(cpu, Kind::Q8, 40, 64, &numbers.floats(40 * 64));
    let key = matrix(cpu, Kind::Bf16, 7, 64, &numbers.floats(7 * 64));
    let value = matrix(cpu, Kind::Q4, 16, 64, &numbers.floats(16 * 64));
    let x = numbers.floats(3 * 64);
    let (mut a, mut b, mut c) = (vec![0.0; 120], vec![0.0; 21], vec![0.0; 48]);
    let mut scratch = Scratch::new(cpu, 0, 0);
    let product_of = |weights, y| Linear {
        weights,
        bias: None,
        y,
    };
    linear(
        cpu,
        &mut scratch,
        &x,
        [
            product_of(&query, &mut a),
            product_of(&key, &mut b),
            product_of(&value, &mut c),
        ],
    );
    assert_eq!(a, product(cpu, &query, None, &x));
    assert_eq!(b, product(cpu, &key, None, &x));
    assert_eq!(c, product(cpu, &value, None, &x));
}

#[test]
fn rows_may_come_in_pieces() {
    let mut numbers = Numbers::new(7);
    let cpu = &processors()[0];
    let x = numbers.floats(100 * 64);
    for kind in Kind::ALL {
        let whole = held(&matrix(cpu, kind, 100, 64, &x));
        let mut region = Region::new(1 << 20).expect("memory");
        let mut pieces = Matrix::new(&mut region, kind, 100, 64).expect("room");
        for (start, end) in [(50, 100), (0, 3), (17, 50), (3, 17)] {
            let bytes = little_endian(&x[start * 64..end * 64]);
            pieces
                .fill(cpu, start, Source::F32, &bytes)
                .expect("whole rows");
        }
        assert_eq!(held(&pieces), whole, "{kind:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let cpu = &processors()[0];
    let mut region = Region::new(1 << 16).expect("memory");
    assert!(matches!(
        Matrix::new(&mut region, Kind::Q8, 4, 33),
        Err(Error::Columns { .. })
    ));
    assert!(matches!(
        Matrix::new(&mut region, Kind::F32, usize::MAX, 1 << 40),
        Err(Error::TooLarge { .. })
    ));
    assert!(matches!(
        Matrix::new(&mut region, Kind::F32, 1 << 20, 1 << 10),
        Err(Error::Full { .. })
    ));
    let mut matrix = Matrix::new(&mut region, Kind::F32, 4, 33).expect("any width for floats");
    assert!(matches!(
        matrix.fill(cpu, 0, Source::F32, &[0; 131]),
        Err(Error::Rows { .. })
    ));
    assert!(matches!(
        matrix.fill(cpu, 1, Source::F32, &[0; 4 * 132]),
        Err(Error::Rows { .. })
    ));
    assert!(matches!(
        matrix.fill(cpu, 0, Source::Q4K, &[0; 144]),
        Err(Error::Blocks { .. })
    ));
    assert!(Region::new(usize::MAX).is_err());
}
