//! Verdicts, and the records of `verdicts.hvv` that carry them from guest to host.
//!
//! | offset | field |
//! |---|---|
//! | 0 | u32 length of the record, a multiple of 8, at most [`RECORD_MAX`] |
//! | 4 | u32 CRC-32C of the record with this field zero |
//! | 8 | u32 sequence, from 0, no gaps |
//! | 12 | u8 kind: 1 started, 2 finished |
//! | 13 | u8 verdict, 0 when started |
//! | 14 | u16 zero |
//! | 16 | strings (u16 length, bytes): experiment, reason, detail |
//! | | u32 number of measurements, each: strings name and unit, u64 n, min, p5, median, p95, p99, max, u32 number of samples, u32 each |

use crate::CRC32C;
use crate::bytes::{Take, pad8, put_string};
use alloc::string::String;
use alloc::vec::Vec;

/// Longest verdict record in bytes; also the largest append of one.
pub const RECORD_MAX: usize = 256 * 1024;
/// Most samples kept of one measurement.
pub const SAMPLES_MAX: usize = 10_000;
const HEAD_LEN: usize = 16;

/// What came of an experiment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Verdict {
    /// The claim holds.
    Pass = 1,
    /// A measurement or a finding without a claim.
    Info = 2,
    /// Not run, with the reason.
    Skip = 3,
    /// Failed as the expectations say.
    XFail = 4,
    /// The claim does not hold.
    Fail = 5,
    /// Passed although a failure was expected.
    XPass = 6,
    /// The record is missing.
    Lost = 7,
    /// Our bug.
    Error = 8,
    /// Heartbeat lives, the reference request fails.
    Wedged = 9,
    /// No heartbeat.
    Hang = 10,
    /// The hypervisor or the guest died.
    Crash = 11,
}

impl Verdict {
    /// All, mildest first: of several, the last one wins.
    pub const ALL: [Verdict; 11] = [
        Self::Pass,
        Self::Info,
        Self::Skip,
        Self::XFail,
        Self::Fail,
        Self::XPass,
        Self::Lost,
        Self::Error,
        Self::Wedged,
        Self::Hang,
        Self::Crash,
    ];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Info => "INFO",
            Self::Skip => "SKIP",
            Self::XFail => "XFAIL",
            Self::Fail => "FAIL",
            Self::XPass => "XPASS",
            Self::Lost => "LOST",
            Self::Error => "ERROR",
            Self::Wedged => "WEDGED",
            Self::Hang => "HANG",
            Self::Crash => "CRASH",
        }
    }

    /// The verdict with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.word() == word)
    }

    /// The verdict with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|verdict| *verdict as u8 == number)
    }

    /// The exit status a run has if this is its worst verdict: 0 as expected, 1 FAIL or XPASS,
    /// 2 ERROR or LOST, 3 CRASH, HANG or WEDGED.
    pub const fn exit_status(self) -> u8 {
        match self {
            Self::Pass | Self::Info | Self::Skip | Self::XFail => 0,
            Self::Fail | Self::XPass => 1,
            Self::Error | Self::Lost => 2,
            Self::Crash | Self::Hang | Self::Wedged => 3,
        }
    }
}

/// Statistics of one measured row, in integers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Measurement {
    /// Row, for example `cpuid-1`.
    pub name: String,
    /// Unit, for example `ticks`.
    pub unit: String,
    /// Number of samples taken.
    pub n: u64,
    /// Smallest.
    pub min: u64,
    /// 5th percentile.
    pub p5: u64,
    /// Median.
    pub median: u64,
    /// 95th percentile.
    pub p95: u64,
    /// 99th percentile.
    pub p99: u64,
    /// Largest.
    pub max: u64,
    /// Raw samples, at most [`SAMPLES_MAX`].
    pub samples: Vec<u32>,
}

/// Whether an experiment began or ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// It is about to run.
    Started,
    /// It ended.
    Finished {
        /// With this verdict.
        verdict: Verdict,
        /// Why, one line.
        reason: String,
        /// What was expected and seen, for people; may be long.
        detail: String,
        /// Measurements.
        measurements: Vec<Measurement>,
    },
}

/// One record of `verdicts.hvv`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerdictRecord {
    /// Counts from 0 within a boot.
    pub sequence: u32,
    /// Id of the experiment.
    pub experiment: String,
    /// What happened to it.
    pub progress: Progress,
}

/// Why bytes are not a verdict record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VerdictError {
    /// More bytes are needed.
    Incomplete,
    /// The length is impossible; nothing behind it can be found.
    Length {
        /// What it says.
        len: u32,
    },
    /// The checksum does not fit.
    Checksum,
    /// A field is wrong.
    Malformed,
}

impl core::fmt::Display for VerdictError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Incomplete => f.write_str("the verdict record is incomplete"),
            Self::Length { len } => write!(f, "impossible length {len} of a verdict record"),
            Self::Checksum => f.write_str("checksum of a verdict record does not fit"),
            Self::Malformed => f.write_str("a field of a verdict record is wrong"),
        }
    }
}

