//! A system that shows the monitor how it is switched, and can be sabotaged.

use std::{future::Future, pin::Pin, sync::Arc};

use osmoda_core::{
    observed::Generation,
    system::{SwitchEnd, Switching},
};
use osmoda_nix::{
    store::{Verified, Watch},
    system::{MemorySystem, SwitchRequest, SystemState, SystemSwitcher},
};
use osmoda_node::reconcile::system::System;

use super::{super::monitor::Monitor, Sabotage};

/// The loop's view of the machine.
pub struct WatchedSystem {
    pub(in super::super) honest: Arc<MemorySystem>,
    pub(in super::super) monitor: Monitor,
    pub(in super::super) how: Sabotage,
}

type Switched = Pin<Box<dyn Future<Output = SwitchEnd> + Send>>;

impl System for WatchedSystem {
    fn observe(&self) -> Result<SystemState, String> {
        System::observe(&*self.honest)
    }

    fn generations(&self) -> Result<Vec<Generation>, String> {
        System::generations(&*self.honest)
    }

    fn has_store(&self) -> bool {
        System::has_store(&*self.honest)
    }

    fn verify(&self, generation: &Generation, watch: &Watch<'_>) -> Result<Verified, String> {
        System::verify(&*self.honest, generation, watch)
    }

    fn carry_out(self: Arc<Self>, mut request: SwitchRequest) -> Switched {
        if self.how == Sabotage::SwitchesElsewhere
            && let Ok(listed) = System::generations(&*self.honest)
            && let Some(other) = listed.into_iter().find(|g| *g != request.to)
        {
            request.to = other;
        }
        self.monitor.switches_system(request.id, &request.to);
        Box::pin(async move {
            if self.how == Sabotage::SwitchesAnew {
                // Whatever becomes of it, nobody remembers that it was begun.
                drop(SystemSwitcher::switch_to(&*self.honest, &request).await);
                drop(SystemSwitcher::forget(&*self.honest, request.id));
            }
            let end = System::carry_out(Arc::clone(&self.honest), request).await;
            self.monitor.launched(&self.honest.launches());
            match self.how {
                Sabotage::ForgetsSwitches => std::future::pending().await,
                _ => end,
            }
        })
    }

    fn forget(&self, switching: &Switching) {
        System::forget(&*self.honest, switching);
    }
}
