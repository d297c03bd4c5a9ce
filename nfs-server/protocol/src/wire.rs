//! What lies between a [`Client`] and its TCP connection: nothing in plain mode, a noise channel otherwise.
//! Without I/O: the driver gives and takes the connection's bytes here instead of at the client.
//!
//! A wire is for one connection and never changes its mode: a client with a key speaks noise or not at all.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use crate::client::{Broken, Client};
use crate::noise::{Channel, Key, NoiseError, RandomSource};

/// A first frame shorter than this is encrypted together with those behind it.
const SMALL: usize = 4096;

/// One connection's transport.
#[derive(Debug)]
pub enum Wire {
    /// Frames as they are.
    Plain,
    /// Frames encrypted.
    Noise {
        /// Our side of the channel.
        channel: Box<Channel>,
        /// What was decrypted last; here only so that its memory is used again.
        plain: Vec<u8>,
    },
}

/// Why the connection must be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// What the frames said.
    Frames(Broken),
    /// What the channel said.
    Channel(NoiseError),
    /// The first answer was none of this channel's: the server speaks plain, or has another key.
    NoNoise,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frames(broken) => broken.fmt(f),
            Self::Channel(error) => error.fmt(f),
            Self::NoNoise => f.write_str("the server does not speak noise, or not with this key"),
        }
    }
}

impl core::error::Error for Dropped {}

impl From<Broken> for Dropped {
    fn from(broken: Broken) -> Self {
        Self::Frames(broken)
    }
}

impl Wire {
    /// For a new connection: plain without a key, and noise with one.
    pub fn new(key: Option<&Key>, random: RandomSource) -> Result<Self, NoiseError> {
        Ok(match key {
            None => Self::Plain,
            Some(key) => Self::Noise {
                channel: Box::new(Channel::client(key, random)?),
                plain: Vec::new(),
            },
        })
    }

    /// Whether the client's frames may travel already.
    pub fn is_ready(&self) -> bool {
        match self {
            Self::Plain => true,
            Self::Noise { channel, .. } => channel.is_ready(),
        }
    }

    /// Bytes for the connection; none when there is nothing to send.
    pub fn output<'a>(&'a mut self, client: &'a mut Client) -> Result<&'a [u8], NoiseError> {
        match self {
            Self::Plain => Ok(client.output()),
            Self::Noise { channel, .. } => {
                if channel.output().is_empty() && channel.is_ready() {
                    let first = client.output();
                    if first.len() >= SMALL {
                        let len = first.len();
                        channel.send(first)?;
                        client.sent(len);
                    } else if !first.is_empty() {
                        let mut small = [0; SMALL];
                        let len = client.peek(&mut small);
                        channel.send(&small[..len])?;
                        client.sent(len);
                    }
                }
                Ok(channel.output())
            }
        }
    }

    /// The first `n` bytes of [`Self::output`] were sent.
    pub fn sent(&mut self, client: &mut Client, n: usize) {
        match self {
            Self::Plain => client.sent(n),
            Self::Noise { channel, .. } => channel.sent(n),
        }
    }

    /// Bytes of the connection arrived.
    pub fn receive(
        &mut self,
        client: &mut Client,
        bytes: &[u8],
        now_ms: u64,
    ) -> Result<(), Dropped> {
        match self {
            Self::Plain => Ok(client.receive(bytes, now_ms)?),
            Self::Noise { channel, plain } => {
                let was_ready = channel.is_ready();
                plain.clear();
                if let Err(error) = channel.receive(bytes, plain, &|_| None) {
                    return Err(if was_ready {
                        Dropped::Channel(error)
                    } else {
                        Dropped::NoNoise
                    });
                }
                Ok(client.receive(plain, now_ms)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Config, Status};
    use crate::frame::{self, Header};
    use crate::message::{ClientId, HelloReply, Resumed};
    use crate::{NO_SLOT, Operation};
    use std::string::ToString;

    fn random(buf: &mut [u8]) -> bool {
        buf.fill(9);
        true
    }

    fn client() -> Client {
        let mut client = Client::new(Config {
            client: ClientId([1; 16]),
            name: b"test".to_vec(),
            token: Vec::new(),
            slots: 2,
            max_frame: 4096,
        });
        client.connected(0);
        client
    }

    fn hello_reply() -> Vec<u8> {
        let mut out = Vec::new();
        let header = Header {
            operation: Operation::Hello.number(),
            slot: NO_SLOT,
            session: 5,
            ..Header::default()
        };
        let reply = HelloReply {
            version: 1,
            slots: 2,
            max_frame: 4096,
            boot_id: 1,
            resumed: Resumed::New,
            idle_ms: 1,
            time_ns: 1,
        };
        frame::put_reply(&mut out, &header, &Ok(reply));
        out
    }

    #[test]
    fn a_hello_crosses_a_channel_and_is_not_seen_on_it() {
        let key = Key::generate(random).unwrap();
        let (mut wire, mut client) = (Wire::new(Some(&key), random).unwrap(), client());
        let mut server = Channel::server(random);
        let mut heard = Vec::new();
        for _ in 0..3 {
            let sent = wire.output(&mut client).unwrap().to_vec();
            assert!(!sent.windows(4).any(|bytes| bytes == b"SNFS"));
            server
                .receive(&sent, &mut heard, &|_| Some(key.clone()))
                .unwrap();
            wire.sent(&mut client, sent.len());
            if !heard.is_empty() && client.status() == Status::Greeting {
                assert_eq!(
                    frame::split(&heard).unwrap().0.operation,
                    Operation::Hello.number()
                );
                server.send(&hello_reply()).unwrap();
            }
            let answer = server.output().to_vec();
            server.sent(answer.len());
            wire.receive(&mut client, &answer, 1).unwrap();
        }
        assert_eq!(client.status(), Status::Ready);
    }

    #[test]
    fn a_client_with_a_key_is_not_talked_down_by_a_plain_answer() {
        let key = Key::generate(random).unwrap();
        let (mut wire, mut client) = (Wire::new(Some(&key), random).unwrap(), client());
        let error = wire.receive(&mut client, &hello_reply(), 1).unwrap_err();
        assert_eq!(error, Dropped::NoNoise);
        assert!(error.to_string().contains("does not speak noise"));
        assert_eq!(client.status(), Status::Greeting);
        // Nor does anything but the handshake leave before the server has proved that it knows the key.
        let mut left = wire.output(&mut client).unwrap().to_vec();
        let len = left.len();
        wire.sent(&mut client, len);
        left.extend_from_slice(wire.output(&mut client).unwrap());
        assert_eq!(left.len(), len);
    }
}
