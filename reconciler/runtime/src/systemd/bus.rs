//! The few calls to systemd's manager, and the stream of its signals (org.freedesktop.systemd1(5)).
//!
//! The connection may break: whoever restarts the bus ends it. Calls fail until the next one is
//! made ([`super::ear`] sees to that); nothing here tries again by itself.

use std::{
    collections::HashMap,
    io,
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use zbus::{Connection, MessageStream, OwnedObjectPath, OwnedVariant, Variant, connection};

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
pub(super) const UNIT: &str = "org.freedesktop.systemd1.Unit";
pub(super) const SERVICE: &str = "org.freedesktop.systemd1.Service";
pub(super) const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Longest wait for an answer: PID 1 answers within milliseconds, and if it does not, the machine
/// has other troubles.
const ANSWER_WAIT: Duration = Duration::from_secs(25);

/// Signals that may wait to be looked at; beyond that the connection is slowed down.
const SIGNALS_MAX: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// A property of a unit to be made.
pub(super) type Property = (&'static str, Variant<'static>);

/// What systemd said no to, as far as it makes a difference here.
#[derive(Debug, thiserror::Error)]
pub(super) enum BusError {
    /// A unit of that name is loaded already.
    #[error("{0}")]
    UnitExists(String),
    /// No unit of that name is loaded.
    #[error("{0}")]
    NoSuchUnit(String),
    /// A property is not as systemd wants it.
    #[error("{0}")]
    InvalidArguments(String),
    /// It cannot be asked now, or refused for another reason.
    #[error("{0}")]
    Other(String),
}

impl From<BusError> for io::Error {
    fn from(error: BusError) -> Self {
        let kind = match error {
            BusError::NoSuchUnit(_) => io::ErrorKind::NotFound,
            BusError::InvalidArguments(_) => io::ErrorKind::InvalidInput,
            BusError::UnitExists(_) | BusError::Other(_) => io::ErrorKind::Other,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<zbus::Error> for BusError {
    fn from(error: zbus::Error) -> Self {
        match error {
            zbus::Error::MethodError(name, text, _) => {
                let text = text.unwrap_or_else(|| name.to_string());
                match name.as_str() {
                    "org.freedesktop.systemd1.UnitExists" => Self::UnitExists(text),
                    "org.freedesktop.systemd1.NoSuchUnit" => Self::NoSuchUnit(text),
                    _ => Self::Other(text),
                }
            }
            zbus::Error::FDO(error) => match *error {
                zbus::fdo::Error::InvalidArgs(text)
                | zbus::fdo::Error::PropertyReadOnly(text)
                | zbus::fdo::Error::UnknownProperty(text) => Self::InvalidArguments(text),
                other => Self::Other(other.to_string()),
            },
            other => Self::Other(other.to_string()),
        }
    }
}

/// A unit as ListUnitsByPatterns gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub name: String,
    pub active_state: String,
}

type ListedRow = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

/// The connection to systemd, present or lost.
#[derive(Default)]
pub(super) struct Bus {
    connection: Mutex<Option<Connection>>,
}

impl Bus {
    /// Connects, and has systemd announce what it does. All signals come to the stream.
    pub async fn connect(&self) -> zbus::Result<MessageStream> {
        let connection = connection::Builder::system()
            .method_timeout(ANSWER_WAIT)
            .max_queued(SIGNALS_MAX)
            .build()
            .await?;
        let stream = MessageStream::from(&connection);
        let manager = (Some(SYSTEMD), MANAGER_PATH, Some(MANAGER));
        let (to, path, interface) = manager;
        connection
            .call_method(to, path, interface, "Subscribe", &())
            .await?;
        *self.lock() = Some(connection);
        Ok(stream)
    }

    /// Forgets a connection that has ended.
    pub fn lost(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Connection>> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn connection(&self) -> Result<Connection, BusError> {
        let lost = || BusError::Other("the connection to systemd is lost".to_owned());
        self.lock().clone().ok_or_else(lost)
    }

    async fn manager<B>(&self, method: &str, body: &B) -> Result<zbus::Message, BusError>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        let connection = self.connection()?;
        let call = connection.call_method(Some(SYSTEMD), MANAGER_PATH, Some(MANAGER), method, body);
        Ok(call.await?)
    }

    /// Has the bus send the signals of one unit, and of its jobs, from now on.
    pub async fn listen(&self, unit: &str) -> Result<(), BusError> {
        let connection = self.connection()?;
        let rules = [
            format!(
                "type='signal',sender='{SYSTEMD}',interface='{PROPERTIES}',path='{}'",
                unit_path(unit)
            ),
            format!(
                "type='signal',sender='{SYSTEMD}',interface='{MANAGER}',member='JobRemoved',\
                 arg2='{unit}'"
            ),
        ];
        for rule in &rules {
            bus_call(&connection, "AddMatch", rule).await?;
        }
        Ok(())
    }

    /// Ends [`Self::listen`]; that it was never begun is no fault.
    pub async fn listen_no_more(&self, unit: &str) {
        let Ok(connection) = self.connection() else {
            return;
        };
        for rule in [
            format!(
                "type='signal',sender='{SYSTEMD}',interface='{PROPERTIES}',path='{}'",
                unit_path(unit)
            ),
            format!(
                "type='signal',sender='{SYSTEMD}',interface='{MANAGER}',member='JobRemoved',\
                 arg2='{unit}'"
            ),
        ] {
            let _ = bus_call(&connection, "RemoveMatch", &rule).await; // the bus may be gone
        }
    }

    /// Makes a unit and starts it. Gives the job's path.
    pub async fn start_transient(
        &self,
        unit: &str,
        properties: &[Property],
    ) -> Result<String, BusError> {
        type Auxiliary<'a> = Vec<(&'a str, Vec<(&'a str, Variant<'a>)>)>;
        let properties: Vec<(&str, &Variant<'static>)> = properties
            .iter()
            .map(|(name, value)| (*name, value))
            .collect();
        let none: Auxiliary<'_> = Vec::new();
        let body = (unit, "replace", properties, none);
        job(&self.manager("StartTransientUnit", &body).await?)
    }

    /// Starts a loaded unit. Gives the job's path.
    pub async fn start(&self, unit: &str) -> Result<String, BusError> {
        job(&self.manager("StartUnit", &(unit, "replace")).await?)
    }

    /// Stops a unit. Gives the job's path.
    pub async fn stop(&self, unit: &str) -> Result<String, BusError> {
        job(&self.manager("StopUnit", &(unit, "replace")).await?)
    }

    /// Keeps a unit loaded for as long as this connection lives.
    pub async fn reference(&self, unit: &str) -> Result<(), BusError> {
        self.manager("RefUnit", &unit).await.map(drop)
    }

    /// Lets a unit go.
    pub async fn unreference(&self, unit: &str) -> Result<(), BusError> {
        self.manager("UnrefUnit", &unit).await.map(drop)
    }

    /// Forgets that a unit failed.
    pub async fn reset_failed(&self, unit: &str) -> Result<(), BusError> {
        self.manager("ResetFailedUnit", &unit).await.map(drop)
    }

    /// Removes what somebody has set for a unit of this name beyond its definition.
    pub async fn revert(&self, unit: &str) -> Result<(), BusError> {
        self.manager("RevertUnitFiles", &vec![unit]).await.map(drop)
    }

    /// Units that are loaded, by a pattern of their names.
    pub async fn list(&self, pattern: &str) -> Result<Vec<Listed>, BusError> {
        let none: Vec<&str> = Vec::new();
        let answer = self
            .manager("ListUnitsByPatterns", &(none, vec![pattern]))
            .await?;
        let rows: Vec<ListedRow> = answer.body().deserialize()?;
        let listed = rows.into_iter().map(|row| Listed {
            name: row.0,
            active_state: row.3,
        });
        Ok(listed.collect())
    }

    /// All properties of a loaded unit that an interface has.
    pub async fn properties(
        &self,
        unit: &str,
        interface: &str,
    ) -> Result<HashMap<String, OwnedVariant>, BusError> {
        let connection = self.connection()?;
        let path = unit_path(unit);
        let answer = connection
            .call_method(
                Some(SYSTEMD),
                path.as_str(),
                Some(PROPERTIES),
                "GetAll",
                &interface,
            )
            .await?;
        Ok(answer.body().deserialize()?)
    }

    /// One property of the manager itself.
    pub async fn manager_property(&self, name: &str) -> Result<OwnedVariant, BusError> {
        let connection = self.connection()?;
        let answer = connection
            .call_method(
                Some(SYSTEMD),
                MANAGER_PATH,
                Some(PROPERTIES),
                "Get",
                &(MANAGER, name),
            )
            .await?;
        Ok(answer.body().deserialize()?)
    }
}

async fn bus_call(connection: &Connection, method: &str, rule: &str) -> zbus::Result<()> {
    const BUS: &str = "org.freedesktop.DBus";
    let call = connection.call_method(Some(BUS), "/org/freedesktop/DBus", Some(BUS), method, &rule);
    call.await.map(drop)
}

fn job(answer: &zbus::Message) -> Result<String, BusError> {
    let job: OwnedObjectPath = answer.body().deserialize()?;
    Ok(job.to_string())
}

/// The object of a unit: all but letters and digits as `_` and two hexadecimal digits
/// (sd_bus_path_encode(3)).
pub(super) fn unit_path(unit: &str) -> String {
    let mut path = format!("{MANAGER_PATH}/unit/");
    for (place, byte) in unit.bytes().enumerate() {
        let plain = byte.is_ascii_alphabetic() || (place > 0 && byte.is_ascii_digit());
        if plain {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_units_path_is_escaped_as_systemd_does() {
        assert_eq!(
            unit_path("osmoda-a1.service"),
            "/org/freedesktop/systemd1/unit/osmoda_2da1_2eservice"
        );
        assert_eq!(unit_path("1a"), "/org/freedesktop/systemd1/unit/_31a");
    }
}
