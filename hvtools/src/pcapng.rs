//! Frames of a trace as pcapng, for Wireshark, tshark and tcpdump.
//!
//! Blocks of draft-ietf-opsawg-pcapng (section 4), little-endian: one section header, one interface with nanosecond
//! time stamps, an enhanced packet block for each frame with its direction, and at the end, if records of the trace were
//! lost, an interface statistics block that says so: frames may be missing then.

use std::io::{Result, Write};

use trace_record::payload::TEXT_MAX;
use trace_record::{FileHeader, Payload, Record};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
/// Tells a reader the byte order.
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// "The section's length is not known."
const LENGTH_UNKNOWN: u64 = u64::MAX;
/// LINKTYPE_ETHERNET.
const ETHERNET: u16 = 1;

/// Options (sections 3.5, 4.1 to 4.4).
mod option {
    pub const COMMENT: u16 = 1;
    pub const SECTION_HARDWARE: u16 = 2;
    pub const SECTION_SYSTEM: u16 = 3;
    pub const SECTION_PROGRAM: u16 = 4;
    pub const INTERFACE_NAME: u16 = 2;
    pub const INTERFACE_RESOLUTION: u16 = 9;
    pub const PACKET_FLAGS: u16 = 2;
}

/// Time stamps count 10^-9 seconds.
const NANOSECONDS: u8 = 9;
/// Direction in the packet flags.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// What was exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Frames.
    pub frames: u64,
    /// Records of the trace, of any class, that were lost before they reached it.
    pub lost: u64,
}

/// Writes frames as they come out of a trace.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    clock: Clock,
    exported: Exported,
}

/// Turns ticks into nanoseconds since 1970, from the last pair that was heard.
#[derive(Debug)]
struct Clock {
    tsc_hz: u64,
    tsc: u64,
    time_ns: u64,
}

impl Clock {
    fn time_ns(&self, tsc: u64) -> u64 {
        let ticks = i128::from(tsc) - i128::from(self.tsc);
        let since = ticks * 1_000_000_000 / i128::from(self.tsc_hz.max(1));
        u64::try_from(i128::from(self.time_ns) + since).unwrap_or(0)
    }
}

impl<W: Write> Writer<W> {
    /// Begins the file of the trace with this head.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(mut out: W, head: &FileHeader) -> Result<Self> {
        let mut body = BYTE_ORDER_MAGIC.to_le_bytes().to_vec();
        body.extend_from_slice(&[1, 0, 0, 0]); // version 1.0
        body.extend_from_slice(&LENGTH_UNKNOWN.to_le_bytes());
        put_option(
            &mut body,
            option::SECTION_HARDWARE,
            head.machine_name.as_bytes(),
        );
        put_option(&mut body, option::SECTION_SYSTEM, head.kernel.as_bytes());
        put_option(&mut body, option::SECTION_PROGRAM, b"hv trace export");
        end_options(&mut body);
        block(&mut out, SECTION_HEADER, &body)?;

        let mut body = ETHERNET.to_le_bytes().to_vec();
        body.extend_from_slice(&[0, 0]);
        body.extend_from_slice(&(TEXT_MAX as u32).to_le_bytes());
        put_option(&mut body, option::INTERFACE_NAME, b"net0");
        put_option(&mut body, option::INTERFACE_RESOLUTION, &[NANOSECONDS]);
        end_options(&mut body);
        block(&mut out, INTERFACE, &body)?;
        Ok(Writer {
            out,
            clock: Clock {
                tsc_hz: head.tsc_hz,
                tsc: head.first_tsc,
                time_ns: head.first_time_ns,
            },
            exported: Exported::default(),
        })
    }

    /// Takes the next record of the trace, whatever it is.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn record(&mut self, record: &Record<'_>) -> Result<()> {
        match &record.payload {
            Payload::ClockPair { time_ns } => {
                self.clock.tsc = record.meta.tsc;
                self.clock.time_ns = *time_ns;
            }
            Payload::Dropped { count } => self.exported.lost += count,
            Payload::Packet {
                sent,
                wire_len,
                frame,
            } => {
                self.exported.frames += 1;
                let mut body = vec![0; 4]; // the only interface
                put_time(&mut body, self.clock.time_ns(record.meta.tsc));
                body.extend_from_slice(&(frame.len() as u32).to_le_bytes());
                body.extend_from_slice(&wire_len.to_le_bytes());
                body.extend_from_slice(frame);
                pad(&mut body);
                let flags: u32 = if *sent { OUTBOUND } else { INBOUND };
                put_option(&mut body, option::PACKET_FLAGS, &flags.to_le_bytes());
                end_options(&mut body);
                block(&mut self.out, ENHANCED_PACKET, &body)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end(mut self) -> Result<Exported> {
        if self.exported.lost > 0 {
            let mut body = vec![0; 4]; // the only interface
            put_time(&mut body, self.clock.time_ns);
            let comment = format!(
                "{} records of the trace were lost; frames may be missing",
                self.exported.lost
            );
            put_option(&mut body, option::COMMENT, comment.as_bytes());
            end_options(&mut body);
            block(&mut self.out, INTERFACE_STATISTICS, &body)?;
        }
        self.out.flush()?;
        Ok(self.exported)
    }
}

/// A time stamp: the upper half comes first.
fn put_time(body: &mut Vec<u8>, time_ns: u64) {
    body.extend_from_slice(&((time_ns >> 32) as u32).to_le_bytes());
    body.extend_from_slice(&(time_ns as u32).to_le_bytes());
}

fn put_option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    if value.is_empty() {
        return;
    }
    // Strings of a trace's head are far below a length's limit.
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    body.extend_from_slice(&code.to_le_bytes());
    body.extend_from_slice(&(value.len() as u16).to_le_bytes());
    body.extend_from_slice(value);
    pad(body);
}

