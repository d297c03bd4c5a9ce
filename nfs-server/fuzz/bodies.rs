//! The bodies of the fuzz targets. `fuzz/run` runs them for as long as one likes, the tests of `protocol`
//! for a minute.

use protocol::client::{Client, Config};
use protocol::codec::DecodeError;
use protocol::frame::{self, FrameReader, Header};
use protocol::message::{
    ClientId, Getattr, Handle, HelloReply, Operation, Ping, Read, Request, Resumed, check_reply,
};
use protocol::name::Path;
use protocol::noise::{Channel, Key};
use protocol::{MAX_FRAME, NO_SLOT};

/// First byte: operation; the rest: a payload. What decodes encodes to the same bytes.
pub fn decode(data: &[u8]) {
    let Some((&operation, payload)) = data.split_first() else {
        return;
    };
    if let Some(operation) = Operation::from_number(operation) {
        let _ = check_reply(operation, payload);
    }
    match Request::decode(operation, payload) {
        Ok(request) => {
            let mut bytes = Vec::new();
            request.put(&mut bytes);
            assert_eq!(bytes, payload, "{request:?}");
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(
                Operation::from_number(operation).is_some()
                    == !matches!(error, DecodeError::Operation(_))
            );
        }
    }
}

/// A server that says anything: either well-formed frames of the fuzzer's choice, or bytes.
pub fn client(data: &[u8]) {
    let mut client = Client::new(Config {
        client: ClientId([1; 16]),
        name: b"fuzz".to_vec(),
        token: b"token".to_vec(),
        slots: 4,
        max_frame: 4096,
    });
    let (mut tickets, mut now) = (Vec::new(), 0);
    client.connected(now);
    for chunk in data.chunks(29) {
        now += 1;
        let [choice, slot, sequence, flags, payload @ ..] = chunk else {
            break;
        };
        let mut bytes = Vec::new();
        match choice % 8 {
            0 => {
                let reply = HelloReply {
                    version: 1,
                    slots: u16::from(*slot % 6),
                    max_frame: 4096,
                    boot_id: 1,
                    resumed: Resumed::from_number(*sequence % 4).unwrap_or(Resumed::New),
                    idle_ms: 1,
                    time_ns: 1,
                };
                let header = Header {
                    operation: 1,
                    slot: NO_SLOT,
                    session: u64::from(*flags % 3),
                    ..Header::default()
                };
                frame::put_reply(&mut bytes, &header, &Ok(reply));
            }
            1 => bytes.extend_from_slice(payload),
            2 => {
                if let Ok(ticket) = client.submit(
                    &Read {
                        handle: Handle(1),
                        offset: 0,
                        count: 9,
                    },
                    now,
                ) {
                    tickets.push(ticket);
                }
            }
            3 => {
                if let Ok(ticket) = client.submit(&Getattr { handle: Handle(1) }, now) {
                    client.cancel(ticket);
                }
                if let Ok(ticket) = client.submit(&Ping {}, now) {
                    tickets.push(ticket);
                }
            }
            4 => {
                client.disconnected();
                client.connected(now);
            }
            5 => {
                client.follow(Handle(1), Path::HERE, u64::from(*slot));
            }
            _ => {
                let header = Header {
                    operation: *choice / 8,
                    flags: *flags % 4,
                    slot: u16::from(*slot % 5),
                    sequence: u32::from(*sequence % 8),
                    session: client.session(),
                    ..Header::default()
                };
                frame::put(&mut bytes, header, |out| out.extend_from_slice(payload));
            }
        }
        let mut sink = [0; 100];
        while client.fill(&mut sink) > 0 {}
        if client.receive(&bytes, now).is_err() {
            client.disconnected();
            client.connected(now);
        }
        tickets.retain(|ticket| match client.take(*ticket) {
            Some(reply) => {
                // A good reply decodes as what was asked.
                if reply.failure().is_none() {
                    assert!(reply.get::<Read>().is_ok() || reply.get::<Ping>().is_ok());
                }
                false
            }
            None => true,
        });
        assert!(client.free_slots() <= 4);
        while client.next_push().is_some() {}
    }
}

/// Both sides of a noise channel against any bytes.
pub fn channel(data: &[u8]) {
    let random = |buf: &mut [u8]| {
        buf.fill(7);
        true
    };
    let Some(key) = Key::generate(random) else {
        return;
    };
    let mut plain = Vec::new();
    let mut server = Channel::server(random);
    let _ = server.receive(data, &mut plain, &|_| Some(key.clone()));
    if let Ok(mut client) = Channel::client(&key, random) {
        let _ = client.receive(data, &mut plain, &|_| None);
    }
    assert!(
        plain.is_empty(),
        "nothing that was not encrypted with the key gets through"
    );
}

/// A stream of bytes as frames: bounded, and whole.
pub fn frames(data: &[u8]) {
    let mut reader = FrameReader::new(MAX_FRAME);
    for piece in data.chunks(13) {
        reader.push(piece);
        loop {
            match reader.next_frame() {
                Ok(Some((header, payload))) => assert_eq!(header.length as usize, payload.len()),
                Ok(None) => break,
                Err(too_large) => {
                    assert!(too_large.header.length > MAX_FRAME);
                    return;
                }
            }
        }
    }
}
