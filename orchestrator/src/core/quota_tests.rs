use super::*;

/// Two hours before midnight, UTC.
const START: u64 = 1_700_000_000_000 / DAY * DAY + 22 * HOUR;
const HOUR: u64 = 3_600_000;

fn at(mono_ms: u64) -> Now {
    Now {
        mono_ms,
        unix_ms: START + mono_ms,
    }
}

fn tenants(limits: TenantLimits) -> Tenants {
    let mut tenants = Tenants::new();
    tenants.set(at(0), [(id(), limits)]);
    tenants
}

fn id() -> TenantId {
    "t".into()
}

fn free() -> TenantLimits {
    TenantLimits::default()
}

/// Takes tokens if they fit.
fn take(tenants: &mut Tenants, now: Now, request: u64, cost: u64) -> Result<(), Exceeded> {
    tenants.check(now, &id(), request, cost)?;
    tenants.redeem(&id(), request);
    tenants.reserve(now, &id(), cost);
    Ok(())
}

#[test]
fn tasks_that_live_are_counted() {
    let mut tenants = tenants(TenantLimits {
        concurrent: Some(2),
        ..free()
    });
    assert!(take(&mut tenants, at(0), 0, 1).is_ok() && take(&mut tenants, at(0), 1, 1).is_ok());
    let refused = take(&mut tenants, at(0), 2, 1).unwrap_err();
    assert_eq!((refused.quota, refused.limit), (Quota::Concurrent, 2));
    assert_eq!(refused.wait_ms, Some(5000));
    tenants.lived(&id(), 15_000);
    let refused = take(&mut tenants, at(0), 2, 1).unwrap_err();
    assert_eq!(refused.wait_ms, Some(6000));
    tenants.settle(at(0), &id(), 1, 1);
    assert!(take(&mut tenants, at(0), 2, 1).is_ok());
}

#[test]
fn a_minute_is_a_bucket_and_what_was_not_used_comes_back() {
    let mut tenants = tenants(TenantLimits {
        tokens_per_minute: Some(600),
        ..free()
    });
    assert!(take(&mut tenants, at(0), 0, 500).is_ok());
    let refused = take(&mut tenants, at(0), 1, 200).unwrap_err();
    assert_eq!(
        (refused.quota, refused.wait_ms),
        (Quota::TokensPerMinute, Some(10_000))
    );
    assert!(take(&mut tenants, at(9_999), 1, 200).is_err());
    assert!(take(&mut tenants, at(10_000), 1, 200).is_ok());
    tenants.settle(at(10_000), &id(), 500, 0);
    assert!(take(&mut tenants, at(10_000), 2, 500).is_ok());
    let never = take(&mut tenants, at(10_000), 3, 601).unwrap_err();
    assert_eq!(never.wait_ms, None);
}

#[test]
fn a_bucket_never_holds_more_than_a_minute() {
    let mut tenants = tenants(TenantLimits {
        tokens_per_minute: Some(600),
        ..free()
    });
    assert!(take(&mut tenants, at(0), 0, 600).is_ok());
    tenants.settle(at(HOUR), &id(), 600, 0);
    assert!(take(&mut tenants, at(HOUR), 1, 600).is_ok());
    assert!(take(&mut tenants, at(HOUR), 2, 1).is_err());
}

#[test]
fn a_day_counts_what_is_used_and_what_may_be() {
    let mut tenants = tenants(TenantLimits {
        tokens_per_day: Some(1000),
        ..free()
    });
    assert!(take(&mut tenants, at(0), 0, 600).is_ok());
    let refused = take(&mut tenants, at(0), 1, 401).unwrap_err();
    assert_eq!(
        (refused.quota, refused.wait_ms),
        (Quota::TokensPerDay, Some(2 * HOUR))
    );
    tenants.settle(at(1), &id(), 600, 100);
    assert!(take(&mut tenants, at(1), 1, 900).is_ok());
    tenants.settle(at(2), &id(), 900, 900);
    assert!(take(&mut tenants, at(2 * HOUR - 1), 2, 1).is_err());
    assert!(take(&mut tenants, at(2 * HOUR), 2, 1).is_ok());
}

#[test]
fn a_wall_clock_that_jumps_gives_nobody_a_second_day() {
    let mut tenants = tenants(TenantLimits {
        tokens_per_day: Some(1000),
        ..free()
    });
    assert!(take(&mut tenants, at(0), 0, 1000).is_ok());
    tenants.settle(at(0), &id(), 1000, 1000);
    for jump in [0, 1, 30, 366] {
        let unix_ms = START + jump * DAY;
        let now = Now {
            mono_ms: HOUR,
            unix_ms,
        };
        assert!(take(&mut tenants, now, 1, 1).is_err(), "{jump} days");
    }
    let back = Now {
        mono_ms: 2 * HOUR,
        unix_ms: START + HOUR,
    };
    assert!(take(&mut tenants, back, 1, 1000).is_ok());
    tenants.settle(back, &id(), 1000, 1000);
    assert!(take(&mut tenants, at(14 * HOUR), 2, 1).is_err());
}

#[test]
fn what_was_used_is_there_after_a_restart() {
    let limits = TenantLimits {
        tokens_per_day: Some(1000),
        tokens_per_minute: Some(600),
        ..free()
    };
    let mut before = tenants(limits.clone());
    assert!(take(&mut before, at(0), 0, 500).is_ok() && take(&mut before, at(0), 1, 100).is_ok());
    before.settle(at(0), &id(), 500, 400);
    let usage = before.usage(at(0), &id()).unwrap();
    assert_eq!((usage.day, usage.minute), (400, 400));
    let mut after = tenants(limits.clone());
    after.restore(at(1000), &id(), usage);
    let refused = take(&mut after, at(1000), 2, 211).unwrap_err();
    assert_eq!(refused.quota, Quota::TokensPerMinute);
    assert!(take(&mut after, at(1000), 3, 1000).is_err());
    let mut tomorrow = tenants(limits);
    let now = Now {
        mono_ms: 0,
        unix_ms: START + DAY,
    };
    tomorrow.restore(now, &id(), usage);
    assert_eq!(tomorrow.usage(now, &id()).unwrap().day, 0);
}

#[test]
fn who_is_not_named_any_more_may_not_submit_and_its_tasks_go_on() {
    let mut tenants = tenants(free());
    assert!(take(&mut tenants, at(0), 0, 10).is_ok());
    tenants.set(at(0), [("u".into(), free())]);
    assert!(!tenants.is_known(&id()) && tenants.is_known(&"u".into()));
    tenants.settle(at(0), &id(), 10, 10);
    assert_eq!(tenants.of.len(), 1);
}

#[test]
fn limits_that_change_keep_what_was_used() {
    let mut tenants = tenants(TenantLimits {
        tokens_per_minute: Some(600),
        ..free()
    });
    assert!(take(&mut tenants, at(0), 0, 600).is_ok());
    tenants.set(
        at(0),
        [(
            id(),
            TenantLimits {
                tokens_per_minute: Some(1000),
                ..free()
            },
        )],
    );
    assert!(take(&mut tenants, at(0), 1, 401).is_err());
    assert!(
        take(&mut tenants, at(0), 2, 400).is_err(),
        "who was refused first is first"
    );
    assert!(take(&mut tenants, at(60), 1, 401).is_ok());
}
