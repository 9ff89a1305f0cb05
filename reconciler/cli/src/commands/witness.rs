//! `osmoda witness`: cosigns the checkpoints of other nodes' ledgers, until SIGTERM.

use std::{fs, os::unix::fs::DirBuilderExt as _, path::Path, sync::Arc};

use osmoda_ledger::{
    note::NoteSigner,
    sign::key_file,
    witness::{Memory, Witness as Cosigner},
};
use osmoda_node::{error::chain, witness::serve};
use osmoda_runtime::clock::SystemClock;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use super::{on_runtime, paths, report::verifier_keys, run::log_to_stderr};
use crate::{
    args::{Global, Witness},
    failure::{Answer, Failure, Outcome},
    output,
};

/// Serves until SIGTERM or SIGINT.
pub fn witness(global: &Global, args: &Witness) -> Outcome {
    let logs = verifier_keys(&args.logs)?;
    let state = paths(global)?.state;
    log_to_stderr();
    let mut make = fs::DirBuilder::new();
    make.recursive(true)
        .mode(0o700)
        .create(&state)
        .map_err(|error| {
            Failure::internal(format!("cannot create {}: {error}", state.display()))
                .hint("name a directory where you may write with --state-dir")
        })?;
    let memory = state.join("witness.db");
    let key = args
        .key
        .clone()
        .unwrap_or_else(|| state.join("witness.key"));
    let (signer, memory) = open(&key, &memory, args.name.as_deref())?;
    let cosigner = Cosigner::new(signer, logs, memory);
    let cosigner = cosigner.map_err(|error| Failure::usage(error.to_string()))?;
    on_runtime(listen(args, Arc::new(cosigner)))
}

/// A key and its memory belong together: a witness that forgot what it signed could be made to
/// sign a second history.
fn open(key: &Path, memory: &Path, name: Option<&str>) -> Result<(NoteSigner, Memory), Failure> {
    let broken = |error: &dyn std::error::Error| Failure::internal(chain(error));
    let known = key_file::read_witness(key).map_err(|error| broken(&error))?;
    if known.is_some() && !Memory::exists(memory) {
        let message = format!(
            "the key {} has been in use, but what it signed, {}, is gone",
            key.display(),
            memory.display()
        );
        return Err(Failure::usage(message).hint(
            "bring that file back, or begin anew under a new key: move the old one away and tell \
             the nodes the new public key",
        ));
    }
    // The memory comes first: a key that is there always has one.
    let opened = Memory::open(memory).map_err(|error| broken(&error))?;
    let signer = match known {
        Some(signer) => signer,
        None => {
            let name = name.map_or_else(default_name, str::to_owned);
            key_file::make_witness(key, &name).map_err(|error| broken(&error))?
        }
    };
    Ok((signer, opened))
}

/// `HOST/osmoda-witness`.
fn default_name() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let host = if host.is_empty() { "host" } else { host };
    format!("{host}/osmoda-witness")
}

async fn listen(args: &Witness, cosigner: Arc<Cosigner>) -> Outcome {
    let refused = |error: std::io::Error| {
        Failure::internal(format!("cannot listen on {}: {error}", args.listen))
            .hint("name another address or port with --listen")
    };
    let listener = TcpListener::bind(args.listen).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let clock = SystemClock::new().map_err(|error| Failure::because(&error))?;
    let waited = |kind| {
        let refused = |error| Failure::internal(format!("cannot wait for signals: {error}"));
        signal(kind).map_err(refused)
    };
    let mut terminate = waited(SignalKind::terminate())?;
    let mut interrupt = waited(SignalKind::interrupt())?;
    let mut text = format!(
        "witness {}\nlistening on http://{address}\n",
        cosigner.verifier()
    );
    for origin in cosigner.origins() {
        text.push_str(&format!("watching {origin}\n"));
    }
    output::print(&text)?;
    let ended = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    serve(listener, cosigner, Arc::new(clock), ended).await;
    Ok(Answer::Yes)
}
