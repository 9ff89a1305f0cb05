//! The reference server of the Model Context Protocol, from npm, over streamable HTTP behind an
//! mcp probe.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::{Agent, Program, talk};
use crate::{package, project};

/// Its name at npm.
const PACKAGE: &str = "@modelcontextprotocol/server-everything";

/// What a client says first (Model Context Protocol, lifecycle: initialization).
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-03-26","capabilities":{},"clientInfo":{"name":"xtask","version":"1"}}}"#;

pub struct Everything;

impl Program for Everything {
    fn name(&self) -> &'static str {
        "mcp"
    }

    fn install(&self) -> anyhow::Result<PathBuf> {
        let npm = package::ensure("npm", "npm", || {
            println!("  npm is missing: apt-get install npm");
        })?;
        let prefix = project::target().join("test/programs/npm");
        let main = prefix
            .join("node_modules")
            .join(PACKAGE)
            .join("dist/index.js");
        if !main.is_file() {
            let install = &mut Command::new(npm);
            install.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]);
            project::output(install.arg(&prefix).arg(PACKAGE))
                .with_context(|| format!("installing {PACKAGE}"))?;
        }
        ensure!(main.is_file(), "{PACKAGE} has no {}", main.display());
        Ok(main)
    }

    fn agent(&self, program: &Path, _place: &Path, port: u16) -> anyhow::Result<Agent> {
        let node = project::find_program("node").context("node is not to be found")?;
        let spec = json!({
            "command": [node, program, "streamableHttp"],
            "environment": {"PORT": port.to_string()},
            "probes": {
                "liveness": {
                    "mcp": {"url": format!("http://127.0.0.1:{port}/mcp")},
                    "timeout": "3s",
                },
            },
            "rollout": {"minReady": "500ms"},
            "stop": {"gracePeriod": "5s"},
        });
        Ok(Agent {
            spec,
            frozen: "Unhealthy",
            works: Box::new(move |_| {
                let request = format!(
                    "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\
                     Content-Type: application/json\r\n\
                     Accept: application/json, text/event-stream\r\n\
                     Content-Length: {}\r\n\r\n{INITIALIZE}",
                    INITIALIZE.len()
                );
                talk::expect(port, &request, "serverInfo")
            }),
        })
    }
}
