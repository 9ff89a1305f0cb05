//! A look at everything finds what nobody told of: at the next one, not some time later.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use osmoda_core::{name::AgentName, observed::ExitStatus, spec::Agent};
use osmoda_nix::profiles::Profiles as _;
use osmoda_node::{reconcile::RESYNC, specs};
use osmoda_testkit::{alone::Alone, fake_runtime::fault::EventFault};
use serde_json::json;

/// Agents of a test: with these, whoever is planned anew whatever was found is somebody else.
const AGENTS: usize = 7;
/// Time in which whatever was found is dealt with.
const ROOM: Duration = Duration::from_secs(5);

fn name(number: usize) -> AgentName {
    AgentName::new(&format!("agent-{number}")).unwrap()
}

fn agent(number: usize, command: &str) -> Agent {
    let manifest = json!({
        "apiVersion": "osmoda/v1",
        "kind": "Agent",
        "metadata": {"name": name(number).as_str()},
        "spec": {"command": [command], "rollout": {"minReady": "1s"}},
    });
    specs::load_manifest(&manifest.to_string()).unwrap()
}

async fn settled() -> Alone {
    let alone = Alone::begin().await;
    for command in ["/bin/old", "/bin/new"] {
        let agents = (0..AGENTS).map(|number| agent(number, command));
        alone.declare(agents).await;
        tokio::time::sleep(3 * RESYNC).await;
    }
    assert_eq!(alone.world.running().len(), AGENTS);
    alone
}

#[tokio::test(start_paused = true)]
async fn an_end_that_nobody_told_of_is_found_at_the_next_look() {
    let alone = settled().await;
    for number in 0..AGENTS {
        let name = name(number);
        let before = alone.world.starts(&name);
        alone.world.order_event(&name, EventFault::Lost);
        let killed = ExitStatus::Signal {
            signal: 9,
            core_dumped: false,
        };
        assert!(alone.world.crash(&name, killed));
        tokio::time::sleep(RESYNC + ROOM).await;
        assert_eq!(alone.world.starts(&name), before + 1, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_a_person_chose_is_found_at_the_next_look() {
    let alone = settled().await;
    for number in 0..AGENTS {
        let name = name(number);
        let before = alone.world.starts(&name);
        let listed = alone.profiles.list(&name).unwrap();
        alone.profiles.switch(&name, &listed[0]).unwrap();
        tokio::time::sleep(RESYNC + ROOM).await;
        assert_eq!(alone.world.starts(&name), before + 1, "{name}");
    }
}
