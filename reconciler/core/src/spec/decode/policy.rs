//! The parts of `spec` that say how an agent is limited, restarted, stopped and rolled out.
//!
//! Each starts from the defaults of the types and replaces what the document gives.

use super::reader::{Reader, Slot};
use crate::{
    spec::{
        Backoff, CpuRunaway, Resources, Restart, RestartPolicy, Rollback, Rollout, Sandbox, Signal,
        Stop, limits,
    },
    units::{ByteSize, CpuPercent},
};

impl Reader {
    pub(super) fn resources(&mut self, slot: &Slot<'_>) -> Resources {
        let fields = self.fields(slot, &["memory", "cpu", "tasksMax"]);
        let (memory_high, memory_max) = self.group(&fields, "memory", Self::memory);
        let (cpu_max, cpu_runaway) = self.group(&fields, "cpu", Self::cpu);
        Resources {
            memory_high,
            memory_max,
            cpu_max,
            cpu_runaway,
            tasks_max: self.optional(&fields, "tasksMax", |reader, slot| {
                reader.integer(slot, &limits::TASKS)
            }),
        }
    }

    fn memory(&mut self, slot: &Slot<'_>) -> (Option<ByteSize>, Option<ByteSize>) {
        let fields = self.fields(slot, &["high", "max"]);
        let size = |reader: &mut Self, slot: &Slot<'_>| reader.size(slot, &limits::MEMORY);
        let high = self.optional(&fields, "high", size);
        let max = self.optional(&fields, "max", size);
        if let (Some(low), Some(limit), Some(slot)) = (high, max, fields.get("high"))
            && low > limit
        {
            self.conflict(
                &slot,
                format!("is {low}, above memory.max, which is {limit}"),
            );
        }
        (high, max)
    }

    fn cpu(&mut self, slot: &Slot<'_>) -> (Option<CpuPercent>, Option<CpuRunaway>) {
        let fields = self.fields(slot, &["max", "runaway"]);
        let percent = |reader: &mut Self, slot: &Slot<'_>| reader.percent(slot, &limits::CPU);
        let max = self.optional(&fields, "max", percent);
        let runaway = self.optional(&fields, "runaway", |reader, slot| {
            let default = CpuRunaway::default();
            let fields = reader.fields(slot, &["above", "for"]);
            let above = reader.optional(&fields, "above", percent);
            let window = reader.optional(&fields, "for", |reader, slot| {
                reader.duration(slot, &limits::CPU_WINDOW)
            });
            Some(CpuRunaway {
                above: above.unwrap_or(default.above),
                window: window.unwrap_or(default.window),
            })
        });
        (max, runaway)
    }

    pub(super) fn restart(&mut self, slot: &Slot<'_>) -> Restart {
        let policies = [
            ("Always", RestartPolicy::Always),
            ("OnFailure", RestartPolicy::OnFailure),
            ("Never", RestartPolicy::Never),
        ];
        let default = Restart::default();
        let fields = self.fields(slot, &["policy", "backoff", "maxRestarts", "within"]);
        let policy = self.optional(&fields, "policy", |reader, slot| {
            reader.choice(slot, &policies)
        });
        let max_restarts = self.optional(&fields, "maxRestarts", |reader, slot| {
            reader.integer(slot, &limits::MAX_RESTARTS)
        });
        let within = self.optional(&fields, "within", |reader, slot| {
            reader.duration(slot, &limits::RESTART_WINDOW)
        });
        Restart {
            policy: policy.unwrap_or(default.policy),
            backoff: self.group(&fields, "backoff", Self::backoff),
            max_restarts: max_restarts.unwrap_or(default.max_restarts),
            within: within.unwrap_or(default.within),
        }
    }

