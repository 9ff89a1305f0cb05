//! What systemd tells of our units, as its signals come.
//!
//! Each unit that matters has a [`Unit`] with its latest [`UnitState`], which whoever waits for
//! something watches. PID 1 sends what changed of a unit before it sends that a job is done, so
//! after JobRemoved the state is that which the job left.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use osmoda_core::observed::InvocationId;
use tokio::sync::watch;
use zbus::{
    Message, MessageStream, OwnedObjectPath, OwnedVariant, export::futures_core::Stream as _,
    message::Type,
};

use super::{
    bus::{Bus, BusError, PROPERTIES, SERVICE, UNIT, unit_path},
    journal::ManagerId,
};

/// Pause between two tries to reach a bus that has gone.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// Jobs of a unit whose results are remembered: more than can be asked about at once.
const JOBS_MAX: usize = 8;

/// `ActiveState` of a unit, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Active {
    /// Not told yet.
    #[default]
    Unknown,
    /// inactive or failed: nothing of it runs.
    Dead,
    /// activating: not known to have executed its program yet.
    Starting,
    /// active, deactivating, or anything else with processes.
    Alive,
}

impl Active {
    fn named(name: &str) -> Self {
        match name {
            "inactive" | "failed" => Self::Dead,
            "activating" => Self::Starting,
            _ => Self::Alive,
        }
    }
}

/// What systemd said of a unit last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct UnitState {
    pub active: Active,
    /// The run it is about.
    pub run: Option<ManagerId>,
    /// ExecMainPID: the main process, also when it has ended.
    pub main_pid: u32,
    /// ExecMainCode: a CLD_ constant of waitid(2), 0 while it runs.
    pub code: i32,
    /// ExecMainStatus: exit code or signal.
    pub status: i32,
    /// Result.
    pub result: String,
    /// A job was there after the start was done: somebody else's.
    pub foreign_job: bool,
    /// Jobs that are done and what became of them, by their paths.
    jobs: VecDeque<(String, String)>,
}

impl UnitState {
    /// Of a run that systemd does not tell about.
    pub fn unknown(run: ManagerId) -> Self {
        Self {
            run: Some(run),
            ..Self::default()
        }
    }

    /// What became of a job, if it is done.
    pub fn job(&self, path: &str) -> Option<&str> {
        let job = self.jobs.iter().find(|(job, _)| job == path);
        job.map(|(_, result)| result.as_str())
    }

    fn take_in(&mut self, interface: &str, changed: &HashMap<String, OwnedVariant>) {
        match interface {
            UNIT => {
                if let Some(active) = text(changed, "ActiveState") {
                    self.active = Active::named(active);
                }
                if let Some(run) = changed.get("InvocationID").and_then(run) {
                    self.run = Some(run);
                }
                if let Some(job) = changed.get("Job").and_then(job_number) {
                    self.foreign_job |= job != 0;
                }
            }
            SERVICE => {
                if let Some(pid) = changed
                    .get("ExecMainPID")
                    .and_then(|v| u32::try_from(v).ok())
                {
                    self.main_pid = pid;
                }
                if let Some(code) = changed
                    .get("ExecMainCode")
                    .and_then(|v| i32::try_from(v).ok())
                {
                    self.code = code;
                }
                let status = changed.get("ExecMainStatus");
                if let Some(status) = status.and_then(|v| i32::try_from(v).ok()) {
                    self.status = status;
                }
                if let Some(result) = text(changed, "Result") {
                    result.clone_into(&mut self.result);
                }
            }
            _ => {}
        }
    }
}

fn text<'a>(changed: &'a HashMap<String, OwnedVariant>, name: &str) -> Option<&'a str> {
    changed
        .get(name)
        .and_then(|value| <&str>::try_from(value).ok())
}

/// An InvocationID: 16 bytes; none while there was no run.
fn run(value: &OwnedVariant) -> Option<ManagerId> {
    let bytes: Vec<u8> = value.try_clone().ok()?.try_into().ok()?;
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    Some(ManagerId(InvocationId(bytes)))
}

