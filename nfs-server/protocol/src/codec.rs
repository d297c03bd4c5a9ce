//! Fields to bytes and back. Little-endian, no padding, no alignment.

use alloc::vec::Vec;
use core::fmt;

use crate::name::NameError;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The payload ended inside this field.
    Short(&'static str),
    /// This many bytes follow the last field.
    Trailing(usize),
    /// The field holds a value without a meaning.
    Value(&'static str, u64),
    /// A name breaks the name rule. This one is answered; the others end the connection.
    Name(NameError),
    /// A push or a request where the other was expected, or an operation nobody knows.
    Operation(u8),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(field) => write!(f, "payload ends inside {field}"),
            Self::Trailing(n) => write!(f, "{n} bytes after the last field"),
            Self::Value(field, value) => write!(f, "{field} cannot be {value:#x}"),
            Self::Name(error) => write!(f, "{error}"),
            Self::Operation(op) => write!(f, "operation {op} is unknown or not allowed here"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// A cursor over a payload.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next `n` bytes of the field named `what`.
    pub fn take(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self
            .rest
            .split_at_checked(n)
            .ok_or(DecodeError::Short(what))?;
        self.rest = tail;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self
            .rest
            .split_first_chunk()
            .ok_or(DecodeError::Short(what))?;
        self.rest = tail;
        Ok(*head)
    }

    /// Everything that is left.
    pub fn take_rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }

    /// Refuses bytes after the last field.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            n => Err(DecodeError::Trailing(n)),
        }
    }
}

/// A value with a wire form. `what` names the field in errors.
pub trait Field<'a>: Sized {
    /// Appends the wire form.
    fn put(&self, out: &mut Vec<u8>);
    /// Reads it back.
    fn get(r: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError>;
}

/// Decodes a whole payload: every byte belongs to a field.
pub fn decode<'a, T: Field<'a>>(payload: &'a [u8]) -> Result<T, DecodeError> {
    let mut r = Reader::new(payload);
    let value = T::get(&mut r, "message")?;
    r.finish()?;
    Ok(value)
}

macro_rules! integers {
    ($($t:ty),*) => {$(
        impl<'a> Field<'a> for $t {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn get(r: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError> {
                Ok(<$t>::from_le_bytes(r.array(what)?))
            }
        }
    )*};
}
integers!(u8, u16, u32, u64, i32);

impl<'a> Field<'a> for () {
    fn put(&self, _out: &mut Vec<u8>) {}
    fn get(_r: &mut Reader<'a>, _what: &'static str) -> Result<Self, DecodeError> {
        Ok(())
    }
}

impl<'a> Field<'a> for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn get(r: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError> {
        match u8::get(r, what)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(DecodeError::Value(what, other.into())),
        }
    }
}

impl<'a, const N: usize> Field<'a> for [u8; N] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn get(r: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError> {
        r.array(what)
    }
}

/// Short bytes: u16 length, then the bytes. Longer ones are cut when written.
impl<'a> Field<'a> for &'a [u8] {
    fn put(&self, out: &mut Vec<u8>) {
        let n = self.len().min(usize::from(u16::MAX));
        out.extend_from_slice(&(n as u16).to_le_bytes());
        out.extend_from_slice(&self[..n]);
    }
    fn get(r: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError> {
        let n = u16::get(r, what)?;
        r.take(usize::from(n), what)
    }
}

/// The bytes up to the end of the payload; always the last field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest<'a>(pub &'a [u8]);

impl<'a> Field<'a> for Rest<'a> {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0);
    }
    fn get(r: &mut Reader<'a>, _what: &'static str) -> Result<Self, DecodeError> {
        Ok(Self(r.take_rest()))
    }
}

/// Items up to the end of the payload; always the last field. An item takes at least one byte,
/// so the frame bounds the list.
impl<'a, T: Field<'a>> Field<'a> for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        for item in self {
            item.put(out);
        }
    }
    fn get(r: &mut Reader<'a>, what: &'static str) -> Result<Self, DecodeError> {
        let mut items = Vec::new();
        while r.left() > 0 {
            items.push(T::get(r, what)?);
        }
        Ok(items)
    }
}

/// Defines a struct whose wire form is its fields in order.
macro_rules! message {
    ($(#[$m:meta])* $name:ident { $($(#[$fm:meta])* $f:ident : $t:ty),* $(,)? }) => {
        $(#[$m])* #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[$fm])* pub $f: $t),* }
        impl<'a> $crate::codec::Field<'a> for $name {
            fn put(&self, _out: &mut alloc::vec::Vec<u8>) { $($crate::codec::Field::put(&self.$f, _out);)* }
            fn get(_r: &mut $crate::codec::Reader<'a>, _what: &'static str) -> Result<Self, $crate::codec::DecodeError> {
                Ok(Self { $($f: $crate::codec::Field::get(_r, concat!(stringify!($name), ".", stringify!($f)))?),* })
            }
        }
    };
    ($(#[$m:meta])* $name:ident<'a> { $($(#[$fm:meta])* $f:ident : $t:ty),* $(,)? }) => {
        $(#[$m])* #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name<'a> { $($(#[$fm])* pub $f: $t),* }
        impl<'a> $crate::codec::Field<'a> for $name<'a> {
            fn put(&self, out: &mut alloc::vec::Vec<u8>) { $($crate::codec::Field::put(&self.$f, out);)* }
            fn get(r: &mut $crate::codec::Reader<'a>, _what: &'static str) -> Result<Self, $crate::codec::DecodeError> {
                Ok(Self { $($f: $crate::codec::Field::get(r, concat!(stringify!($name), ".", stringify!($f)))?),* })
            }
        }
    };
}

/// Defines an enum with pinned numbers.
macro_rules! wire_enum {
    ($(#[$m:meta])* $name:ident : $repr:ty { $($(#[$vm:meta])* $v:ident = $n:literal),* $(,)? }) => {
        $(#[$m])* #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr($repr)]
        pub enum $name { $($(#[$vm])* $v = $n),* }
        impl $name {
            /// Every value, in the order of the numbers.
            pub const ALL: &'static [Self] = &[$(Self::$v),*];
            /// The value with this number.
            pub fn from_number(n: $repr) -> Option<Self> {
                match n { $($n => Some(Self::$v),)* _ => None }
            }
            /// The number on the wire.
            pub const fn number(self) -> $repr { self as $repr }
            /// The name as the source has it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$v => stringify!($v)),* }
            }
        }
        impl<'a> $crate::codec::Field<'a> for $name {
            fn put(&self, out: &mut alloc::vec::Vec<u8>) { $crate::codec::Field::put(&self.number(), out) }
            fn get(r: &mut $crate::codec::Reader<'a>, what: &'static str) -> Result<Self, $crate::codec::DecodeError> {
                let n = <$repr as $crate::codec::Field>::get(r, what)?;
                Self::from_number(n).ok_or($crate::codec::DecodeError::Value(what, n as u64))
            }
        }
    };
}

pub(crate) use {message, wire_enum};
