//! A life is played sample by sample; what matters is when it is first called excessive.

use proptest::prelude::*;

use super::*;
use crate::units::{ByteSize, CpuPercent, Period};

/// Threshold of every life here: 1 GiB.
const HIGH: u64 = 1 << 30;
/// How long a graceful stop may take.
const STOP: Duration = Duration::from_secs(10);
/// First instant of every life, in microseconds since boot.
const BIRTH: u64 = 5_000_000;

fn with_high() -> Resources {
    Resources {
        memory_high: Some(ByteSize(HIGH)),
        ..Resources::default()
    }
}

/// The first excess of a life whose memory is a function of its age in seconds, and that age.
fn first_excess(life: Duration, memory: impl Fn(f64) -> f64) -> Option<(f64, Excess)> {
    let rules = with_high();
    let mut trajectory = Trajectory::default();
    let steps = life.as_millis() / SAMPLE_EVERY.as_millis();
    (0..u64::try_from(steps).unwrap()).find_map(|step| {
        let age = step as f64 * SAMPLE_EVERY.as_secs_f64();
        let usage = Usage {
            memory_bytes: memory(age) as u64,
            cpu_us: 0,
        };
        let at = Mono(BIRTH + step * micros(SAMPLE_EVERY));
        trajectory.add(&rules, usage, at);
        trajectory.judge(&rules, STOP).map(|excess| (age, excess))
    })
}

#[track_caller]
fn no_alarm(life: Duration, memory: impl Fn(f64) -> f64) {
    assert_eq!(first_excess(life, memory), None);
}

