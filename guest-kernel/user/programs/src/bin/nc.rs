//! nc: connect standard input and output with a TCP or UDP peer.
#![no_std]
#![no_main]
use ulib::io::{AsFd, OwnedFd, STDIN};
use ulib::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use ulib::prelude::*;

ulib::main!(
    main,
    "nc [-u] HOST PORT | nc [-u] -l PORT\n\
     Send standard input to a peer and print what it sends.\n\
     -u UDP  -l wait for a peer instead of calling one"
);

const BUFFER_BYTES: usize = 4096;

fn main() -> Result<()> {
    let options = env::options("ul")?;
    let port = |text: &str| text.parse::<u16>().map_err(|_| Error::Usage);
    match (options.has('u'), options.has('l'), &options.operands[..]) {
        (false, false, [host, number]) => {
            let stream = TcpStream::connect(ulib::net::socket_address(host, port(number)?)?)?;
            tcp(stream)
        }
        (false, true, [number]) => {
            let own = ulib::net::any(port(number)?);
            let (stream, _) = TcpListener::bind(own)?.accept()?;
            tcp(stream)
        }
        (true, false, [host, number]) => {
            let peer = ulib::net::socket_address(host, port(number)?)?;
            let socket = UdpSocket::bind(ulib::net::any(0))?;
            udp(socket, Some(peer))
        }
        (true, true, [number]) => {
            let own = ulib::net::any(port(number)?);
            udp(UdpSocket::bind(own)?, None)
        }
        _ => Err(Error::Usage),
    }
}

/// Both ways at once, until the peer has no more to say.
fn tcp(mut stream: TcpStream) -> Result<()> {
    let mut input_open = true;
    let mut buffer = [0; BUFFER_BYTES];
    let socket: OwnedFd = stream.try_clone()?.into_fd();
    loop {
        let both = [socket.fd(), STDIN];
        let waiting = if input_open { &both[..] } else { &both[..1] };
        let ready = ulib::net::wait_readable(waiting, None)?;
        if ready.contains(&socket.fd()) {
            match sys::read(socket.fd(), &mut buffer)? {
                0 => return Ok(()),
                count => io::stdout().write_all(&buffer[..count])?,
            }
        }
        if ready.contains(&STDIN) {
            match sys::read(STDIN, &mut buffer)? {
                0 => {
                    input_open = false;
                    stream.shutdown(Shutdown::Write)?;
                }
                count => stream.write_all(&buffer[..count])?,
            }
        }
    }
}

/// Each read of standard input is a datagram. Without a peer, the first one to write becomes it.
fn udp(socket: UdpSocket, mut peer: Option<SocketAddr>) -> Result<()> {
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        let both = [socket.fd(), STDIN];
        let waiting = if peer.is_some() {
            &both[..]
        } else {
            &both[..1]
        };
        let ready = ulib::net::wait_readable(waiting, None)?;
        if ready.contains(&socket.fd()) {
            let (count, from) = socket.recv_from(&mut buffer)?;
            peer.get_or_insert(from);
            io::stdout().write_all(&buffer[..count])?;
        }
        if let Some(peer) = peer.filter(|_| ready.contains(&STDIN)) {
            match sys::read(STDIN, &mut buffer)? {
                0 => return Ok(()),
                count => socket.send_to(&buffer[..count], peer)?,
            };
        }
    }
}
