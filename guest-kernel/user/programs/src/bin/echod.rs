//! echod: send back what comes.
#![no_std]
#![no_main]
use ulib::net::{TcpListener, TcpStream, UdpSocket};
use ulib::prelude::*;

ulib::main!(
    main,
    "echod [-u] [-p PORT]\n\
     Send back what comes, by TCP (a process for each client) or UDP.\n\
     -u UDP  -p port (default 7)"
);

const ECHO_PORT: u16 = 7;
const DATAGRAM_MAX: usize = 1472;

fn main() -> Result<()> {
    let options = env::options("up:")?;
    let port = options.number('p', ECHO_PORT)?;
    let own = ulib::net::any(port);
    if options.has('u') {
        let socket = UdpSocket::bind(own)?;
        let mut buffer = [0; DATAGRAM_MAX];
        loop {
            let (len, from) = socket.recv_from(&mut buffer)?;
            socket.send_to(&buffer[..len], from)?;
        }
    }
    let listener = TcpListener::bind(own)?;
    println!("echod: port {port}");
    loop {
        let (stream, _) = listener.accept()?;
        // The grandchild serves and init buries it, so that this process never waits.
        process::fork(|| match process::fork(|| serve(stream)) {
            Ok(_) => 0,
            Err(_) => 1,
        })?
        .wait()?;
    }
}

fn serve(mut stream: TcpStream) -> i32 {
    let mut reader = match stream.try_clone() {
        Ok(reader) => reader,
        Err(_) => return 1,
    };
    i32::from(io::copy(&mut reader, &mut stream).is_err())
}