/// The number in a `Job` property, 0 for none.
fn job_number(value: &OwnedVariant) -> Option<u32> {
    let (number, _): (u32, OwnedObjectPath) = value.try_clone().ok()?.try_into().ok()?;
    Some(number)
}

/// A unit that is listened to.
pub(super) struct Unit {
    pub name: String,
    state: watch::Sender<UnitState>,
}

impl Unit {
    pub fn state(&self) -> UnitState {
        self.state.borrow().clone()
    }

    /// Waits until what systemd says fits; for good, if it never does.
    pub async fn wait(&self, fits: impl FnMut(&UnitState) -> bool) -> UnitState {
        let mut states = self.state.subscribe();
        let found = states.wait_for(fits).await.map(|state| state.clone());
        match found {
            Ok(state) => state,
            // Never: the sender lives in this very unit.
            Err(_) => std::future::pending().await,
        }
    }

    /// Whatever jobs come now are somebody else's.
    pub fn expect_no_job(&self) {
        self.state.send_modify(|state| state.foreign_job = false);
    }

    /// Reads everything from systemd itself. A unit that is not loaded is dead.
    pub async fn refresh(&self, bus: &Bus) -> Result<UnitState, BusError> {
        let both = async {
            let unit = bus.properties(&self.name, UNIT).await?;
            let service = bus.properties(&self.name, SERVICE).await?;
            Ok((unit, service))
        };
        match both.await {
            Ok((unit, service)) => self.state.send_modify(|state| {
                state.take_in(SERVICE, &service);
                state.take_in(UNIT, &unit);
            }),
            Err(BusError::NoSuchUnit(_)) => {
                self.state.send_modify(|state| state.active = Active::Dead);
            }
            Err(error) => return Err(error),
        }
        Ok(self.state())
    }
}

/// The units that are listened to, by their paths.
#[derive(Default)]
pub(super) struct Ear {
    units: Mutex<BTreeMap<String, Arc<Unit>>>,
}

impl Ear {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Unit>>> {
        // Nothing panics while it is held.
        self.units.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens to a unit from now on, if nobody does yet.
    pub async fn unit(&self, bus: &Bus, name: &str) -> Result<Arc<Unit>, BusError> {
        let path = unit_path(name);
        if let Some(unit) = self.lock().get(&path) {
            return Ok(Arc::clone(unit));
        }
        let unit = Arc::new(Unit {
            name: name.to_owned(),
            state: watch::Sender::new(UnitState::default()),
        });
        // First known, then announced: no signal finds nobody.
        let unit = Arc::clone(self.lock().entry(path).or_insert(unit));
        bus.listen(name).await?;
        Ok(unit)
    }

    /// A unit that is listened to.
    pub fn known(&self, name: &str) -> Option<Arc<Unit>> {
        self.lock().get(&unit_path(name)).cloned()
    }

    /// Listens to a unit no more.
    pub async fn forget(&self, bus: &Bus, name: &str) {
        if self.lock().remove(&unit_path(name)).is_some() {
            bus.listen_no_more(name).await;
        }
    }

    fn all(&self) -> Vec<Arc<Unit>> {
        self.lock().values().cloned().collect()
    }

