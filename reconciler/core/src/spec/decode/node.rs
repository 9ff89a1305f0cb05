//! `metadata` and `spec` of a Node: what is the machine's and not an agent's.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, de::value::Error as ValueError, forward_to_deserialize_any};

use super::{
    reader::{Reader, Slot},
    text,
};
use crate::{
    event::EventKind,
    spec::{
        Alert, AlertProvider, Anchor, LedgerSettings, Node, NodeRollback, Operators, Probe,
        Severity, SystemRollback,
        error::{SpecError, SpecErrorKind},
        limits,
    },
};

const SPEC: [&str; 7] = [
    "name",
    "operators",
    "listen",
    "healthChecks",
    "rollback",
    "alerts",
    "ledger",
];
const ALERT: [&str; 8] = [
    "name",
    "provider",
    "urlFile",
    "keyFile",
    "chatId",
    "minSeverity",
    "labels",
    "kinds",
];

/// What each provider of alerts needs, and what else it understands.
const PROVIDERS: [(&str, AlertProvider, &[&str], &[&str]); 5] = [
    ("Slack", AlertProvider::Slack, &["urlFile"], &[]),
    (
        "PagerDuty",
        AlertProvider::PagerDuty,
        &["keyFile"],
        &["urlFile"],
    ),
    (
        "Opsgenie",
        AlertProvider::Opsgenie,
        &["keyFile"],
        &["urlFile"],
    ),
    (
        "Telegram",
        AlertProvider::Telegram,
        &["keyFile", "chatId"],
        &["urlFile"],
    ),
    (
        "Webhook",
        AlertProvider::Webhook,
        &["urlFile"],
        &["keyFile"],
    ),
];

impl Reader {
    pub(super) fn node_metadata(&mut self, slot: &Slot<'_>) -> Option<String> {
        let fields = self.fields(slot, &["name"]);
        self.optional(&fields, "name", Self::node_name)
    }

    fn node_name(&mut self, slot: &Slot<'_>) -> Option<String> {
        let name = self.text(slot, limits::MAX_HOST_BYTES)?;
        if !text::is_node_name(name) {
            self.invalid(slot, "must be a host name");
            return None;
        }
        Some(name.to_owned())
    }

    /// The spec; its name may stand in `metadata.name` or here, not differently in both.
    pub(super) fn node_spec(&mut self, slot: &Slot<'_>, given_name: Option<&str>) -> Node {
        let fields = self.fields(slot, &SPEC);
        let name = self.optional(&fields, "name", Self::node_name);
        if let (Some(name), Some(given), Some(slot)) = (&name, given_name, fields.get("name"))
            && name != given
        {
            self.conflict(
                &slot,
                format!("differs from metadata.name, which is `{given}`"),
            );
        }
        Node {
            name,
            operators: self.group(&fields, "operators", Self::operators),
            metrics: self.group(&fields, "listen", Self::metrics),
            health_checks: self.group(&fields, "healthChecks", Self::health_checks),
            rollback: self.group(&fields, "rollback", Self::node_rollback),
            alerts: self.group(&fields, "alerts", Self::alerts),
            ledger: self.group(&fields, "ledger", Self::ledger),
        }
    }

    fn operators(&mut self, slot: &Slot<'_>) -> Operators {
        let fields = self.fields(slot, &["users", "groups"]);
        Operators {
            users: self.group(&fields, "users", Self::accounts),
            groups: self.group(&fields, "groups", Self::accounts),
        }
    }

    fn accounts(&mut self, slot: &Slot<'_>) -> Vec<String> {
        let items = self.items(slot, limits::MAX_ENTRIES, ("a list of names", "[alice]"));
        items.iter().filter_map(|item| self.account(item)).collect()
    }

    fn metrics(&mut self, slot: &Slot<'_>) -> Option<SocketAddr> {
        let fields = self.fields(slot, &["metrics"]);
        self.optional(&fields, "metrics", |reader, slot| {
            let text = reader.text(slot, limits::MAX_HOST_BYTES)?;
            match text.parse::<SocketAddr>() {
                Ok(address) if address.ip().is_loopback() && address.port() != 0 => Some(address),
                _ => {
                    let rule = "must be a loopback address and port, such as 127.0.0.1:9464";
                    reader.invalid(slot, rule);
                    None
                }
            }
        })
    }

