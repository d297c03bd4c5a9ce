//! What the server tells about itself: counters over the protocol, and the text that Prometheus reads.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;

use common::Server;
use protocol::Operation;

fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn counters_say_who_did_what_and_when() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let server = Server::start_with(&[&format!("--metrics=127.0.0.1:{port}")]);
    let mut guest =
        protocol::host::Files::connect(server.options().named("m00 \"files\"")).unwrap();
    for _ in 0..3 {
        guest.ping().unwrap();
    }
    guest.stat("rw/nothing").unwrap_err();
    std::thread::sleep(std::time::Duration::from_millis(60));
    let mut watcher = server.files();
    let counts = watcher
        .counters(|c| (c.name.to_vec(), c.operation, c.calls, c.errors, c.ago_ms))
        .unwrap();
    let of = |operation| {
        counts
            .iter()
            .find(|c| c.0 == b"m00 \"files\"" && c.1 == operation)
            .unwrap()
    };
    let ping = of(Operation::Ping);
    assert_eq!((ping.2, ping.3), (3, 0));
    assert!((60..5000).contains(&ping.4), "{} ms ago", ping.4);
    assert_eq!((of(Operation::Lookup).2, of(Operation::Lookup).3), (1, 1));

    let text = get(port, "/metrics");
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(text.contains("\nsnfs_connections 2\n"), "{text}");
    let line = text
        .lines()
        .find(|line| line.starts_with("snfs_requests_total") && line.contains("\"ping\""))
        .unwrap();
    assert!(
        line.contains("client=\"m00 \\\"files\\\"\"") && line.ends_with("} 3"),
        "{line}"
    );
    assert!(
        text.lines()
            .any(|line| line.starts_with("snfs_errors_total")
                && line.contains("lookup")
                && line.ends_with(" 1"))
    );
    assert!(get(port, "/etc/passwd").starts_with("HTTP/1.1 404"));
}