    fn hear(&self, message: &Message) {
        if message.message_type() != Type::Signal {
            return;
        }
        let header = message.header();
        let member = header.member().map(|member| member.as_str());
        match member {
            Some("PropertiesChanged") => {
                let path = header.path().map(|path| path.as_str());
                let unit = path.and_then(|path| self.lock().get(path).cloned());
                let Some(unit) = unit else { return };
                type Body = (String, HashMap<String, OwnedVariant>, Vec<String>);
                match message.body().deserialize::<Body>() {
                    Ok((interface, changed, _)) => {
                        unit.state
                            .send_modify(|state| state.take_in(&interface, &changed));
                    }
                    Err(error) => tracing::warn!(%error, "a signal of systemd is not understood"),
                }
            }
            Some("JobRemoved") => {
                type Body = (u32, OwnedObjectPath, String, String);
                let Ok((_, job, name, result)) = message.body().deserialize::<Body>() else {
                    return;
                };
                let Some(unit) = self.lock().get(&unit_path(&name)).cloned() else {
                    return;
                };
                unit.state.send_modify(|state| {
                    state.jobs.push_back((job.to_string(), result));
                    if state.jobs.len() > JOBS_MAX {
                        state.jobs.pop_front();
                    }
                });
            }
            _ => {}
        }
    }
}

async fn next(stream: &mut MessageStream) -> Option<zbus::Result<Message>> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

/// Hears what comes for as long as somebody wants to know, and connects again when the bus ends
/// the connection.
pub(super) async fn listen(ear: Weak<Ear>, bus: Weak<Bus>, mut stream: MessageStream) {
    loop {
        while let Some(message) = next(&mut stream).await {
            let Some(ear) = ear.upgrade() else { return };
            match message {
                Ok(message) if is_of_properties(&message) => ear.hear(&message),
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the connection to systemd"),
            }
        }
        tracing::warn!("the connection to systemd has ended; connecting again");
        drop(stream);
        stream = loop {
            let (Some(ear), Some(bus)) = (ear.upgrade(), bus.upgrade()) else {
                return;
            };
            bus.lost();
            match bus.connect().await {
                Ok(stream) => {
                    catch_up(&ear, &bus).await;
                    break stream;
                }
                Err(error) => tracing::debug!(%error, "systemd cannot be reached yet"),
            }
            drop((ear, bus));
            tokio::time::sleep(RECONNECT_PAUSE).await;
        };
        tracing::info!("connected to systemd again");
    }
}

fn is_of_properties(message: &Message) -> bool {
    let header = message.header();
    let interface = header.interface().map(|interface| interface.as_str());
    interface == Some(PROPERTIES)
        || header.member().map(|member| member.as_str()) == Some("JobRemoved")
}

/// What a new connection has to do: the former one took its references and rules along.
async fn catch_up(ear: &Ear, bus: &Bus) {
    for unit in ear.all() {
        let again = async {
            bus.listen(&unit.name).await?;
            match bus.reference(&unit.name).await {
                Ok(()) | Err(BusError::NoSuchUnit(_)) => {}
                Err(error) => return Err(error),
            }
            unit.refresh(bus).await.map(drop)
        };
        if let Err(error) = again.await {
            tracing::warn!(unit = unit.name, %error, "cannot catch up with a unit");
        }
    }
}

#[cfg(test)]
mod tests {
    use zbus::Variant;

    use super::*;

    fn changed(pairs: &[(&str, Variant<'static>)]) -> HashMap<String, OwnedVariant> {
        let pairs = pairs.iter().map(|(name, value)| {
            let value = value.try_clone().unwrap().try_into().unwrap();
            ((*name).to_owned(), value)
        });
        pairs.collect()
    }

    #[test]
    fn a_state_keeps_what_a_signal_does_not_mention() {
        let mut state = UnitState::default();
        let service = changed(&[
            ("ExecMainPID", Variant::from(42_u32)),
            ("ExecMainCode", Variant::from(2_i32)),
            ("ExecMainStatus", Variant::from(9_i32)),
            ("Result", Variant::from("signal")),
        ]);
        state.take_in(SERVICE, &service);
        let unit = changed(&[
            ("ActiveState", Variant::from("failed")),
            ("InvocationID", Variant::from(vec![7_u8; 16])),
        ]);
        state.take_in(UNIT, &unit);
        let expected = UnitState {
            active: Active::Dead,
            run: Some(ManagerId(InvocationId([7; 16]))),
            main_pid: 42,
            code: 2,
            status: 9,
            result: "signal".to_owned(),
            ..UnitState::default()
        };
        assert_eq!(state, expected);
        state.take_in(
            UNIT,
            &changed(&[("InvocationID", Variant::from(Vec::<u8>::new()))]),
        );
        assert_eq!(state, expected, "no run is no news");
    }
}
