//! noise mode: who may talk, and that neither side can be talked down.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path as HostPath;
use std::time::Duration;

use common::{Server, TOKEN, program, write_secret};
use protocol::host::{Error, Files, Options, random};
use protocol::noise::{Key, MAX_MESSAGE};

/// A server with a key for each of two clients.
fn server() -> (Server, Key, Key) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    for name in ["guest", "monitor"] {
        assert!(
            program(&["keygen", file.to_str().unwrap(), name])
                .status
                .success()
        );
    }
    let text = std::fs::read_to_string(&file).unwrap();
    let keys: Vec<Key> = text.lines().map(|line| Key::parse(line).unwrap()).collect();
    let mut server =
        Server::start_with(&[&format!("--key={}", file.display()), "--state={}/state"]);
    server.keep.push(folder);
    (server, keys[0].clone(), keys[1].clone())
}

fn quick(options: Options) -> Options {
    options.patient(Some(Duration::from_millis(300)))
}

#[test]
fn files_go_there_and_back_encrypted_and_survive_a_kill() {
    let (mut server, guest, monitor) = server();
    let mut files = Files::connect(Options::with_key(server.address, guest).patient(None)).unwrap();
    let content: Vec<u8> = (0..2_000_000u32).map(|i| (i % 249) as u8).collect();
    files.put("rw/f", &mut &content[..], &mut |_| {}).unwrap();
    server.kill();
    server.restart();
    let mut back = Vec::new();
    files.get("rw/f", &mut back, &mut |_, _| {}).unwrap();
    assert!(back == content);
    let mut other = Files::connect(Options::with_key(server.address, monitor)).unwrap();
    other.follow("rw/f", 1_999_998).unwrap();
    let data = other
        .next_followed(Duration::from_secs(5))
        .unwrap()
        .unwrap()
        .data;
    assert_eq!(data, &content[1_999_998..]);
}

#[test]
fn an_unknown_key_a_renamed_key_and_a_plain_client_are_refused_alike() {
    let (server, guest, monitor) = server();
    let unknown = Key::generate(random).unwrap();
    // The guest's secret under the monitor's name.
    let secret = guest.to_line().split_once(' ').unwrap().1.to_owned();
    let renamed = Key::parse(&format!("{}:{secret}", monitor.id)).unwrap();
    for options in [
        Options::with_key(server.address, unknown),
        Options::with_key(server.address, renamed),
        Options::new(server.address, TOKEN),
    ] {
        match Files::connect(quick(options)) {
            Err(Error::Away { last, .. }) => {
                assert!(last.contains("closed") || last.contains("reset"), "{last}")
            }
            other => panic!("{other:?}"),
        }
    }
    // The right one still works.
    Files::connect(Options::with_key(server.address, guest)).unwrap();
}

#[test]
fn a_client_with_a_key_never_speaks_plain() {
    let plain = Server::start();
    let key = Key::generate(random).unwrap();
    assert!(matches!(
        Files::connect(quick(Options::with_key(plain.address, key.clone()))),
        Err(Error::Away { .. })
    ));
    // Nor does it show the secret or anything of a hello to whoever listens.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = quick(
        Options::with_key(listener.local_addr().unwrap(), key.clone()).named("a-name-to-look-for"),
    );
    let client = std::thread::spawn(move || Files::connect(options).is_err());
    let (mut stream, _) = listener.accept().unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let mut seen = [0; 4096];
    let n = stream.read(&mut seen).unwrap();
    assert_eq!(n, 16 + 2 + 48);
    assert_eq!(seen[..16], key.id.0);
    // A server without the key cannot go on: any answer fails the first tag.
    stream.write_all(&48u16.to_le_bytes()).unwrap();
    stream.write_all(&[7; 48]).unwrap();
    assert!(stream.read(&mut seen).is_ok_and(|n| n == 0));
    drop((stream, listener));
    assert!(client.join().unwrap());
}

/// Bytes through a relay that may change them.
fn relay(
    server: &Server,
    change: impl Fn(usize, &mut u8) + Send + 'static,
) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let target = server.address;
    std::thread::spawn(move || {
        while let Ok((mut client, _)) = listener.accept() {
            let mut server = TcpStream::connect(target).unwrap();
            let (mut back, mut to_client) =
                (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut back, &mut to_client);
                let _ = to_client.shutdown(std::net::Shutdown::Both);
            });
            let (mut place, mut buf) = (0, [0; 4096]);
            while let Ok(n @ 1..) = client.read(&mut buf) {
                for byte in &mut buf[..n] {
                    change(place, byte);
                    place += 1;
                }
                if server.write_all(&buf[..n]).is_err() {
                    break;
                }
            }
            let _ = server.shutdown(std::net::Shutdown::Both);
        }
    });
    address
}

