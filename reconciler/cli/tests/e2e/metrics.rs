//! /metrics over TCP: where the Node says, of the agents that there are, and nothing else.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use serde_json::json;

use crate::support::{Agent, Scene, eventually, kill};

/// Longest wait for a piece of an answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// An address that nobody listens on now.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn serve_at(scene: &Scene, address: SocketAddr) {
    let node = json!({
        "apiVersion": "osmoda/v1", "kind": "Node",
        "spec": {"listen": {"metrics": address}},
    });
    scene.write_spec("node.json", &node.to_string());
}

fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: e2e\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[track_caller]
fn until_shown(address: SocketAddr, series: &str) -> String {
    eventually(series, || {
        get(address, "/metrics")
            .ok()
            .filter(|text| text.contains(series))
    })
}

#[test]
fn metrics_tell_of_a_failure_and_of_the_recovery_from_it() {
    let scene = Scene::with(&[Agent::test("a", "sleep")]);
    let address = free_address();
    serve_at(&scene, address);
    let _daemon = scene.daemon();
    let pid = scene.pid("a");
    until_shown(address, "osmoda_agent_ready{agent=\"a\"} 1\n");
    kill(pid);
    let text = until_shown(address, "osmoda_recovery_seconds_count 1\n");
    for series in [
        "osmoda_agent_failures_total{agent=\"a\",reason=\"Crashed\"} 1\n",
        "osmoda_agent_restarts_total{agent=\"a\",reason=\"Crashed\"} 1\n",
        "osmoda_agent_up{agent=\"a\"} 1\n",
        "osmoda_agent_memory_bytes{agent=\"a\"} ",
    ] {
        assert!(text.contains(series), "{series}: {text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn metrics_follow_the_specs_and_an_agent_that_is_gone_is_gone() {
    let scene = Scene::with(&[Agent::test("a", "sleep"), Agent::test("b", "sleep")]);
    let (first, second) = (free_address(), free_address());
    serve_at(&scene, first);
    let _daemon = scene.daemon();
    until_shown(first, "osmoda_agent_up{agent=\"b\"} 1\n");
    assert!(
        get(first, "/v1/status")
            .unwrap()
            .starts_with("HTTP/1.1 404")
    );

    serve_at(&scene, second);
    until_shown(second, "osmoda_agents 2\n");
    eventually("the first address is closed", || {
        get(first, "/metrics").err()
    });

    scene.withdraw("b");
    let text = until_shown(second, "osmoda_agents 1\n");
    assert!(!text.contains("agent=\"b\""), "{text}");
}
