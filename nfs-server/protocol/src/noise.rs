//! The encrypted channel: Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s, without I/O.
//!
//! ```text
//! client ─► key id (16 bytes, clear) │ u16 length │ message 1 (psk, e)
//! server ─►                            u16 length │ message 2 (e, ee)
//! both   ─►                            u16 length │ ciphertext, up to 65,535 bytes with its 16-byte tag │ ...
//! ```
//! The prologue of the handshake is [`PROLOGUE`] and the key id, so a changed id or version fails the first
//! tag. Each client has a key of its own; nobody proves anything without it, in either direction. What
//! travels inside is the byte stream of frames; a frame may span several messages.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use snow::params::{CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState, TransportState};

/// What both sides must mean by this channel.
pub const PROLOGUE: &[u8] = b"SNFS noise 1";
/// The longest message on the wire, without its length.
pub const MAX_MESSAGE: usize = 65_535;
const TAG: usize = 16;
/// Buffers of up to two messages are kept for the next ones.
const KEPT: usize = 2 * (MAX_MESSAGE + 2);
const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
/// Length of both handshake messages: an ephemeral key and a tag.
const HANDSHAKE: usize = 32 + TAG;

/// Fills a buffer with random bytes, or says that it cannot.
pub type RandomSource = fn(&mut [u8]) -> bool;

/// Names a key in the clear.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct KeyId(pub [u8; 16]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key that a client and a server share.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// Its name on the wire.
    pub id: KeyId,
    secret: [u8; 32],
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

impl Key {
    /// A fresh one.
    pub fn generate(random: RandomSource) -> Option<Self> {
        let mut bytes = [0; 48];
        random(&mut bytes).then(|| Self::from_bytes(&bytes))
    }

    fn from_bytes(bytes: &[u8; 48]) -> Self {
        let (mut id, mut secret) = ([0; 16], [0; 32]);
        id.copy_from_slice(&bytes[..16]);
        secret.copy_from_slice(&bytes[16..]);
        Self {
            id: KeyId(id),
            secret,
        }
    }

    /// Reads `ID SECRET` or `ID:SECRET`, both in hexadecimal; more words may follow.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split([' ', '\t', ':']).filter(|word| !word.is_empty());
        let (id, secret) = (words.next()?, words.next()?);
        if id.len() != 32 || secret.len() != 64 {
            return None;
        }
        let mut digits = id.bytes().chain(secret.bytes());
        let mut bytes = [0; 48];
        for byte in &mut bytes {
            let mut digit = || (digits.next()? as char).to_digit(16);
            *byte = (digit()? << 4 | digit()?) as u8;
        }
        Some(Self::from_bytes(&bytes))
    }

    /// `ID SECRET`, what [`Self::parse`] reads. The only way a secret gets out.
    pub fn to_line(&self) -> alloc::string::String {
        use core::fmt::Write;
        let mut line = alloc::string::String::new();
        let _ = write!(line, "{} ", self.id);
        for byte in self.secret {
            let _ = write!(line, "{byte:02x}");
        }
        line
    }
}

/// Why a channel broke. All are final: the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoiseError {
    /// No such key, or not the same on both sides: the first tag does not fit.
    Key,
    /// A later tag does not fit: something was changed on the way.
    Tampered,
    /// A message with a length that no message has.
    Length(usize),
    /// No random bytes.
    Random,
}

impl fmt::Display for NoiseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("the key is not known or not the same on both sides"),
            Self::Tampered => f.write_str("a message was changed on the way"),
            Self::Length(n) => write!(f, "no message has {n} bytes"),
            Self::Random => f.write_str("no source of random numbers"),
        }
    }
}

impl core::error::Error for NoiseError {}

struct Source(RandomSource);

impl Random for Source {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        (self.0)(dest).then_some(()).ok_or(snow::Error::Rng)
    }
}

/// snow's own primitives with our source of random bytes.
struct Resolver(RandomSource);

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Source(self.0)))
    }
    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }
    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }
    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