#[test]
fn one_changed_byte_anywhere_ends_the_connection() {
    let (server, guest, _) = server();
    let honest = relay(&server, |_, _| {});
    Files::connect(Options::with_key(honest, guest.clone())).unwrap();
    // In the key id, the length, the handshake, the length of the hello, the hello.
    for place in [0, 15, 16, 18, 40, 65, 66, 68, 100] {
        let address = relay(&server, move |at, byte| *byte ^= u8::from(at == place));
        let connected = Files::connect(quick(Options::with_key(address, guest.clone())));
        assert!(
            matches!(connected, Err(Error::Away { .. })),
            "byte {place}: {connected:?}"
        );
    }
}

#[test]
fn a_recorded_handshake_replayed_opens_nothing() {
    let (server, guest, _) = server();
    let recorded = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let tape = recorded.clone();
    let address = relay(&server, move |_, byte| tape.lock().unwrap().push(*byte));
    let mut files = Files::connect(Options::with_key(address, guest)).unwrap();
    files.mkdir("rw/once").unwrap();
    let bytes = recorded.lock().unwrap().clone();
    std::fs::remove_dir(server.path("rw/once")).unwrap();
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream.write_all(&bytes).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    // The server answers the handshake with a key of its own, and nothing after it fits.
    assert!(answer.len() <= 50, "{} bytes", answer.len());
    assert!(!server.path("rw/once").exists());
}

#[test]
fn hostile_lengths_cost_nothing() {
    let (server, guest, _) = server();
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream.write_all(&guest.id.0).unwrap();
    stream
        .write_all(&(MAX_MESSAGE as u16).to_le_bytes())
        .unwrap();
    assert_eq!(stream.read(&mut [0; 16]).unwrap_or(0), 0);
    Files::connect(Options::with_key(server.address, guest)).unwrap();
}

#[test]
fn another_address_than_loopback_needs_keys() {
    let folder = tempfile::tempdir().unwrap();
    let (token, keys) = (folder.path().join("token"), folder.path().join("keys"));
    write_secret(&token, TOKEN);
    let export = format!("--export=x={}", folder.path().display());
    let plain = format!("--token-file={}", token.display());
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let out = program(&["--listen", address, &export, &plain]);
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(
            !out.status.success() && text.contains("plain mode") && text.contains("--key"),
            "{text}"
        );
    }
    assert!(
        program(&["keygen", keys.to_str().unwrap()])
            .status
            .success()
    );
    let both = program(&[&export, &plain, &format!("--key={}", keys.display())]);
    assert!(!both.status.success());
}

#[test]
fn secrets_live_in_files_that_nobody_else_may_read() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    let name = keys.to_str().unwrap();
    let out = program(&["keygen", name, "guest of the lab"]);
    let id = String::from_utf8(out.stdout).unwrap();
    assert_eq!(
        std::fs::metadata(&keys).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let text = std::fs::read_to_string(&keys).unwrap();
    assert!(text.starts_with(id.trim()) && text.ends_with(" guest of the lab\n"));
    assert_eq!(
        id.trim().len(),
        32,
        "only the id is shown, never the secret"
    );
    // A file that others may read is refused, by keygen and by the server, for keys and tokens.
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o640)).unwrap();
    let export = format!("--export=x={}", folder.path().display());
    let key = format!("--key={name}");
    let token = format!("--token-file={name}");
    for options in [&["keygen", name][..], &[&export, &key], &[&export, &token]] {
        let out = program(options);
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(
            !out.status.success() && text.contains("chmod 600"),
            "{text}"
        );
    }
    // systemd's copy of a key has an access list, whose mask shows as the group's bits. The address is nobody's, so
    // the server stops right after it read the key.
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o440)).unwrap();
    for (folder, complaint) in [
        (folder.path(), "cannot listen"),
        (HostPath::new("/"), "chmod 600"),
    ] {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_nfs-server"))
            .args([&export, &key, "--listen=192.0.2.1:1"])
            .env("CREDENTIALS_DIRECTORY", folder)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && text.contains(complaint), "{text}");
    }
}