    fn backoff(&mut self, slot: &Slot<'_>) -> Backoff {
        let default = Backoff::default();
        let fields = self.fields(slot, &["initial", "factor", "max", "jitter", "resetAfter"]);
        let mut duration =
            |name, range| self.optional(&fields, name, |reader, slot| reader.duration(slot, range));
        let initial = duration("initial", &limits::BACKOFF_INITIAL);
        let max = duration("max", &limits::BACKOFF_MAX);
        let reset_after = duration("resetAfter", &limits::BACKOFF_RESET);
        let factor = self.optional(&fields, "factor", |reader, slot| {
            reader.thousandths(slot, &limits::BACKOFF_FACTOR_MILLI)
        });
        let jitter = self.optional(&fields, "jitter", |reader, slot| {
            reader.thousandths(slot, &limits::BACKOFF_JITTER_MILLI)
        });
        let backoff = Backoff {
            initial: initial.unwrap_or(default.initial),
            factor_milli: factor.unwrap_or(default.factor_milli),
            max: max.unwrap_or(default.max),
            jitter_milli: jitter.unwrap_or(default.jitter_milli),
            reset_after: reset_after.unwrap_or(default.reset_after),
        };
        let guilty = fields.get("initial").or_else(|| fields.get("max"));
        if let Some(slot) = guilty.filter(|_| backoff.initial > backoff.max) {
            let (initial, max) = (backoff.initial, backoff.max);
            let reason = format!("makes backoff.initial ({initial}) exceed backoff.max ({max})");
            self.conflict(&slot, reason);
        }
        backoff
    }

    pub(super) fn stop(&mut self, slot: &Slot<'_>) -> Stop {
        let default = Stop::default();
        let fields = self.fields(slot, &["signal", "gracePeriod"]);
        let signal = self.optional(&fields, "signal", Self::signal);
        let grace_period = self.optional(&fields, "gracePeriod", |reader, slot| {
            reader.duration(slot, &limits::GRACE_PERIOD)
        });
        Stop {
            signal: signal.unwrap_or(default.signal),
            grace_period: grace_period.unwrap_or(default.grace_period),
        }
    }

    fn signal(&mut self, slot: &Slot<'_>) -> Option<Signal> {
        let table: Vec<(&'static str, Signal)> = Signal::names()
            .filter_map(|name| Some((name, Signal::parse(name)?)))
            .collect();
        self.choice(slot, &table)
    }

    pub(super) fn rollout(&mut self, slot: &Slot<'_>) -> Rollout {
        let rollbacks = [
            ("Agent", Rollback::Agent),
            ("System", Rollback::System),
            ("Never", Rollback::Never),
        ];
        let default = Rollout::default();
        let known = [
            "progressDeadline",
            "minReady",
            "rollback",
            "suspectFor",
            "historyLimit",
        ];
        let fields = self.fields(slot, &known);
        let mut duration =
            |name, range| self.optional(&fields, name, |reader, slot| reader.duration(slot, range));
        let progress_deadline = duration("progressDeadline", &limits::PROGRESS_DEADLINE);
        let min_ready = duration("minReady", &limits::MIN_READY);
        let suspect_for = duration("suspectFor", &limits::SUSPECT_FOR);
        let rollback = self.optional(&fields, "rollback", |reader, slot| {
            reader.choice(slot, &rollbacks)
        });
        let history_limit = self.optional(&fields, "historyLimit", |reader, slot| {
            reader.integer(slot, &limits::HISTORY_LIMIT)
        });
        Rollout {
            progress_deadline: progress_deadline.unwrap_or(default.progress_deadline),
            min_ready: min_ready.unwrap_or(default.min_ready),
            rollback: rollback.unwrap_or(default.rollback),
            suspect_for: suspect_for.unwrap_or(default.suspect_for),
            history_limit: history_limit.unwrap_or(default.history_limit),
        }
    }

    pub(super) fn sandbox(&mut self, slot: &Slot<'_>) -> Option<Sandbox> {
        let table = [("Default", Sandbox::Default), ("Off", Sandbox::Off)];
        self.choice(slot, &table)
    }
}
