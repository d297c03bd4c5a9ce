//! The host's end of `hv bench-files`: it answers as the guest's `tcpbench -s` does, so that the guest can measure TCP
//! alone beside its remote files.
//!
//! The client sends one line, `send N` or `receive N`; then N bytes go that way, and the sender closes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use anyhow::{Context, Result, bail};

const PIECE_BYTES: usize = 64 * 1024;

/// Answers on a free port of this address, for as long as this process lives.
///
/// # Errors
/// When there is no such address.
pub fn answer(ip: IpAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind((ip, 0)).with_context(|| format!("cannot listen on {ip}"))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            if let Err(error) = serve(&stream) {
                eprintln!("hv: the guest's TCP measurement: {error:#}");
            }
        }
    });
    Ok(address)
}

fn serve(stream: &TcpStream) -> Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let (what, bytes) = line.trim().split_once(' ').context("no request")?;
    let mut left: u64 = bytes.parse().context("no number of bytes")?;
    let mut piece = vec![0x55; PIECE_BYTES];
    while left > 0 {
        let now = left.min(PIECE_BYTES as u64) as usize;
        let moved = match what {
            "send" => reader.read(&mut piece[..now])?,
            "receive" => {
                let mut stream = stream;
                stream.write_all(&piece[..now])?;
                now
            }
            _ => bail!("neither send nor receive"),
        };
        if moved == 0 {
            bail!("the guest sent {left} bytes too few");
        }
        left -= moved as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn bytes_go_both_ways() {
        let address = answer(Ipv4Addr::LOCALHOST.into()).unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"receive 100000\n").unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), 100_000);
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"send 100000\n").unwrap();
        stream.write_all(&all).unwrap();
        // The end says that all has arrived.
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
}
