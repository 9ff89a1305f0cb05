use std::{collections::BTreeMap, time::Duration};

use osmoda_core::{probe::Answer, spec::Scheme};
use tokio::net::TcpListener;

use super::{
    super::{http, tcp, wire::Target},
    in_time,
    server::{self, Server, reply},
};

/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Short enough to be waited for.
const SHORT: Duration = Duration::from_millis(200);
/// `expect` of a spec that says nothing.
const DEFAULT: (u16, u16) = (200, 399);

async fn get(port: u16, limit: Duration, expect: (u16, u16)) -> Answer {
    let target = Target::new(Scheme::Http, "127.0.0.1", port);
    in_time(limit, http::ask(target, "/", &BTreeMap::new(), expect)).await
}

/// What a probe makes of this answer.
async fn of(answer: server::Answer) -> Answer {
    let server = Server::saying(answer).await;
    get(server.port, PATIENCE, DEFAULT).await
}

fn why(answer: Answer) -> String {
    match answer {
        Answer::Failure(why) => why,
        other => panic!("no failure: {other:?}"),
    }
}

#[tokio::test]
async fn the_status_decides_and_the_body_explains() {
    for status in ["200 OK", "204 No Content", "304 Not Modified"] {
        assert_eq!(of(reply(status, "", "")).await, Answer::Success, "{status}");
    }
    let down = of(reply(
        "503 Service Unavailable",
        "",
        "the model is loading\n",
    ))
    .await;
    let expected = "HTTP 503 Service Unavailable: the model is loading";
    assert_eq!(why(down), expected);
    assert_eq!(
        why(of(reply("404 Not Found", "", "")).await),
        "HTTP 404 Not Found"
    );
}

#[tokio::test]
async fn the_spec_says_which_status_is_well() {
    let teapot = Server::saying(reply("418 I'm a teapot", "", "")).await;
    assert_eq!(
        get(teapot.port, PATIENCE, (418, 418)).await,
        Answer::Success
    );
    let well = Server::saying(reply("200 OK", "", "")).await;
    assert_eq!(
        why(get(well.port, PATIENCE, (204, 204)).await),
        "HTTP 200 OK"
    );
}

#[tokio::test]
async fn an_answer_that_is_none_fails() {
    let answers = [
        "",
        "\0\u{1}\u{2} garbage\r\n\r\n",
        "HTTP/1.1 200 OK\r\nserver: half a he",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf a body",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
    ];
    for answer in answers {
        let why = why(of(answer.into()).await);
        assert!(why.starts_with("no HTTP answer: "), "{answer:?}: {why}");
    }
}

#[tokio::test]
async fn ten_megabytes_of_headers_are_not_read() {
    let line = format!("x-long: {}\r\n", "x".repeat(1000));
    let head = format!("HTTP/1.1 200 OK\r\n{}\r\n", line.repeat(10_000));
    let why = why(of((&*head).into()).await);
    assert!(why.starts_with("no HTTP answer: "), "{why}");
}

#[tokio::test]
async fn a_body_without_end_is_read_as_far_as_needed() {
    let head = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    let body = vec![b'x'; 8192];
    let endless = of(server::Answer::Endless(head, body)).await;
    assert_eq!(endless, Answer::Success);
}

#[tokio::test]
async fn bytes_that_are_no_text_do_no_harm() {
    let head = b"HTTP/1.1 200 OK\r\nx-bytes: \xff\xfe\r\ncontent-length: 1\r\n\r\n\xff".to_vec();
    assert_eq!(of(server::Answer::Bytes(head)).await, Answer::Success);
    let bad = b"HTTP/1.1 500 \xff\xfe\r\ncontent-length: 1\r\n\r\n\xff".to_vec();
    let why = why(of(server::Answer::Bytes(bad)).await);
    assert_eq!(why, "HTTP 500 Internal Server Error: \u{fffd}");
}

#[tokio::test]
async fn what_does_not_come_in_time_is_a_failure() {
    let drip = b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\nslowly".to_vec();
    for answer in [server::Answer::Never, server::Answer::Drip(drip)] {
        let server = Server::saying(answer).await;
        let why = why(get(server.port, SHORT, DEFAULT).await);
        assert_eq!(why, "no answer within 200ms");
    }
}

#[tokio::test]
async fn a_dead_port_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_eq!(
        in_time(PATIENCE, tcp::ask("127.0.0.1", port)).await,
        Answer::Success
    );
    drop(listener);
    let expected = format!("cannot connect to 127.0.0.1:{port}: Connection refused");
    let http = why(get(port, PATIENCE, DEFAULT).await);
    assert!(http.starts_with(&expected), "{http}");
    let tcp = why(in_time(PATIENCE, tcp::ask("127.0.0.1", port)).await);
    assert!(tcp.starts_with(&expected), "{tcp}");
    let nobody = why(in_time(PATIENCE, tcp::ask("no-such-host.invalid", port)).await);
    assert!(
        nobody.starts_with("cannot connect to no-such-host.invalid:"),
        "{nobody}"
    );
}