fn handshake(
    key: &Key,
    random: RandomSource,
    initiator: bool,
) -> Result<HandshakeState, NoiseError> {
    let params: NoiseParams = PATTERN.parse().map_err(|_| NoiseError::Random)?;
    let mut prologue = PROLOGUE.to_vec();
    prologue.extend_from_slice(&key.id.0);
    let build = || {
        let builder = Builder::with_resolver(params, Box::new(Resolver(random)));
        let builder = builder.prologue(&prologue)?.psk(0, &key.secret)?;
        if initiator {
            builder.build_initiator()
        } else {
            builder.build_responder()
        }
    };
    build().map_err(|_| NoiseError::Random)
}

enum State {
    /// Server: the key id was not read yet.
    Unnamed,
    Handshake(Box<HandshakeState>),
    Ready(Box<TransportState>),
    Broken,
}

/// One side of a channel over one connection.
pub struct Channel {
    state: State,
    random: RandomSource,
    key: KeyId,
    // Of the wire: not yet a whole message; not yet sent.
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    sent: usize,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("key", &self.key)
            .field("ready", &self.is_ready())
            .finish_non_exhaustive()
    }
}

impl Channel {
    fn new(state: State, key: KeyId, random: RandomSource) -> Self {
        Self {
            state,
            random,
            key,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            sent: 0,
        }
    }

    /// The client's side; its first message waits in [`Self::output`].
    pub fn client(key: &Key, random: RandomSource) -> Result<Self, NoiseError> {
        let mut state = handshake(key, random, true)?;
        let mut message = [0; HANDSHAKE];
        let n = state
            .write_message(&[], &mut message)
            .map_err(|_| NoiseError::Random)?;
        let mut channel = Self::new(State::Handshake(Box::new(state)), key.id, random);
        channel.outgoing.extend_from_slice(&key.id.0);
        channel.put_message(&message[..n]);
        Ok(channel)
    }

    /// The server's side.
    pub fn server(random: RandomSource) -> Self {
        Self::new(State::Unnamed, KeyId::default(), random)
    }

