//! `metadata` and `spec` of an Agent.
//!
//! One function per group of fields, in the order of the contract's table; the groups that say
//! how an agent is limited, restarted, stopped and rolled out are in `policy`.

use std::collections::BTreeMap;

use super::{
    reader::{Fields, Reader, Slot},
    text,
};
use crate::{
    name::AgentName,
    spec::{
        AgentSpec, Credential, HEARTBEAT_TIMEOUT, Heartbeat, HeartbeatSource,
        error::{SpecError, SpecErrorKind},
        limits,
        tree::{Span, Value},
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

    /// The spec as far as it can be read, and where each entry of its `dependsOn` stands.
    pub(super) fn agent_spec(
        &mut self,
        slot: &Slot<'_>,
        own_name: Option<&AgentName>,
    ) -> (AgentSpec, Vec<Span>) {
        let fields = self.fields(slot, &SPEC);
        let command = self.required(&fields, ("command", COMMAND_EXAMPLE), Self::argv);
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
        spec.sandbox = self.optional(&fields, "sandbox", Self::sandbox);
        (spec, spans)
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

    /// A command: a list of strings that begins with a program.
    pub(super) fn argv(&mut self, slot: &Slot<'_>) -> Option<Vec<String>> {
        let wanted = ("a list of strings", COMMAND_EXAMPLE);
        let items = self.items(slot, limits::MAX_ARGUMENTS, wanted);
        if items.is_empty() && matches!(slot.tree.value, Value::List(_)) {
            self.invalid(slot, "must name a program");
        }
        let arguments = items
            .iter()
            .filter_map(|item| self.text(item, limits::MAX_ARGUMENT_BYTES));
        let arguments: Vec<String> = arguments.map(str::to_owned).collect();
        if arguments.len() != items.len() {
            return None;
        }
        let (program, program_slot) = (arguments.first()?, items.first()?);
        if program.is_empty() {
            self.invalid(program_slot, "must name a program");
        } else if program.contains('/') && !program.starts_with('/') {
            let rule = "must be an absolute path, or a name without '/' to be found on PATH";
            self.invalid(program_slot, rule);
        }
        Some(arguments)
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
}
