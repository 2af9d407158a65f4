use super::{Numbers, assert_close, bits, processors};
use crate::cpu::plain::exp;
use crate::cpu::{add, argmax, rms_norm, rope, softmax, swiglu};

#[test]
fn exp_is_within_two_units_of_the_last_place() {
    for at in -87_000..88_000 {
        let x = at as f32 / 1000.0;
        let wanted = f64::from(x).exp();
        let error = (f64::from(exp(x)) - wanted).abs() / wanted;
        assert!(error < 2.0 * f64::from(f32::EPSILON), "e^{x}: {error}");
    }
    assert_eq!(exp(0.0).to_bits(), 1.0_f32.to_bits());
    assert!(exp(-1e30) < 1e-37 && exp(f32::NEG_INFINITY) < 1e-37);
    assert!(exp(1e30).is_finite() && exp(f32::NAN).is_nan());
}

#[test]
fn operations_give_the_same_bits_on_every_tier() {
    let mut numbers = Numbers::new(8);
    let (x, y, w) = (
        numbers.floats(5 * 1000),
        numbers.floats(5 * 1000),
        numbers.floats(1000),
    );
    let all = processors().into_iter().map(|cpu| {
        let cpu = &cpu;
        let mut out = vec![0.0; x.len()];
        rms_norm(cpu, &x, &w, 1e-6, &mut out);
        swiglu(cpu, &mut out, &y);
        add(cpu, &mut out, &x);
        let table = &numbers_of_table();
        rope(cpu, &mut out, &[0, 3, 1, 2, 9], 100, 30, &table.0, &table.1);
        softmax(cpu, &mut out[..4321]);
        bits(&out)
    });
    let all: Vec<_> = all.collect();
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
}

fn numbers_of_table() -> (Vec<f32>, Vec<f32>) {
    let angle = |at: usize| (at / 30) as f32 * 10_f32.powf(-((at % 30) as f32) / 30.0);
    (0..300)
        .map(|at| (angle(at).cos(), angle(at).sin()))
        .unzip()
}

#[test]
fn a_norm_is_the_formula() {
    let mut numbers = Numbers::new(9);
    for width in [1, 5, 16, 100, 896] {
        let (x, weight) = (numbers.floats(3 * width), numbers.floats(width));
        let wanted: Vec<f64> = x
            .chunks_exact(width)
            .flat_map(|x| {
                let squares: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
                let by = 1.0 / (squares / width as f64 + 1e-5).sqrt();
                x.iter()
                    .zip(&weight)
                    .map(move |(x, w)| f64::from(*x) * by * f64::from(*w))
            })
            .collect();
        for cpu in processors() {
            let mut out = vec![0.0; x.len()];
            rms_norm(&cpu, &x, &weight, 1e-5, &mut out);
            assert_close(&out, &wanted, 1e-6);
        }
    }
}

#[test]
fn a_gate_is_the_formula() {
    let mut numbers = Numbers::new(10);
    let (gate, up): (Vec<f32>, Vec<f32>) = (0..9000)
        .map(|_| (numbers.float() * 30.0, numbers.float()))
        .unzip();
    let formula =
        |(g, u): (&f32, &f32)| f64::from(*g) / (1.0 + (-f64::from(*g)).exp()) * f64::from(*u);
    let wanted: Vec<f64> = gate.iter().zip(&up).map(formula).collect();
    for cpu in processors() {
        let mut got = gate.clone();
        swiglu(&cpu, &mut got, &up);
        assert_close(&got, &wanted, 1e-6);
    }
}

#[test]
fn rope_turns_pairs_half_apart_and_leaves_the_rest() {
    let cpu = &processors()[0];
    let (cos, sin) = (vec![1.0, 1.0, 0.0, 0.6], vec![0.0, 0.0, 1.0, 0.8]);
    // One row of two heads of 5 numbers, the first 4 of which turn; position 1 has the second row of the tables.
    let mut x = vec![1.0, 2.0, 3.0, 4.0, 5.0, 1.0, 0.0, 0.0, 1.0, 7.0];
    rope(cpu, &mut x, &[1], 5, 2, &cos, &sin);
    assert_close(
        &x,
        &[
            -3.0,
            2.0 * 0.6 - 4.0 * 0.8,
            1.0,
            4.0 * 0.6 + 2.0 * 0.8,
            5.0,
            0.0,
            -0.8,
            1.0,
            0.6,
            7.0,
        ],
        1e-6,
    );
}

#[test]
fn softmax_sums_to_one_and_survives_large_logits() {
    for cpu in processors() {
        let mut x = vec![1000.0, 999.0, -1000.0];
        softmax(&cpu, &mut x);
        let e = std::f64::consts::E;
        assert_close(&x, &[e / (e + 1.0), 1.0 / (e + 1.0), 0.0], 1e-6);
    }
}

#[test]
fn the_first_of_the_largest_is_found() {
    let mut x = Numbers::new(11).floats(1003);
    (x[500], x[700]) = (2.0, 2.0);
    for cpu in processors() {
        let argmax = |x: &[f32]| argmax(cpu.tier, x);
        assert_eq!(argmax(&x), Some(500));
        assert_eq!(argmax(&[f32::NAN, 1.0, 3.0]), Some(2));
        for x in [&[f32::NEG_INFINITY; 3][..], &[f32::NAN], &[]] {
            assert_eq!(argmax(x), None);
        }
    }
}
