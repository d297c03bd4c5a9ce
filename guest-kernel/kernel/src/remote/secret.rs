//! What lets this machine in: the token of plain mode, or the key of noise mode. With a key, or with
//! something meant as one, nothing is ever said in plain.

use crate::{settings, time};
use alloc::vec::Vec;
use kcore::settings::Key as Setting;
use protocol::message::ClientId;
use protocol::noise::Key;
use spin::Once;
use x86_64::instructions::random::RdRand;

/// Attempts before RDRAND counts as failed (Intel SDM vol. 1, section 7.3.17.1, recommends ten).
const ATTEMPTS: usize = 10;

/// What the settings gave.
pub enum Secret {
    /// plain mode.
    Token(Vec<u8>),
    /// noise mode.
    Key(Key),
    /// noise mode that cannot be: why.
    Unusable(&'static str),
}

static SECRET: Once<Secret> = Once::new();

/// What the settings gave.
pub fn get() -> &'static Secret {
    SECRET.call_once(|| match &settings::get().key {
        Setting::Absent => Secret::Token(token()),
        Setting::Bad => Secret::Unusable("key= is no key"),
        Setting::Given(text) => match Key::parse(text) {
            None => Secret::Unusable("key= is no key"),
            Some(_) if !random(&mut [0; 16]) => {
                Secret::Unusable("key= wants random numbers, and this CPU has no RDRAND that works")
            }
            Some(key) => Secret::Key(key),
        },
    })
}

/// The token as the server knows it: the text of its token file, lower-case hexadecimal.
fn token() -> Vec<u8> {
    let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble & 15)];
    settings::get()
        .token
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect()
}

/// Fills the buffer with RDRAND's bytes; false if there is no RDRAND, it fails, or it repeats itself as broken ones do.
pub fn random(buf: &mut [u8]) -> bool {
    let Some(source) = RdRand::new() else {
        return false;
    };
    let next = || (0..ATTEMPTS).find_map(|_| source.get_u64());
    let Some(mut last) = next() else {
        return false;
    };
    for part in buf.chunks_mut(8) {
        let Some(word) = next().filter(|word| *word != last) else {
            return false;
        };
        last = word;
        part.copy_from_slice(&word.to_le_bytes()[..part.len()]);
    }
    true
}

/// Random where the CPU can, else hard to guess.
pub fn random_id() -> ClientId {
    let mut id = [0; 16];
    if !random(&mut id) {
        let mut mixed = time::read_tsc() ^ time::wall_ns();
        for part in id.chunks_mut(8) {
            mixed = mixed
                .wrapping_mul(0x5851_f42d_4c95_7f2d)
                .wrapping_add(time::read_tsc());
            part.copy_from_slice(&(mixed ^ mixed >> 29).to_le_bytes());
        }
    }
    ClientId(id)
}
