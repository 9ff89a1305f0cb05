//! `metadata` and `spec` of an Agent.
//!
//! One function per group of fields, in the order of the contract's table. Each starts from the
//! defaults of the types and replaces what the document gives.

use std::collections::BTreeMap;

use super::{
    reader::{Fields, Reader, Slot},
    text,
};
use crate::{
    name::AgentName,
    spec::{
        AgentSpec, Backoff, CpuRunaway, Credential, HEARTBEAT_TIMEOUT, Heartbeat, HeartbeatSource,
        Resources, Restart, RestartPolicy, Rollback, Rollout, Sandbox, Signal, Stop,
        error::{SpecError, SpecErrorKind},
        limits,
        tree::Span,
    },
};

const METADATA: [&str; 2] = ["name", "labels"];
const SPEC: [&str; 14] = [
    "command",
    "environment",
    "credentials",
    "workingDirectory",
    "user",
    "group",
    "dependsOn",
    "heartbeat",
    "probes",
    "resources",
    "restart",
    "stop",
    "rollout",
    "sandbox",
];
const COMMAND_EXAMPLE: &str = "[/usr/bin/python3, worker.py]";

type Metadata = (Option<(AgentName, Span)>, BTreeMap<String, String>);

impl Reader {
    pub(super) fn agent_metadata(&mut self, slot: &Slot<'_>) -> Metadata {
        let fields = self.fields(slot, &METADATA);
        let name = self.required(&fields, ("name", "researcher"), |reader, slot| {
            Some((reader.agent_name(slot)?, slot.tree.span))
        });
        let labels = self.optional(&fields, "labels", |reader, slot| Some(reader.labels(slot)));
        (name, labels.unwrap_or_default())
    }

    pub(super) fn labels(&mut self, slot: &Slot<'_>) -> BTreeMap<String, String> {
        let entries = self.entries(slot);
        entries
            .into_iter()
            .filter_map(|(key, slot)| self.label(key, &slot))
            .collect()
    }

    /// The spec, and where each entry of its `dependsOn` stands.
    pub(super) fn agent_spec(
        &mut self,
        slot: &Slot<'_>,
        own_name: Option<&AgentName>,
    ) -> Option<(AgentSpec, Vec<Span>)> {
        let fields = self.fields(slot, &SPEC);
        let command = self.required(&fields, ("command", COMMAND_EXAMPLE), Self::command);
        let mut spec = AgentSpec::new(command.unwrap_or_default());
        spec.environment = self.group(&fields, "environment", Self::environment);
        spec.credentials = self.group(&fields, "credentials", Self::credentials);
        self.variables_are_given_once(&fields, &spec);
        spec.working_directory = self.optional(&fields, "workingDirectory", Self::absolute_path);
        spec.user = self.optional(&fields, "user", Self::account);
        spec.group = self.optional(&fields, "group", Self::account);
        let depends_on = self.group(&fields, "dependsOn", |reader, slot| {
            reader.depends_on(slot, own_name)
        });
        let (depends_on, spans) = depends_on.into_iter().unzip();
        spec.depends_on = depends_on;
        spec.heartbeat = self.optional(&fields, "heartbeat", Self::heartbeat);
        spec.probes = self.group(&fields, "probes", Self::probes);
        spec.resources = self.group(&fields, "resources", Self::resources);
        spec.restart = self.group(&fields, "restart", Self::restart);
        spec.stop = self.group(&fields, "stop", Self::stop);
        spec.rollout = self.group(&fields, "rollout", Self::rollout);
        spec.sandbox = self.group(&fields, "sandbox", Self::sandbox);
        self.is_clean().then_some((spec, spans))
    }

    /// A group of fields that has a default as a whole.
    pub(super) fn group<'a, T: Default>(
        &mut self,
        fields: &Fields<'a>,
        name: &str,
        read: impl FnOnce(&mut Self, &Slot<'a>) -> T,
    ) -> T {
        let value = self.optional(fields, name, |reader, slot| Some(read(reader, slot)));
        value.unwrap_or_default()
    }

    fn command(&mut self, slot: &Slot<'_>) -> Option<Vec<String>> {
        let command = self.argv(slot)?;
        let program = command.first()?;
        let items = self.items(slot, limits::MAX_ARGUMENTS, ("a list", COMMAND_EXAMPLE));
        let program_slot = items.first()?;
        if program.contains('/') && !program.starts_with('/') {
            let rule = "must be an absolute path, or a name without '/' to be found on PATH";
            self.invalid(program_slot, rule);
            return None;
        }
        Some(command)
    }

    /// A command: a list of strings whose first is not empty.
    pub(super) fn argv(&mut self, slot: &Slot<'_>) -> Option<Vec<String>> {
        let wanted = "a list of strings";
        let items = self.items(slot, limits::MAX_ARGUMENTS, (wanted, COMMAND_EXAMPLE));
        let arguments = items
            .iter()
            .filter_map(|item| self.text(item, limits::MAX_ARGUMENT_BYTES));
        let arguments: Vec<String> = arguments.map(str::to_owned).collect();
        let is_list = matches!(slot.tree.value, crate::spec::tree::Value::List(_));
        if is_list && items.is_empty() {
            self.invalid(slot, "must name a program");
        }
        if let (Some(""), Some(first)) = (arguments.first().map(String::as_str), items.first()) {
            self.invalid(first, "must name a program");
        }
        (arguments.len() == items.len() && !arguments.is_empty()).then_some(arguments)
    }

