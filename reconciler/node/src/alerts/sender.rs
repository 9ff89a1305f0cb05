//! One receiver's life: take the next message that may go, try it, and say what became of it.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::{
    format::Verdict,
    item::Item,
    outbox::{Next, Outbox},
    send::{self, Carrier},
};

/// Longest sleep without a look at the clock, which also runs while the machine is suspended.
const LOOK_MAX: Duration = Duration::from_secs(60);
/// Pause before what became of a message is tried to be recorded again.
const RECORD_RETRY: Duration = Duration::from_secs(1);

/// What a task works with.
pub struct Sender {
    name: String,
    outbox: Arc<Outbox>,
    carrier: Arc<dyn Carrier>,
    wake: Arc<Notify>,
}

impl Sender {
    /// For a receiver; `wake` tells that something is new.
    pub fn new(
        name: String,
        outbox: Arc<Outbox>,
        carrier: Arc<dyn Carrier>,
        wake: Arc<Notify>,
    ) -> Self {
        Self {
            name,
            outbox,
            carrier,
            wake,
        }
    }

    /// Until it is aborted.
    pub async fn run(self) {
        loop {
            match self.outbox.next(&self.name) {
                Next::Wait(wait) => {
                    let wait = wait.unwrap_or(LOOK_MAX).min(LOOK_MAX);
                    // Woken or not, it looks again.
                    let _ = timeout(wait, self.wake.notified()).await;
                }
                Next::GiveUp(number, item) => {
                    let why = "it could not be delivered for a week";
                    tracing::warn!(receiver = self.name, reason = why, "an alert is given up");
                    self.outbox.give_up(&self.name, number, &item, why).await;
                }
                Next::Send(number, item, alert) => {
                    let (outbox, carrier) = (&*self.outbox, &*self.carrier);
                    let verdict = send::attempt(outbox, carrier, &alert, &item).await;
                    self.conclude(number, &item, verdict).await;
                }
            }
        }
    }

    async fn conclude(&self, number: u64, item: &Item, verdict: Verdict) {
        let (outbox, name) = (&self.outbox, self.name.as_str());
        match verdict {
            Verdict::Delivered => self.delivered(number, item).await,
            Verdict::Refused(why) => outbox.refused(name, number, &why, fraction()).await,
            Verdict::Later(why, asked) => {
                outbox.failed(name, number, &why, asked, fraction()).await;
            }
        }
    }

    /// Until it is on record: what was taken is never sent again, also on a full disk.
    async fn delivered(&self, number: u64, item: &Item) {
        while let Err(error) = self.outbox.delivered(&self.name, number, item).await {
            tracing::warn!(receiver = self.name, %error, "a delivered alert is not on record yet");
            sleep(RECORD_RETRY).await;
        }
        tracing::info!(receiver = self.name, key = item.key, "alert delivered");
    }
}

/// A number from 0 to 1 of the kernel's random numbers; 0 where it has none yet.
fn fraction() -> f64 {
    let mut bytes = [0; 4];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK);
    match filled {
        Ok(4) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        _ => 0.0,
    }
}