fn end_options(body: &mut Vec<u8>) {
    body.extend_from_slice(&[0; 4]);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

/// Type and length before the body, and the length again behind it.
fn block(out: &mut impl Write, kind: u32, body: &[u8]) -> Result<()> {
    let length = (body.len() as u32 + 12).to_le_bytes();
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&length)?;
    out.write_all(body)?;
    out.write_all(&length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;
    use trace_record::{Class, RecordMeta};

    fn head() -> FileHeader {
        FileHeader {
            tsc_hz: 2_000_000_000,
            first_tsc: 1000,
            first_time_ns: 0x1_0000_0000,
            kernel: "k".into(),
            ..FileHeader::default()
        }
    }

    fn record(tsc: u64, payload: Payload<'static>) -> Record<'static> {
        Record {
            meta: RecordMeta {
                tsc,
                ..RecordMeta::default()
            },
            class: Class::Packet,
            payload,
        }
    }

    fn frame(sent: bool, bytes: &'static [u8]) -> Payload<'static> {
        Payload::Packet {
            sent,
            wire_len: 0x5ea,
            frame: Cow::Borrowed(bytes),
        }
    }

    fn export(records: &[Record<'_>]) -> (Vec<u8>, Exported) {
        let mut bytes = Vec::new();
        let mut writer = Writer::begin(&mut bytes, &head()).unwrap();
        for record in records {
            writer.record(record).unwrap();
        }
        let exported = writer.end().unwrap();
        (bytes, exported)
    }

    #[test]
    fn every_byte_is_where_the_draft_puts_it() {
        let (bytes, exported) = export(&[
            record(
                1000,
                Payload::ClockPair {
                    time_ns: 0x1_0000_0000,
                },
            ),
            record(1000 + 2 * 0x20, frame(false, b"abcde")),
        ]);
        assert_eq!(exported, Exported { frames: 1, lost: 0 });
        let section: &[u8] = &[
            0x0a, 0x0d, 0x0d, 0x0a, 60, 0, 0, 0, // section header block, its length
            0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, // byte order, version 1.0
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // length of the section
            3, 0, 1, 0, b'k', 0, 0, 0, // operating system
            4, 0, 15, 0, b'h', b'v', b' ', b't', b'r', b'a', b'c', b'e', b' ', b'e', b'x', b'p',
            b'o', b'r', b't', 0, 0, 0, 0, 0, // end of options
            60, 0, 0, 0,
        ];
        let interface: &[u8] = &[
            1, 0, 0, 0, 40, 0, 0, 0, // interface description block
            1, 0, 0, 0, 0, 8, 0, 0, // Ethernet, at most 2048 bytes of a frame
            2, 0, 4, 0, b'n', b'e', b't', b'0', // its name
            9, 0, 1, 0, 9, 0, 0, 0, // nanoseconds
            0, 0, 0, 0, 40, 0, 0, 0,
        ];
        let packet: &[u8] = &[
            6, 0, 0, 0, 52, 0, 0, 0, // enhanced packet block
            0, 0, 0, 0, 1, 0, 0, 0, 0x20, 0, 0, 0, // interface, time: 2^32 + 32 ns
            5, 0, 0, 0, 0xea, 5, 0, 0, // bytes here, bytes on the wire
            b'a', b'b', b'c', b'd', b'e', 0, 0, 0, // the frame
            2, 0, 4, 0, 1, 0, 0, 0, // inbound
            0, 0, 0, 0, 52, 0, 0, 0,
        ];
        assert_eq!(bytes, [section, interface, packet].concat());
    }

    #[test]
    fn directions_differ_and_losses_are_told() {
        let (bytes, exported) = export(&[
            record(1000, frame(true, b"abcd")),
            record(1000, Payload::Dropped { count: 7 }),
        ]);
        assert_eq!(exported, Exported { frames: 1, lost: 7 });
        let packet = &bytes[100..148];
        assert_eq!(packet[32..40], [2, 0, 4, 0, 2, 0, 0, 0]);
        let statistics = &bytes[148..];
        assert_eq!(statistics[..4], [5, 0, 0, 0]);
        assert!(String::from_utf8_lossy(statistics).contains("7 records of the trace were lost"));
    }

    #[test]
    fn times_before_the_first_pair_and_impossible_ones_do_no_harm() {
        let clock = Clock {
            tsc_hz: 1_000_000_000,
            tsc: 500,
            time_ns: 400,
        };
        assert_eq!(clock.time_ns(450), 350);
        assert_eq!(clock.time_ns(0), 0);
        let stopped = Clock {
            tsc_hz: 0,
            tsc: 0,
            time_ns: 1,
        };
        assert_eq!(stopped.time_ns(u64::MAX), 0);
    }
}
