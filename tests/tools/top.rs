//! `lipservice top` without a terminal: one plain table, or an error that says what to do.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};

fn top(endpoint: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lipservice"));
    command.args(["top", "--limit", "5", "--endpoint", endpoint]).env_remove("http_proxy").env_remove("HTTP_PROXY");
    command.output().unwrap()
}

/// Answers one request with `body`, none after it, and returns the request's first line.
fn answer(body: &'static str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut request, mut buffer) = (Vec::new(), [0; 1024]);
        while !request.ends_with(b"\r\n\r\n") {
            let read = stream.read(&mut buffer).unwrap();
            assert!(read > 0, "the request ended early");
            request.extend_from_slice(&buffer[..read]);
        }
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        String::from_utf8_lossy(&request).lines().next().unwrap().to_owned()
    });
    (endpoint, server)
}

#[test]
fn a_table_is_printed_once() {
    let (endpoint, server) = answer(
        r#"{"window_seconds":10,"totals":{"received":10,"kept":4,"dropped":6,"refused":0,"bytes_in":1000,"bytes_kept":400},
            "patterns":[{"service":"web","severity":"info","signature":"00000000000000ff","template":"GET <*>\u001b[2J","records":10,
            "bytes":1000,"kept":4,"dropped":6,"records_per_second":1.0,"reason":"default"}]}"#,
    );
    let output = top(&endpoint);
    assert_eq!(server.join().unwrap(), "GET /patterns?limit=5 HTTP/1.1");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(text.starts_with("in 10   kept 4 (40.0%)   dropped 6   refused 0   bytes saved 600 B (60.0%)\n"), "{text}");
    assert!(text.contains("00000000000000ff GET <*>[2J\n") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn another_server_is_an_error_that_helps() {
    let (endpoint, server) = answer("<html>");
    let output = top(&endpoint);
    server.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("not the patterns of a LipService gateway") && text.contains("metrics address"), "{text}");
}
