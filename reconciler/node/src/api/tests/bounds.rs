//! What is beyond a bound is refused in the form of every other refusal, and nobody else waits.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

use super::{Entries, Scene, limits, parse};
use crate::api::refusals::WINDOW;

#[tokio::test]
async fn a_head_that_cannot_be_read_is_refused_in_words() {
    let scene = Scene::start();
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000));
    let long = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(200_000));
    for (request, status) in [
        ("\0\0\0\0\r\n\r\n", 400),
        ("GET / HTTP/9.9\r\n\r\n", 400),
        (many.as_str(), 431),
        (long.as_str(), 431),
    ] {
        let mut stream = scene.connect().await;
        // The server may have its answer, and hang up, before it has read everything.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let (found, object) = parse(&String::from_utf8_lossy(&answer));
        let begin = &request[..request.len().min(30)];
        assert_eq!(
            (found, &object["code"]),
            (status, &json!("InvalidRequest")),
            "{begin:?}: {object}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_arrive_is_given_up_in_words_and_an_idle_peer_in_silence() {
    let scene = Scene::start();
    for (sent, status) in [("GET /v1/status HT", 408), ("", 0)] {
        let mut stream = scene.connect().await;
        let begun = Instant::now();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (found, object) = parse(&answer);
        assert_eq!(found, status, "{sent:?}: {answer}");
        assert_eq!(object["code"].is_string(), status != 0);
        assert!(begun.elapsed() >= limits::HEAD_TIME_MAX);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_announced_to_be_too_large_is_not_waited_for() {
    let scene = Scene::start();
    let head = format!(
        "POST /v1/plan HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        limits::BODY_BYTES_MAX + 1
    );
    let begun = Instant::now();
    let (status, object) = parse(&scene.raw(head.as_bytes()).await);
    assert_eq!((status, &object["code"]), (413, &json!("InvalidRequest")));
    assert_eq!(begun.elapsed(), std::time::Duration::ZERO, "of paused time");
}

#[tokio::test]
async fn an_error_repeats_a_bounded_part_of_what_was_sent() {
    let scene = Scene::start();
    let path = format!("/{}", "ü".repeat(limits::MESSAGE_LETTERS_MAX));
    let path: String = form_urlencoded::byte_serialize(path.as_bytes()).collect();
    let (status, object) = scene.get(&format!("/{path}")).await;
    assert_eq!(status, 404);
    let message = object["message"].as_str().unwrap();
    assert_eq!(message.chars().count(), limits::MESSAGE_LETTERS_MAX + 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_is_given_up_and_nothing_of_it_is_done() {
    let scene = Scene::start();
    let head = "POST /v1/agents/a/pause HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                content-length: 20\r\n\r\n{\"reason\"";
    let (status, object) = parse(&scene.raw(head.as_bytes()).await);
    assert_eq!((status, &object["code"]), (408, &json!("InvalidRequest")));
    assert_eq!(scene.heard(), [""; 0]);
}

#[tokio::test]
async fn a_peer_that_drips_holds_one_place_and_nobody_up() {
    let scene = Scene::start();
    let mut slow = Vec::new();
    for _ in 0..limits::ACTOR_CONNECTIONS_MAX - 1 {
        let mut stream = scene.connect().await;
        stream.write_all(b"GET /v1/sta").await.unwrap();
        slow.push(stream);
    }
    assert_eq!(scene.get("/v1/status").await.0, 200);
}

#[tokio::test]
async fn a_wrong_method_says_which_are_right() {
    let scene = Scene::start();
    let request = "DELETE /v1/plan HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = scene.raw(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    assert!(answer.contains("allow: GET, POST\r\n"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_again_and_again_is_put_together() {
    let scene = Scene::with(Entries::of(5, &["a"]), true);
    for _ in 0..20 {
        assert_eq!(scene.send("POST", "/v1/agents/a/restart", "").await.0, 403);
    }
    let ends = |times: &str| {
        let heard = scene.heard();
        heard.iter().filter(|said| said.ends_with(times)).count()
    };
    assert_eq!((scene.heard().len(), ends(" x 1")), (1, 1));
    tokio::time::sleep(WINDOW * 2).await;
    assert_eq!((scene.heard().len(), ends(" x 19")), (2, 1));
}