    /// Whether bytes may be sent.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready(_))
    }

    /// Which key this channel has; on the server once it is ready.
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// Whether a message has begun and is not whole.
    pub fn is_within_message(&self) -> bool {
        !self.incoming.is_empty()
    }

    /// Bytes for the wire.
    pub fn output(&self) -> &[u8] {
        &self.outgoing[self.sent..]
    }

    /// The first `n` of them were sent.
    pub fn sent(&mut self, n: usize) {
        self.sent = (self.sent + n).min(self.outgoing.len());
        if self.sent == self.outgoing.len() {
            self.sent = 0;
            if self.outgoing.capacity() > KEPT {
                self.outgoing = Vec::new()
            } else {
                self.outgoing.clear()
            }
        }
    }

    /// Encrypts. Give it no more than may wait in memory, and only when it is ready.
    pub fn send(&mut self, plain: &[u8]) -> Result<(), NoiseError> {
        let State::Ready(transport) = &mut self.state else {
            return Err(NoiseError::Tampered);
        };
        for piece in plain.chunks(MAX_MESSAGE - TAG) {
            let length = piece.len() + TAG;
            self.outgoing
                .extend_from_slice(&(length as u16).to_le_bytes());
            let start = self.outgoing.len();
            self.outgoing.resize(start + length, 0);
            let wrote = transport.write_message(piece, &mut self.outgoing[start..]);
            wrote.map_err(|_| NoiseError::Tampered)?;
        }
        Ok(())
    }

    /// Takes bytes of the wire and appends what they say to `plain`. `find` gives the server the key of an
    /// id; a client never asks.
    pub fn receive(
        &mut self,
        wire: &[u8],
        plain: &mut Vec<u8>,
        find: &dyn Fn(KeyId) -> Option<Key>,
    ) -> Result<(), NoiseError> {
        let result = self.messages(wire, plain, find);
        if result.is_err() {
            self.state = State::Broken;
        }
        result
    }

    /// Whole messages are decrypted where they lie; only one that comes in parts is collected.
    fn messages(
        &mut self,
        mut wire: &[u8],
        plain: &mut Vec<u8>,
        find: &dyn Fn(KeyId) -> Option<Key>,
    ) -> Result<(), NoiseError> {
        while !wire.is_empty() {
            if self.incoming.is_empty() {
                let used = self.message(wire, plain, find)?;
                if used > 0 {
                    wire = &wire[used..];
                    continue;
                }
            }
            let missing = self.length_of(&self.incoming) - self.incoming.len();
            let (now, rest) = wire.split_at(missing.min(wire.len()));
            let mut incoming = core::mem::take(&mut self.incoming);
            incoming.extend_from_slice(now);
            wire = rest;
            if self.message(&incoming, plain, find)? > 0 {
                incoming.clear();
            }
            if !incoming.is_empty() || incoming.capacity() <= KEPT {
                self.incoming = incoming;
            }
        }
        Ok(())
    }

    /// How many bytes the message that begins so will have, as far as that can be said.
    fn length_of(&self, begun: &[u8]) -> usize {
        match (&self.state, begun.first_chunk()) {
            (State::Unnamed, _) => size_of::<KeyId>(),
            (_, None) => 2,
            (_, Some(length)) => 2 + usize::from(u16::from_le_bytes(*length)),
        }
    }

    /// Takes one message from the front; how many bytes it had, 0 if it is not whole.
    fn message(
        &mut self,
        wire: &[u8],
        plain: &mut Vec<u8>,
        find: &dyn Fn(KeyId) -> Option<Key>,
    ) -> Result<usize, NoiseError> {
        if let State::Unnamed = self.state {
            let Some(id) = wire.first_chunk() else {
                return Ok(0);
            };
            self.name(KeyId(*id), find)?;
            return Ok(id.len());
        }
        let Some((length, rest)) = wire.split_first_chunk() else {
            return Ok(0);
        };
        let length = usize::from(u16::from_le_bytes(*length));
        let fits = match self.state {
            State::Ready(_) => length >= TAG,
            _ => length == HANDSHAKE,
        };
        if !fits {
            return Err(NoiseError::Length(length));
        }
        let Some(message) = rest.get(..length) else {
            return Ok(0);
        };
        match core::mem::replace(&mut self.state, State::Broken) {
            State::Ready(mut transport) => {
                let start = plain.len();
                plain.resize(start + length - TAG, 0);
                let read = transport.read_message(message, &mut plain[start..]);
                if read.is_err() {
                    plain.truncate(start);
                    return Err(NoiseError::Tampered);
                }
                self.state = State::Ready(transport);
            }
            State::Handshake(state) => self.shake(*state, message)?,
            State::Unnamed | State::Broken => return Err(NoiseError::Tampered),
        }
        Ok(2 + length)
    }

    fn name(&mut self, id: KeyId, find: &dyn Fn(KeyId) -> Option<Key>) -> Result<(), NoiseError> {
        // An unknown id gets a key that nobody has: whoever asks cannot tell the two apart.
        let key = match find(id) {
            Some(key) => key,
            None => Key {
                id,
                ..Key::generate(self.random).ok_or(NoiseError::Random)?
            },
        };
        self.key = id;
        self.state = State::Handshake(Box::new(handshake(&key, self.random, false)?));
        Ok(())
    }

    fn shake(&mut self, mut state: HandshakeState, message: &[u8]) -> Result<(), NoiseError> {
        state
            .read_message(message, &mut [])
            .map_err(|_| NoiseError::Key)?;
        if !state.is_handshake_finished() {
            let mut answer = [0; HANDSHAKE];
            let n = state
                .write_message(&[], &mut answer)
                .map_err(|_| NoiseError::Random)?;
            self.put_message(&answer[..n]);
        }
        let transport = state.into_transport_mode().map_err(|_| NoiseError::Key)?;
        self.state = State::Ready(Box::new(transport));
        Ok(())
    }

    fn put_message(&mut self, message: &[u8]) {
        self.outgoing
            .extend_from_slice(&(message.len() as u16).to_le_bytes());
        self.outgoing.extend_from_slice(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(buf: &mut [u8]) -> bool {
        // Tests want keys that differ, not keys that are secret.
        use core::sync::atomic::{AtomicU64, Ordering};
        static SEED: AtomicU64 = AtomicU64::new(1);
        for byte in buf {
            let x = SEED.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            *byte = (x.wrapping_mul(x) >> 29) as u8;
        }
        true
    }

    fn pair(client: &Key, known: Option<Key>) -> Result<(Channel, Channel), NoiseError> {
        let mut a = Channel::client(client, random)?;
        let mut b = Channel::server(random);
        let mut plain = Vec::new();
        b.receive(a.output(), &mut plain, &|_| known.clone())?;
        a.receive(b.output(), &mut plain, &|_| None)?;
        a.sent(usize::MAX / 2);
        b.sent(usize::MAX / 2);
        assert!(plain.is_empty() && a.is_ready() && b.is_ready());
        Ok((a, b))
    }

    #[test]
    fn bytes_arrive_whole_in_any_pieces() {
        let key = Key::generate(random).unwrap();
        let (mut a, mut b) = pair(&key, Some(key.clone())).unwrap();
        assert_eq!(b.key(), key.id);
        let text: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
        a.send(&text).unwrap();
        assert!(a.output().windows(16).all(|window| window != &text[..16]));
        let mut plain = Vec::new();
        for piece in a.output().chunks(1000) {
            b.receive(piece, &mut plain, &|_| None).unwrap();
        }
        assert_eq!(plain, text);
    }

    #[test]
    fn a_wrong_or_unknown_key_or_a_changed_id_fails_at_once() {
        let (key, other) = (
            Key::generate(random).unwrap(),
            Key::generate(random).unwrap(),
        );
        assert_eq!(pair(&key, None).unwrap_err(), NoiseError::Key);
        assert_eq!(
            pair(&key, Some(other.clone())).unwrap_err(),
            NoiseError::Key
        );
        // The right secret under another name.
        let renamed = Key {
            id: other.id,
            ..key.clone()
        };
        assert_eq!(pair(&renamed, Some(key)).unwrap_err(), NoiseError::Key);
    }

    #[test]
    fn every_flipped_bit_and_every_repeated_message_is_noticed() {
        let key = Key::generate(random).unwrap();
        for bit in 16..8 * 30 {
            let (mut a, mut b) = pair(&key, Some(key.clone())).unwrap();
            a.send(b"0123456789abcdef").unwrap();
            let mut wire = a.output().to_vec();
            wire[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                b.receive(&wire, &mut Vec::new(), &|_| None),
                Err(NoiseError::Tampered),
                "bit {bit}"
            );
        }
        let (mut a, mut b) = pair(&key, Some(key.clone())).unwrap();
        a.send(b"once").unwrap();
        let mut plain = Vec::new();
        b.receive(a.output(), &mut plain, &|_| None).unwrap();
        assert_eq!(
            b.receive(a.output(), &mut plain, &|_| None),
            Err(NoiseError::Tampered)
        );
        assert_eq!(plain, b"once");
    }

    #[test]
    fn without_random_numbers_there_is_no_channel() {
        let key = Key::generate(random).unwrap();
        assert_eq!(
            Channel::client(&key, |_| false).unwrap_err(),
            NoiseError::Random
        );
    }

    #[test]
    fn keys_are_read_as_they_are_written() {
        let key = Key::generate(random).unwrap();
        assert_eq!(Key::parse(&key.to_line()), Some(key.clone()));
        assert_eq!(
            Key::parse(&key.to_line().replace(' ', ":")),
            Some(key.clone())
        );
        assert_eq!(
            Key::parse(&alloc::format!("{} and a name", key.to_line())),
            Some(key.clone())
        );
        for bad in [
            "",
            "00",
            &key.to_line()[1..],
            &key.to_line().replace(['a', '0'], "g"),
        ] {
            assert_eq!(Key::parse(bad), None);
        }
        assert!(!alloc::format!("{key:?}").contains(&key.to_line()[33..40]));
    }
}
