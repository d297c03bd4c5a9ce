//! Counters over HTTP, as much of it as Prometheus needs.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::counters::{self, Counts};
use crate::inodes::lock;
use crate::server::{self, Shared};

/// The text as it is now.
pub fn text(shared: &Shared) -> String {
    let sessions: Vec<(u64, String, Counts)> = shared
        .sessions
        .all()
        .iter()
        .map(|s| (s.id, s.name.clone(), lock(&s.counts).clone()))
        .collect();
    counters::prometheus(shared.totals(), &sessions)
}

/// Answers one request after the other: whoever asks slowly keeps only Prometheus waiting.
pub async fn run(shared: Arc<Shared>, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = server::stopping(&mut stopped) => return,
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    let _ = tokio::time::timeout(Duration::from_secs(5), answer(&shared, stream)).await;
                }
            }
        }
    }
}

async fn answer(shared: &Shared, mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|w| w == b"\r\n\r\n") && request.len() < 4096 {
        if stream.read_buf(&mut request).await? == 0 {
            break;
        }
    }
    let (status, body) =
        match request.starts_with(b"GET /metrics ") || request.starts_with(b"GET / ") {
            true => ("200 OK", text(shared)),
            false => ("404 Not Found", String::from("only /metrics is here\n")),
        };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}
