//! nginx behind an HTTP probe: a master that starts workers, and needs no word of osmoda.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Agent, Program, talk};
use crate::{package, project};

pub struct Nginx;

impl Program for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn install(&self) -> anyhow::Result<PathBuf> {
        package::ensure("nginx", "nginx", || {
            println!("  nginx is missing: apt-get install nginx");
        })
    }

    fn agent(&self, program: &Path, place: &Path, port: u16) -> anyhow::Result<Agent> {
        let configuration = place.join("nginx.conf");
        project::write_file(&configuration, configuration_for(port))?;
        let spec = json!({
            "command": [program, "-p", place, "-e", "stderr", "-c", configuration],
            "probes": {"liveness": {"httpGet": {"port": port, "path": "/"}}},
            "rollout": {"minReady": "500ms"},
            "stop": {"gracePeriod": "5s"},
        });
        Ok(Agent {
            spec,
            frozen: "Unhealthy",
            works: Box::new(move |_| {
                let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
                talk::expect(port, request, "served by nginx")
            }),
        })
    }
}

/// All that it writes stays below its prefix.
fn configuration_for(port: u16) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("    {name}_temp_path {name};\n"))
        .concat();
    format!(
        "daemon off;\n\
         worker_processes 2;\n\
         pid nginx.pid;\n\
         events {{}}\n\
         http {{\n    access_log off;\n{temporary}\
         \x20   server {{\n        listen 127.0.0.1:{port};\n        \
         location / {{ return 200 \"served by nginx\"; }}\n    }}\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_keeps_nginx_in_the_foreground_and_in_its_place() {
        let text = configuration_for(8080);
        assert!(text.starts_with("daemon off;\n"), "{text}");
        assert!(text.contains("    listen 127.0.0.1:8080;\n"), "{text}");
        assert!(text.contains("    proxy_temp_path proxy;\n"), "{text}");
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }
}
