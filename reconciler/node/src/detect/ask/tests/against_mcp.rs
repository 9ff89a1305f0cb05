use std::time::Duration;

use osmoda_core::probe::Answer;
use serde_json::{Value, json};

use super::{
    super::mcp,
    in_time,
    server::{self, Server, reply},
};

const PATIENCE: Duration = Duration::from_secs(30);
const JSON: &str = "content-type: application/json\r\n";
const STREAM: &str = "content-type: text/event-stream\r\n";

async fn ask(server: &Server) -> Answer {
    let url = format!("http://127.0.0.1:{}/mcp", server.port);
    in_time(PATIENCE, mcp::ask(&url)).await
}

fn why(answer: Answer) -> String {
    match answer {
        Answer::Failure(why) => why,
        other => panic!("no failure: {other:?}"),
    }
}

/// Method of a request, or DELETE.
fn method(request: &str) -> String {
    let body = request.split_once("\r\n\r\n").unwrap().1;
    match serde_json::from_str::<Value>(body) {
        Ok(message) => message["method"].as_str().unwrap().to_owned(),
        Err(_) => request.split(' ').next().unwrap().to_owned(),
    }
}

fn result(result: Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string()
}

fn error(code: i32, message: &str) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": message}}).to_string()
}

fn welcome(version: &str) -> String {
    let about = json!({"name": "test", "version": "1"});
    result(json!({"protocolVersion": version, "capabilities": {}, "serverInfo": about}))
}

/// A server that works, of a revision.
fn well(request: &str, version: &str) -> server::Answer {
    let session = format!("{JSON}Mcp-Session-Id: s-1\r\n");
    match &*method(request) {
        "initialize" => reply("200 OK", &session, &welcome(version)),
        "notifications/initialized" => reply("202 Accepted", "", ""),
        "ping" => reply("200 OK", JSON, &result(json!({}))),
        _ => reply("405 Method Not Allowed", "", ""),
    }
}

#[tokio::test]
async fn a_client_initializes_pings_and_ends_its_session() {
    let server = Server::new(|request| well(request, "2025-06-18")).await;
    assert_eq!(ask(&server).await, Answer::Success);
    // The goodbye is nobody's to wait for; it comes all the same.
    let goodbye = async {
        while server.requests().len() < 4 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, goodbye).await.unwrap();
    let requests = server.requests();
    let methods: Vec<String> = requests.iter().map(|request| method(request)).collect();
    let expected = ["initialize", "notifications/initialized", "ping", "DELETE"];
    assert_eq!(methods, expected);
    for request in &requests[..3] {
        assert!(request.starts_with("POST /mcp HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("accept: application/json, text/event-stream\r\n"));
        assert!(request.contains("content-type: application/json\r\n"));
    }
    assert!(!requests[0].contains("mcp-session-id"));
    assert!(requests[0].contains(r#""protocolVersion":"2025-11-25""#));
    for request in &requests[1..] {
        assert!(request.contains("mcp-session-id: s-1\r\n"), "{request}");
        assert!(
            request.contains("mcp-protocol-version: 2025-06-18\r\n"),
            "{request}"
        );
    }
}

#[tokio::test]
async fn every_known_revision_will_do_and_another_is_named() {
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let server = Server::new(move |request| well(request, version)).await;
        assert_eq!(ask(&server).await, Answer::Success, "{version}");
    }
    let server = Server::new(|request| well(request, "2099-01-01")).await;
    let expected = "it speaks MCP 2099-01-01; this prober knows \
                    2024-11-05, 2025-03-26, 2025-06-18, 2025-11-25";
    assert_eq!(why(ask(&server).await), expected);
}

#[tokio::test]
async fn an_answer_may_come_in_a_stream_that_does_not_end() {
    let server = Server::new(|request| match &*method(request) {
        name @ ("initialize" | "ping") => {
            let text = if name == "ping" {
                result(json!({}))
            } else {
                welcome("2025-03-26")
            };
            let note = json!({"jsonrpc": "2.0", "method": "notifications/message"});
            let head = format!("HTTP/1.1 200 OK\r\n{STREAM}\r\n");
            let events = format!("data: {note}\n\nevent: message\ndata: {text}\n\n");
            let more = b": still here\n\n".to_vec();
            server::Answer::Endless(format!("{head}{events}").into_bytes(), more)
        }
        _ => well(request, ""),
    })
    .await;
    assert_eq!(ask(&server).await, Answer::Success);
}

#[tokio::test]
async fn a_server_without_handshake_is_asked_to_introduce_itself() {
    let server = Server::new(|request| match &*method(request) {
        "initialize" => reply("400 Bad Request", JSON, &error(-32601, "Method not found")),
        "server/discover" => {
            let known = json!({"supportedVersions": ["2026-07-28"], "capabilities": {}});
            reply("200 OK", JSON, &result(known))
        }
        other => panic!("{other}"),
    })
    .await;
    assert_eq!(ask(&server).await, Answer::Success);
    let requests = server.requests();
    assert!(requests[1].contains("mcp-protocol-version: 2026-07-28\r\n"));
    assert!(requests[1].contains("mcp-method: server/discover\r\n"));
}

#[tokio::test]
async fn what_is_not_well_is_said() {
    type Case = (&'static str, fn() -> server::Answer, &'static str);
    let cases: [Case; 7] = [
        (
            "initialize",
            || reply("404 Not Found", "", "nothing here"),
            "initialize: HTTP 404 Not Found",
        ),
        (
            "initialize",
            || reply("200 OK", "content-type: text/html\r\n", "<html>"),
            "initialize: the answer is not JSON-RPC",
        ),
        (
            "initialize",
            || reply("200 OK", STREAM, "data: {}\n\n"),
            "initialize: the answer is not JSON-RPC",
        ),
        (
            "initialize",
            || reply("200 OK", JSON, &result(json!({"protocolVersion": 7}))),
            "it speaks MCP none; this prober knows \
             2024-11-05, 2025-03-26, 2025-06-18, 2025-11-25",
        ),
        (
            "notifications/initialized",
            || reply("400 Bad Request", "", ""),
            "notifications/initialized: HTTP 400 Bad Request",
        ),
        (
            "ping",
            || reply("200 OK", JSON, &error(-32603, "the model is gone")),
            "ping: error -32603: the model is gone",
        ),
        (
            "ping",
            || {
                let head = format!("HTTP/1.1 200 OK\r\n{JSON}\r\n").into_bytes();
                server::Answer::Endless(head, vec![b'['; 8192])
            },
            "ping: more than 262144 bytes of answer",
        ),
    ];
    for (at, answer, expected) in cases {
        let server = Server::new(move |request| match method(request) == at {
            true => answer(),
            false => well(request, "2025-06-18"),
        })
        .await;
        assert_eq!(why(ask(&server).await), expected);
    }
}

#[tokio::test]
async fn a_url_has_to_be_one() {
    for url in ["", "localhost:80/mcp", "ftp://localhost/mcp", "http:///mcp"] {
        let why = why(in_time(PATIENCE, mcp::ask(url)).await);
        assert_eq!(why, format!("{url} is no URL of http or https"));
    }
}
