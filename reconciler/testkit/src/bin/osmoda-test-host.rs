//! A daemon that does one thing: it starts one agent and waits to be killed.
//!
//! `osmoda-test-host DIRECTORY auto|off INVOCATION start|prepare COMMAND...` prints `starting`,
//! then `started PID`; with `prepare` it never gives the word, and prints no more. It ends by
//! itself after five minutes.

#![allow(clippy::print_stdout, reason = "its output is read by the test")]

use std::{env, error::Error, path::Path, sync::Arc, time::Duration};

use osmoda_core::{observed::InvocationId, spec::AgentSpec};
use osmoda_runtime::{
    Runtime as _, StartRequest,
    clock::SystemClock,
    native::{Cgroups, NativeOptions, NativeRuntime},
};
use osmoda_testkit::conformance::{agent, generation, pid};

/// Longest life, in case nobody kills it.
const LIFE_MAX: Duration = Duration::from_secs(300);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [directory, cgroups, invocation, verb, command @ ..] = &arguments[..] else {
        return Err(
            "usage: osmoda-test-host DIRECTORY auto|off INVOCATION start|prepare COMMAND...".into(),
        );
    };
    let place = |name: &str| Path::new(directory).join(name);
    let clock = Arc::new(SystemClock::new()?);
    let mut options = NativeOptions::new(place("run"), place("log"), place("state"), clock);
    if cgroups == "off" {
        options.cgroups = Cgroups::Off;
    }
    let runtime = NativeRuntime::open(options)?;
    println!("starting");
    let request = StartRequest {
        agent: agent(),
        invocation: InvocationId::from_hex(invocation)?,
        generation: generation(),
        spec: Arc::new(AgentSpec::new(command.to_vec())),
    };
    if verb == "prepare" {
        let _prepared = runtime.prepare(request);
        tokio::time::sleep(LIFE_MAX).await;
        return Ok(());
    }
    let instance = runtime.start(request).await?;
    println!("started {}", pid(&instance));
    tokio::time::sleep(LIFE_MAX).await;
    Ok(())
}