fn of_high(percent: f64) -> f64 {
    HIGH as f64 * percent / 100.0
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn memory_at_the_threshold_is_high_and_a_byte_below_is_not() {
    no_alarm(HOUR, |_| (HIGH - 1) as f64);
    let found = first_excess(HOUR, |age| if age < 60.0 { 0.0 } else { HIGH as f64 });
    assert_eq!(found, Some((60.0, Excess::MemoryHigh)));
}

#[test]
fn a_leak_is_found_while_a_graceful_stop_still_fits() {
    // From 200 KiB/s to 20 MiB/s: from more than an hour to under a minute until the threshold.
    for rate in [200 << 10, 1 << 20, 5 << 20, 20 << 20] {
        let rate = f64::from(rate);
        let (age, excess) = first_excess(4 * HOUR, |age| rate * age).unwrap();
        let crosses_at = HIGH as f64 / rate;
        let left = crosses_at - age;
        assert!(matches!(excess, Excess::MemoryRising { .. }), "{excess:?}");
        assert!(left >= STOP.as_secs_f64(), "{left} s left at {rate} B/s");
        assert!(
            left <= STOP.as_secs_f64() + 1.0,
            "{left} s at {rate} B/s: too early"
        );
    }
}

#[test]
fn a_steep_leak_is_found_from_the_projected_share_on() {
    // 45 MiB/s: from 80 % it takes less than 5 s, and 20 s have passed by then.
    let rate = f64::from(45 << 20);
    let (age, excess) = first_excess(HOUR, |age| rate * age).unwrap();
    assert!(matches!(excess, Excess::MemoryRising { .. }), "{excess:?}");
    assert!(rate * age < of_high(91.0));
}

#[test]
fn a_leak_under_a_collectors_sawtooth_is_found_before_the_threshold_is_left_behind() {
    let found = first_excess(4 * HOUR, |age| {
        of_high(30.0) + age * 200_000.0 + of_high(15.0) * (age % 45.0) / 45.0
    });
    let (age, _) = found.unwrap();
    let base = of_high(30.0) + age * 200_000.0;
    assert!(base > of_high(80.0), "only when it is really about to");
}

#[test]
fn a_program_that_fills_its_caches_at_its_start_is_left_alone() {
    for seconds in [1.0, 5.0, 12.0, 19.0] {
        no_alarm(HOUR, |age| of_high(92.0) * (age / seconds).min(1.0));
    }
}

#[test]
fn a_step_to_just_below_the_threshold_is_left_alone() {
    for took in [0.5, 3.0, 9.0] {
        no_alarm(HOUR, |age| {
            of_high(40.0) + of_high(58.0) * ((age - 300.0) / took).clamp(0.0, 1.0)
        });
    }
}

#[test]
fn after_its_first_fall_a_slow_sawtooth_is_known() {
    // Its first rise ends out of reach of the threshold; all later ones, much nearer.
    no_alarm(4 * HOUR, |age| {
        let period = 120.0;
        let top = if age < period { 92.0 } else { 95.5 };
        of_high(20.0) + of_high(top - 20.0) * (age % period) / period
    });
}

#[test]
fn the_samples_are_bounded_and_span_the_whole_life() {
    let rules = with_high();
    let mut trajectory = Trajectory::default();
    for step in 0..100_000_u64 {
        let usage = Usage {
            memory_bytes: step,
            cpu_us: step,
        };
        trajectory.add(&rules, usage, Mono(BIRTH + step * micros(SAMPLE_EVERY)));
        assert!(trajectory.samples().count() <= SAMPLES_MAX);
    }
    let samples: Vec<_> = trajectory.samples().copied().collect();
    assert_eq!(samples.first().unwrap().at, Mono(BIRTH));
    assert_eq!(samples.last().unwrap().memory_bytes, 99_999);
    assert!(samples.is_sorted_by(|a, b| a.at < b.at));
    let life = samples.last().unwrap().at.since(samples[0].at);
    let widest = samples.windows(2).map(|two| two[1].at.since(two[0].at));
    assert!(widest.max().unwrap() < life / 4, "spread over the life");
    let recent = &samples[samples.len() - RECENT..];
    let every = recent
        .windows(2)
        .all(|two| two[1].at.since(two[0].at) == SAMPLE_EVERY);
    assert!(every, "what was lately is there in full");
}

#[test]
fn a_runaway_is_above_its_share_for_the_whole_window_and_one_quiet_moment_ends_it() {
    let rules = Resources {
        cpu_runaway: Some(CpuRunaway {
            above: CpuPercent(95),
            window: Period::secs(120),
        }),
        ..Resources::default()
    };
    let found = |quiet_at: Option<u64>| {
        let mut trajectory = Trajectory::default();
        let mut cpu_us = 0;
        (0..400_u64).find_map(|step| {
            let share = if Some(step) == quiet_at { 90 } else { 100 };
            cpu_us += micros(SAMPLE_EVERY) * share / 100;
            let usage = Usage {
                memory_bytes: 0,
                cpu_us,
            };
            trajectory.add(&rules, usage, Mono(BIRTH + step * micros(SAMPLE_EVERY)));
            trajectory.judge(&rules, STOP).map(|excess| (step, excess))
        })
    };
    assert_eq!(
        found(None),
        Some((240, Excess::CpuRunaway { percent: 100 }))
    );
    assert_eq!(found(Some(200)).map(|(step, _)| step), None);
    assert_eq!(found(Some(100)).map(|(step, _)| step), Some(340));
}

#[test]
fn a_sample_that_is_not_younger_changes_nothing() {
    let rules = with_high();
    let mut trajectory = Trajectory::default();
    let usage = |memory_bytes| Usage {
        memory_bytes,
        cpu_us: 0,
    };
    trajectory.add(&rules, usage(1), Mono(BIRTH));
    let before = trajectory.clone();
    trajectory.add(&rules, usage(HIGH), Mono(BIRTH));
    trajectory.add(&rules, usage(HIGH), Mono(BIRTH - 1));
    assert_eq!(trajectory, before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A collector that lets memory grow for up to 15 s and then frees it, below the threshold.
    #[test]
    fn a_sawtooth_shorter_than_the_projection_never_alarms(
        period in 1.0..15.0_f64,
        low in 10.0..80.0_f64,
        top in 81.0..99.0_f64,
    ) {
        no_alarm(Duration::from_secs(900), |age| {
            of_high(low) + of_high(top - low) * (age % period) / period
        });
    }

    /// Noise around a level that does not rise.
    #[test]
    fn noise_below_the_threshold_never_alarms(
        level in 20.0..90.0_f64,
        noise in proptest::collection::vec(0.0..9.0_f64, 1200),
    ) {
        no_alarm(Duration::from_secs(600), |age| {
            of_high(level + noise[(age * 2.0) as usize % noise.len()])
        });
    }

    /// Whatever the slope, a leak is called before it has crossed, and with the time for a stop
    /// if its last fifth takes that long.
    #[test]
    fn a_steady_leak_is_called_in_time(
        until_full in 60.0..5000.0_f64,
        start in 0.0..50.0_f64,
    ) {
        let slope = of_high(100.0 - start) / until_full;
        let life = Duration::from_secs_f64(until_full + 2.0);
        let (age, excess) = first_excess(life, |age| of_high(start) + slope * age).unwrap();
        let is_rising = matches!(excess, Excess::MemoryRising { .. });
        prop_assert!(is_rising, "{excess:?}");
        prop_assert!(of_high(start) + slope * age < HIGH as f64);
        if of_high(20.0) / slope >= STOP.as_secs_f64() + 1.0 {
            prop_assert!(until_full - age >= STOP.as_secs_f64() - 0.01);
        }
    }
}