#[tokio::test]
async fn a_redirect_to_the_same_host_is_followed() {
    let server = Server::new(|request| match request.split(' ').nth(1).unwrap() {
        "/" => reply("302 Found", "location: /a/b\r\n", ""),
        "/a/b" => reply("307 Temporary Redirect", "location: c?d\r\n", ""),
        "/a/c?d" => reply("500 Internal Server Error", "", "arrived"),
        other => panic!("{other}"),
    })
    .await;
    let answer = get(server.port, PATIENCE, DEFAULT).await;
    assert_eq!(why(answer), "HTTP 500 Internal Server Error: arrived");
}

#[tokio::test]
async fn a_redirect_in_a_circle_ends() {
    let server = Server::saying(reply("301 Moved Permanently", "location: /\r\n", "")).await;
    let answer = get(server.port, PATIENCE, DEFAULT).await;
    assert_eq!(why(answer), "more than 10 redirects");
    assert_eq!(server.requests().len(), 11);
}

#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed_and_said() {
    let away = reply("302 Found", "location: https://example.org/login\r\n", "");
    let server = Server::saying(away).await;
    let said = "HTTP 302 to example.org, another host, which was not asked";
    let answer = get(server.port, PATIENCE, DEFAULT).await;
    assert_eq!(answer, Answer::Warning(said.to_owned()));
    let answer = get(server.port, PATIENCE, (200, 299)).await;
    assert_eq!(why(answer), "HTTP 302 Found");
}

#[tokio::test]
async fn a_redirect_that_is_expected_is_the_answer() {
    let server = Server::saying(reply("302 Found", "location: /\r\n", "")).await;
    assert_eq!(
        get(server.port, PATIENCE, (302, 302)).await,
        Answer::Success
    );
    assert_eq!(server.requests().len(), 1);
    let nowhere = Server::saying(reply("302 Found", "", "")).await;
    assert_eq!(get(nowhere.port, PATIENCE, DEFAULT).await, Answer::Success);
}

#[tokio::test]
async fn headers_are_the_probers_unless_the_spec_has_its_own() {
    let server = Server::saying(reply("200 OK", "", "")).await;
    let target = || Target::new(Scheme::Http, "127.0.0.1", server.port);
    let own = [
        ("Host", "app.example"),
        ("X-Token", "abc"),
        ("User-Agent", ""),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    for headers in [BTreeMap::new(), BTreeMap::from(own)] {
        http::ask(target(), "/x?y=1", &headers, DEFAULT)
            .await
            .unwrap();
    }
    let requests = server.requests();
    let [plain, told] = &requests[..] else {
        panic!("{requests:?}");
    };
    assert!(plain.starts_with("GET /x?y=1 HTTP/1.1\r\n"), "{plain}");
    let agent = concat!(
        "user-agent: osmoda-probe/",
        env!("CARGO_PKG_VERSION"),
        "\r\n"
    );
    let host = format!("host: 127.0.0.1:{}\r\n", server.port);
    for line in [agent, &host, "accept: */*\r\n", "connection: close\r\n"] {
        assert!(plain.contains(line), "{line:?}: {plain}");
    }
    for line in ["host: app.example\r\n", "x-token: abc\r\n"] {
        assert!(told.contains(line), "{line:?}: {told}");
    }
    assert!(!told.contains("user-agent"), "{told}");
}

#[tokio::test]
async fn a_server_without_tls_is_not_taken_for_one() {
    let server = Server::saying(reply("200 OK", "", "")).await;
    let target = Target::new(Scheme::Https, "127.0.0.1", server.port);
    let headers = BTreeMap::new();
    let asking = http::ask(target, "/", &headers, DEFAULT);
    // It waits for the end of what it takes for a request.
    let why = why(in_time(SHORT, asking).await);
    assert_eq!(why, "no answer within 200ms");
}

#[tokio::test]
async fn over_tls_anybodys_certificate_will_do() {
    let port = server::secure(reply("200 OK", "", "")).await;
    for host in ["127.0.0.1", "localhost"] {
        let target = Target::new(Scheme::Https, host, port);
        let headers = BTreeMap::new();
        let asking = http::ask(target, "/", &headers, DEFAULT);
        assert_eq!(in_time(PATIENCE, asking).await, Answer::Success, "{host}");
    }
    let plain = get(port, PATIENCE, DEFAULT).await;
    assert!(
        why(plain).starts_with("no HTTP answer"),
        "TLS is not plain HTTP"
    );
}
