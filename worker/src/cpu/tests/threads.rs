use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cpu::raw::Columns;
use crate::cpu::{Region, Threads};

#[test]
fn every_thread_runs_a_job_once() {
    for count in [1, 2, 3, 8] {
        let threads = Threads::new(count).expect("threads");
        assert_eq!(threads.count(), count);
        for _ in 0..500 {
            let calls: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
            threads.run(|index| {
                calls[index].fetch_add(1, Ordering::Relaxed);
            });
            assert!(calls.iter().all(|calls| calls.load(Ordering::Relaxed) == 1));
        }
    }
}

#[test]
fn a_job_that_panics_reaches_the_caller_and_the_group_goes_on() {
    let threads = Threads::new(3).expect("threads");
    for bad in 0..3 {
        let run = || threads.run(|index| assert!(index != bad, "job {index} broke"));
        let panic = catch_unwind(AssertUnwindSafe(run)).expect_err("a panic");
        let message = panic.downcast_ref::<String>().expect("a message");
        assert_eq!(*message, format!("job {bad} broke"));
        let calls = AtomicUsize::new(0);
        threads.run(|_| {
            calls.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(calls.into_inner(), 3);
    }
}

#[test]
fn a_job_may_run_another_and_several_may_call() {
    let threads = Threads::new(2).expect("threads");
    let calls = AtomicUsize::new(0);
    let count = |_: usize| {
        calls.fetch_add(1, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..100 {
                    threads.run(|_| threads.run(count));
                }
            });
        }
    });
    assert_eq!(calls.load(Ordering::Relaxed), 3 * 100 * 4);
}

#[test]
fn chunks_cover_a_slice_once() {
    let threads = Threads::new(2).expect("threads");
    for (length, chunk) in [(0, 4), (1, 4), (4, 4), (1003, 7), (64, 64)] {
        let mut data = vec![0_usize; length];
        threads.chunks(&mut data, chunk, 1, |index, part, _| {
            for (at, x) in part.iter_mut().enumerate() {
                *x += index * chunk + at + 1;
            }
        });
        assert_eq!(data, (1..=length).collect::<Vec<_>>());
    }
}

#[test]
fn tiles_cover_every_output_once() {
    let threads = Threads::new(2).expect("threads");
    let (mut a, mut b) = (vec![0.0; 3 * 37], vec![0.0; 3 * 16]);
    let mut outputs = [Columns::new(&mut a, 37), Columns::new(&mut b, 16)];
    threads.tiles(&mut outputs, 16, |_, index, mut tile| {
        for row in 0..3 {
            for (at, x) in tile.row(row).iter_mut().enumerate() {
                *x += (row * 1000 + index * 16 + at + 1) as f32;
            }
        }
    });
    let wanted = |width: usize| {
        let row = move |row: usize| (0..width).map(move |at| (row * 1000 + at + 1) as f32);
        (0..3).flat_map(row).collect::<Vec<_>>()
    };
    assert_eq!((a, b), (wanted(37), wanted(16)));
}

#[test]
fn blocks_of_a_region_are_apart_and_outlive_it() {
    let mut region = Region::new(1000).expect("memory");
    let (mut a, mut b) = (
        region.take(100).expect("room"),
        region.take(100).expect("room"),
    );
    drop(region);
    assert!(a.iter().chain(b.iter()).all(|byte| *byte == 0));
    a.fill(1);
    b.fill(2);
    assert!(a.iter().all(|byte| *byte == 1) && a.len() == 100);
    assert!(a.as_ptr().addr().is_multiple_of(64) && b.as_ptr().addr().is_multiple_of(64));
}
