//! The body of an entry, read field by field.

use serde_json::Value;

/// A body whose fields may be missing: an entry may come from another version.
pub struct Body<'a> {
    pub value: &'a Value,
}

impl Body<'_> {
    /// A field as text; `?` if it is missing.
    pub fn text(&self, name: &str) -> String {
        match &self.value[name] {
            Value::String(text) => text.clone(),
            Value::Null => "?".to_owned(),
            other => other.to_string(),
        }
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.value[name].as_u64()
    }

    pub fn is(&self, name: &str) -> bool {
        self.value[name] == true
    }

    /// `generation 3`, of a field that should hold one.
    pub fn whose(&self, name: &str) -> String {
        self.generation(name).unwrap_or_else(|| "?".to_owned())
    }

    /// `generation 3`, of a field that holds one.
    pub fn generation(&self, name: &str) -> Option<String> {
        let number = self.value[name]["number"].as_u64()?;
        Some(match self.value["scope"].as_str() {
            Some("System") => format!("generation {number} of the system"),
            _ => format!("generation {number}"),
        })
    }
}