    fn environment(&mut self, slot: &Slot<'_>) -> BTreeMap<String, String> {
        let mut environment = BTreeMap::new();
        for (key, slot) in self.entries(slot) {
            self.variable_name(&key.text, &slot.path, key.span);
            if let Some(value) = self.text(&slot, limits::MAX_ARGUMENT_BYTES) {
                environment.insert(key.text.clone(), value.to_owned());
            }
        }
        environment
    }

    fn credentials(&mut self, slot: &Slot<'_>) -> BTreeMap<String, Credential> {
        let mut credentials = BTreeMap::new();
        for (key, slot) in self.entries(slot) {
            if !text::is_credential_name(&key.text) {
                let rule = "is not a credential's name: letters, digits, '-', '_' and '.', \
                            no '.' first";
                let kind = SpecErrorKind::Invalid { rule: rule.into() };
                self.note(SpecError::new(kind, &slot.path, key.span));
            }
            if let Some(credential) = self.credential(&slot) {
                credentials.insert(key.text.clone(), credential);
            }
        }
        credentials
    }

    fn credential(&mut self, slot: &Slot<'_>) -> Option<Credential> {
        let fields = self.fields(slot, &["path", "environmentVariable"]);
        let example = "/run/secrets/token";
        let path = self.required(&fields, ("path", example), Self::absolute_path);
        let variable = self.optional(&fields, "environmentVariable", |reader, slot| {
            let name = reader.text(slot, limits::MAX_FILE_NAME_BYTES)?;
            let is_valid = reader.variable_name(name, &slot.path, slot.tree.span);
            is_valid.then(|| name.to_owned())
        });
        Some(Credential {
            path: path?,
            environment_variable: variable,
        })
    }

    /// A variable has one value: from `environment` or from one credential.
    fn variables_are_given_once(&mut self, fields: &Fields<'_>, spec: &AgentSpec) {
        let Some(slot) = fields.get("credentials") else {
            return;
        };
        let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, credential) in &spec.credentials {
            let Some(variable) = credential.environment_variable.as_deref() else {
                continue;
            };
            if spec.environment.contains_key(variable) {
                let reason = format!("and spec.environment both set the variable `{variable}`");
                self.conflict(&slot, reason);
            }
            if let Some(other) = taken.insert(variable, name) {
                let reason = format!("`{other}` and `{name}` both set the variable `{variable}`");
                self.conflict(&slot, reason);
            }
        }
    }

    fn depends_on(
        &mut self,
        slot: &Slot<'_>,
        own_name: Option<&AgentName>,
    ) -> Vec<(AgentName, Span)> {
        let wanted = ("a list of agents", "[researcher]");
        let mut dependencies: Vec<(AgentName, Span)> = Vec::new();
        for item in self.items(slot, limits::MAX_ENTRIES, wanted) {
            let Some(name) = self.agent_name(&item) else {
                continue;
            };
            if own_name == Some(&name) {
                self.conflict(&item, "is the agent itself");
            } else if dependencies.iter().any(|(earlier, _)| *earlier == name) {
                self.conflict(&item, format!("repeats `{name}`"));
            } else {
                dependencies.push((name, item.tree.span));
            }
        }
        dependencies
    }

    fn heartbeat(&mut self, slot: &Slot<'_>) -> Option<Heartbeat> {
        #[derive(Clone, Copy, PartialEq)]
        enum Source {
            Notify,
            Output,
            File,
        }
        let sources = [
            ("Notify", Source::Notify),
            ("Output", Source::Output),
            ("File", Source::File),
        ];
        let fields = self.fields(slot, &["source", "timeout", "file"]);
        let source = self.required(&fields, ("source", "Notify"), |reader, slot| {
            reader.choice(slot, &sources)
        });
        let timeout = self.optional(&fields, "timeout", |reader, slot| {
            reader.duration(slot, &limits::HEARTBEAT_TIMEOUT)
        });
        let file = match source {
            Some(Source::File) => {
                self.required(&fields, ("file", "/run/agent/alive"), Self::absolute_path)
            }
            _ => self.optional(&fields, "file", Self::absolute_path),
        };
        if let (Some(slot), Some(Source::Notify | Source::Output)) = (fields.get("file"), source) {
            self.conflict(&slot, "goes with source: File only");
        }
        let source = match source? {
            Source::Notify => HeartbeatSource::Notify,
            Source::Output => HeartbeatSource::Output,
            Source::File => HeartbeatSource::File(file?),
        };
        Some(Heartbeat {
            source,
            timeout: timeout.unwrap_or(HEARTBEAT_TIMEOUT),
        })
    }

    fn resources(&mut self, slot: &Slot<'_>) -> Resources {
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

    fn memory(
        &mut self,
        slot: &Slot<'_>,
    ) -> (
        Option<crate::units::ByteSize>,
        Option<crate::units::ByteSize>,
    ) {
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

    fn cpu(&mut self, slot: &Slot<'_>) -> (Option<crate::units::CpuPercent>, Option<CpuRunaway>) {
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

    fn restart(&mut self, slot: &Slot<'_>) -> Restart {
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

    fn stop(&mut self, slot: &Slot<'_>) -> Stop {
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

    fn rollout(&mut self, slot: &Slot<'_>) -> Rollout {
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

    fn sandbox(&mut self, slot: &Slot<'_>) -> Sandbox {
        let table = [("Default", Sandbox::Default), ("Off", Sandbox::Off)];
        self.choice(slot, &table).unwrap_or_default()
    }
}