impl core::error::Error for VerdictError {}

fn checksum(record: &[u8]) -> u32 {
    let mut digest = CRC32C.digest();
    digest.update(&record[..4]);
    digest.update(&[0; 4]);
    digest.update(&record[8..]);
    digest.finalize()
}

impl VerdictRecord {
    /// Appends the record. Samples beyond [`SAMPLES_MAX`] per row, text beyond 65,535 bytes and
    /// whole rows beyond [`RECORD_MAX`] are cut; `n` still tells how many samples there were.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + HEAD_LEN, 0);
        out[start + 8..start + 12].copy_from_slice(&self.sequence.to_le_bytes());
        put_string(out, self.experiment.as_bytes());
        match &self.progress {
            Progress::Started => {
                out[start + 12] = 1;
                put_string(out, b"");
                put_string(out, b"");
                out.extend_from_slice(&0u32.to_le_bytes());
            }
            Progress::Finished {
                verdict,
                reason,
                detail,
                measurements,
            } => {
                out[start + 12] = 2;
                out[start + 13] = *verdict as u8;
                put_string(out, reason.as_bytes());
                put_string(out, detail.as_bytes());
                let count_at = out.len();
                out.extend_from_slice(&0u32.to_le_bytes());
                let mut count = 0u32;
                for row in measurements {
                    let before = out.len();
                    row.encode(out);
                    if out.len() - start > RECORD_MAX - 8 {
                        out.truncate(before);
                        let bare = Measurement {
                            samples: Vec::new(),
                            ..row.clone()
                        };
                        bare.encode(out);
                    }
                    if out.len() - start > RECORD_MAX - 8 {
                        out.truncate(before);
                        break;
                    }
                    count += 1;
                }
                out[count_at..count_at + 4].copy_from_slice(&count.to_le_bytes());
            }
        }
        pad8(out, start);
        let len = (out.len() - start) as u32;
        out[start..start + 4].copy_from_slice(&len.to_le_bytes());
        let crc = checksum(&out[start..]);
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    }

    /// Decodes the first record of `bytes` and says how many bytes it took.
    ///
    /// # Errors
    /// [`VerdictError`]; `Incomplete` may heal when more bytes arrive.
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), VerdictError> {
        let mut take = Take(bytes);
        let len = take.u32().ok_or(VerdictError::Incomplete)?;
        let size = len as usize;
        if !(HEAD_LEN + 8..=RECORD_MAX).contains(&size) || !size.is_multiple_of(8) {
            return Err(VerdictError::Length { len });
        }
        let record = bytes.get(..size).ok_or(VerdictError::Incomplete)?;
        let mut take = Take(&record[4..]);
        if take.u32() != Some(checksum(record)) {
            return Err(VerdictError::Checksum);
        }
        let decoded = Self::decode_fields(&mut take).ok_or(VerdictError::Malformed)?;
        Ok((decoded, size))
    }

    fn decode_fields(take: &mut Take<'_>) -> Option<Self> {
        let sequence = take.u32()?;
        let (kind, verdict) = (take.u8()?, take.u8()?);
        take.u16()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let experiment = text(take.string()?);
        let reason = text(take.string()?);
        let detail = text(take.string()?);
        let count = take.u32()?;
        let mut measurements = Vec::new();
        for _ in 0..count {
            measurements.push(Measurement::decode(take)?);
        }
        let progress = match kind {
            1 => Progress::Started,
            2 => Progress::Finished {
                verdict: Verdict::from_number(verdict)?,
                reason,
                detail,
                measurements,
            },
            _ => return None,
        };
        Some(Self {
            sequence,
            experiment,
            progress,
        })
    }
}

impl Measurement {
    fn encode(&self, out: &mut Vec<u8>) {
        put_string(out, self.name.as_bytes());
        put_string(out, self.unit.as_bytes());
        for value in [
            self.n,
            self.min,
            self.p5,
            self.median,
            self.p95,
            self.p99,
            self.max,
        ] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        let samples = &self.samples[..self.samples.len().min(SAMPLES_MAX)];
        out.extend_from_slice(&(samples.len() as u32).to_le_bytes());
        for sample in samples {
            out.extend_from_slice(&sample.to_le_bytes());
        }
    }

    fn decode(take: &mut Take<'_>) -> Option<Self> {
        let name = String::from_utf8_lossy(take.string()?).into_owned();
        let unit = String::from_utf8_lossy(take.string()?).into_owned();
        let mut row = Self {
            name,
            unit,
            n: take.u64()?,
            min: take.u64()?,
            p5: take.u64()?,
            median: take.u64()?,
            p95: take.u64()?,
            p99: take.u64()?,
            max: take.u64()?,
            samples: Vec::new(),
        };
        let count = take.u32()? as usize;
        let bytes = take.bytes(count.checked_mul(4)?)?;
        row.samples = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|sample| u32::from_le_bytes(*sample))
            .collect();
        Some(row)
    }
}