    fn health_checks(&mut self, slot: &Slot<'_>) -> BTreeMap<String, Probe> {
        let mut checks = BTreeMap::new();
        for (key, slot) in self.entries(slot) {
            if let Err(error) = crate::name::AgentName::new(&key.text) {
                let found = key.text.clone();
                let kind = SpecErrorKind::Name { found, error };
                self.note(SpecError::new(kind, &slot.path, key.span));
            }
            if let Some(probe) = self.probe(&slot) {
                checks.insert(key.text.clone(), probe);
            }
        }
        checks
    }

    fn node_rollback(&mut self, slot: &Slot<'_>) -> NodeRollback {
        let systems = [
            ("Auto", SystemRollback::Auto),
            ("Never", SystemRollback::Never),
        ];
        let default = NodeRollback::default();
        let fields = self.fields(slot, &["system", "budget", "per"]);
        let system = self.optional(&fields, "system", |reader, slot| {
            reader.choice(slot, &systems)
        });
        let budget = self.optional(&fields, "budget", |reader, slot| {
            reader.integer(slot, &limits::ROLLBACK_BUDGET)
        });
        let per = self.optional(&fields, "per", |reader, slot| {
            reader.duration(slot, &limits::ROLLBACK_WINDOW)
        });
        NodeRollback {
            system: system.unwrap_or(default.system),
            budget: budget.unwrap_or(default.budget),
            per: per.unwrap_or(default.per),
        }
    }

    fn alerts(&mut self, slot: &Slot<'_>) -> Vec<Alert> {
        let mut alerts: Vec<Alert> = Vec::new();
        let wanted = (
            "a list of alerts",
            "[{name: ops, provider: Slack, urlFile: /run/secrets/slack}]",
        );
        for item in self.items(slot, limits::MAX_ENTRIES, wanted) {
            let Some(alert) = self.alert(&item) else {
                continue;
            };
            if alerts.iter().any(|earlier| earlier.name == alert.name) {
                self.conflict(&item, format!("repeats the name `{}`", alert.name));
            }
            alerts.push(alert);
        }
        alerts
    }

    fn alert(&mut self, slot: &Slot<'_>) -> Option<Alert> {
        let providers = PROVIDERS.map(|(word, ..)| (word, word));
        let fields = self.fields(slot, &ALERT);
        let name = self.required(&fields, ("name", "ops"), Self::agent_name);
        let provider = self.required(&fields, ("provider", "Slack"), |reader, slot| {
            reader.choice(slot, &providers)
        });
        let url_file = self.optional(&fields, "urlFile", Self::absolute_path);
        let key_file = self.optional(&fields, "keyFile", Self::absolute_path);
        let chat_id = self.optional(&fields, "chatId", |reader, slot| {
            Some(reader.text(slot, limits::MAX_LABEL_BYTES)?.to_owned())
        });
        let severities = [
            ("Info", Severity::Info),
            ("Warning", Severity::Warning),
            ("Critical", Severity::Critical),
        ];
        let min_severity = self.optional(&fields, "minSeverity", |reader, slot| {
            reader.choice(slot, &severities)
        });
        let labels = self.group(&fields, "labels", Self::labels);
        let kinds = self.group(&fields, "kinds", Self::kinds);
        let (word, provider, needed, understood) = PROVIDERS
            .into_iter()
            .find(|(word, ..)| Some(*word) == provider)?;
        for &field in needed {
            self.required(&fields, (field, "…"), |_, _| Some(()));
        }
        for field in ["urlFile", "keyFile", "chatId"] {
            if let Some(slot) = fields.get(field)
                && !needed.contains(&field)
                && !understood.contains(&field)
            {
                self.conflict(&slot, format!("means nothing to {word}"));
            }
        }
        Some(Alert {
            name: name?.as_str().to_owned(),
            provider,
            url_file,
            key_file,
            chat_id,
            min_severity: min_severity.unwrap_or_default(),
            labels,
            kinds,
        })
    }

