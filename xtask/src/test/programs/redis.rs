//! redis-server, supervised as under systemd: it says READY=1 and its state by sd_notify(3).

use std::path::{Path, PathBuf};

use anyhow::ensure;
use serde_json::json;

use super::{Agent, Program, talk};
use crate::package;

pub struct Redis;

impl Program for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn install(&self) -> anyhow::Result<PathBuf> {
        package::ensure("redis-server", "redis-server", || {
            println!("  redis-server is missing: apt-get install redis-server");
        })
    }

    fn agent(&self, program: &Path, place: &Path, port: u16) -> anyhow::Result<Agent> {
        let port_text = port.to_string();
        let spec = json!({
            "command": [
                program, "--port", port_text, "--bind", "127.0.0.1", "--dir", place,
                "--save", "", "--supervised", "systemd",
            ],
            "probes": {"liveness": {
                "exec": {"command": [
                    "/bin/sh", "-c", format!("redis-cli -p {port} ping | grep -q PONG"),
                ]},
                "timeout": "2s",
            }},
            "rollout": {"minReady": "500ms"},
            "stop": {"gracePeriod": "5s"},
        });
        Ok(Agent {
            spec,
            frozen: "Unhealthy",
            works: Box::new(move |message| {
                // It says so by STATUS= only if it took the notify socket for systemd's.
                ensure!(
                    message.starts_with("Ready to accept connections"),
                    "its STATUS= is {message:?}"
                );
                talk::expect(port, "PING\r\n", "+PONG")
            }),
        })
    }
}