    /// Kinds of ledger entries.
    fn kinds(&mut self, slot: &Slot<'_>) -> Vec<String> {
        let known = event_kinds();
        let mut kinds = Vec::new();
        for item in self.items(
            slot,
            limits::MAX_ENTRIES,
            ("a list of kinds", "[FailureDetected]"),
        ) {
            let Some(kind) = self.text(&item, limits::MAX_LABEL_BYTES) else {
                continue;
            };
            if known.contains(&kind) {
                kinds.push(kind.to_owned());
            } else {
                self.unknown_value(&item, kind, known);
            }
        }
        kinds
    }

    fn ledger(&mut self, slot: &Slot<'_>) -> LedgerSettings {
        let default = LedgerSettings::default();
        let fields = self.fields(slot, &["checkpointEvery", "anchors"]);
        let checkpoint_every = self.optional(&fields, "checkpointEvery", |reader, slot| {
            reader.duration(slot, &limits::CHECKPOINT_EVERY)
        });
        LedgerSettings {
            checkpoint_every: checkpoint_every.unwrap_or(default.checkpoint_every),
            anchors: self.group(&fields, "anchors", |reader, slot| {
                let wanted = ("a list of anchors", "[{directory: /mnt/anchor}]");
                let items = reader.items(slot, limits::MAX_ENTRIES, wanted);
                let anchors = items.iter().filter_map(|item| reader.anchor(item));
                anchors.collect()
            }),
        }
    }

    fn anchor(&mut self, slot: &Slot<'_>) -> Option<Anchor> {
        let known = ["directory", "webhook", "witness"];
        let fields = self.fields(slot, &known);
        self.exactly_one(&fields, &known, "directory: /mnt/anchor");
        let directory = self.optional(&fields, "directory", |reader, slot| {
            Some(Anchor::Directory(reader.absolute_path(slot)?))
        });
        let webhook = self.optional(&fields, "webhook", |reader, slot| {
            let fields = reader.fields(slot, &["urlFile"]);
            let example = ("urlFile", "/run/secrets/anchor-url");
            let url_file = reader.required(&fields, example, Self::absolute_path)?;
            Some(Anchor::Webhook { url_file })
        });
        let witness = self.optional(&fields, "witness", |reader, slot| {
            let fields = reader.fields(slot, &["url", "key"]);
            let example = ("url", "https://witness.example");
            let url = reader.required(&fields, example, Self::http_url);
            let example = ("key", "witness.example+530d903a+AekyeRrm56hA…");
            let key = reader.required(&fields, example, Self::verifier_key);
            Some(Anchor::Witness {
                url: url?,
                key: key?,
            })
        });
        directory.or(webhook).or(witness)
    }

    /// The shape of a C2SP vkey: `NAME+8 HEX DIGITS+BASE64`; the ledger checks the rest.
    fn verifier_key(&mut self, slot: &Slot<'_>) -> Option<String> {
        let key = self.text(slot, limits::MAX_URL_BYTES)?;
        let mut parts = key.splitn(3, '+');
        let (name, hash, data) = (parts.next(), parts.next(), parts.next());
        let base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
        let is_key = name.is_some_and(|name| !name.is_empty() && !name.contains(' '))
            && hash.is_some_and(|hash| hash.len() == 8 && u32::from_str_radix(hash, 16).is_ok())
            && data.is_some_and(|data| !data.is_empty() && data.bytes().all(base64));
        if !is_key {
            self.invalid(
                slot,
                "must be a verifier key: NAME+HASH+BASE64 (C2SP signed note)",
            );
            return None;
        }
        Some(key.to_owned())
    }
}

/// The names of all kinds of entry, as serde knows them.
fn event_kinds() -> &'static [&'static str] {
    struct Names<'a>(&'a mut &'static [&'static str]);

    impl<'de> serde::Deserializer<'de> for Names<'_> {
        type Error = ValueError;

        fn deserialize_enum<V: serde::de::Visitor<'de>>(
            self,
            _name: &'static str,
            variants: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, ValueError> {
            *self.0 = variants;
            self.deserialize_any(visitor)
        }

        fn deserialize_any<V: serde::de::Visitor<'de>>(
            self,
            _visitor: V,
        ) -> Result<V::Value, ValueError> {
            Err(serde::de::Error::custom("only the names are wanted"))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
        }
    }

    let mut names: &'static [&'static str] = &[];
    // The value never exists: only the call that carries the names does.
    let _ = EventKind::deserialize(Names(&mut names));
    names
}
