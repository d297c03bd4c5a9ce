//! One direction of a relay: frames in, the same frames out, as far as they survive. No clock and no socket: the
//! time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use super::faults::Faults;

/// How long a frame waits for another one to overtake it.
const OVERTAKE_PATIENCE: Duration = Duration::from_millis(20);
/// An Ethernet header; its type is in the last two bytes.
const ETHERNET_HEADER: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];

/// What happened in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that came in.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Lost.
    pub dropped: u64,
    /// Sent on twice.
    pub doubled: u64,
    /// Sent on behind the frame that came in after them.
    pub reordered: u64,
    /// Damaged.
    pub corrupted: u64,
    /// Sent on later.
    pub delayed: u64,
}

/// A direction.
#[derive(Debug)]
pub(super) struct Line {
    faults: Faults,
    random: u64,
    counts: Counts,
    /// When to send what, in order.
    queue: VecDeque<(Duration, Vec<u8>)>,
    /// To be overtaken, at the latest by nobody at this time.
    held: Option<(Duration, Vec<u8>)>,
}

impl Line {
    /// A line whose random numbers begin at the faults' seed and `salt`.
    pub(super) fn new(faults: Faults, salt: u64) -> Line {
        Line {
            random: faults.seed ^ salt,
            faults,
            counts: Counts::default(),
            queue: VecDeque::new(),
            held: None,
        }
    }

    pub(super) fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Frames on their way.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Forgets what is on its way: who would get it is gone.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.held = None;
    }

    /// A frame comes in.
    pub(super) fn push(&mut self, mut frame: Vec<u8>, now: Duration) {
        self.counts.frames += 1;
        self.counts.bytes += frame.len() as u64;
        // The same count of draws for every frame, so that one rate does not change what another one hits.
        let [lose, double, reorder, corrupt, place] = [(); 5].map(|()| self.draw());
        let faults = self.faults;
        if faults.drop.hits(lose) {
            self.counts.dropped += 1;
            return;
        }
        let ipv4 = frame.get(ETHERNET_HEADER - 2..ETHERNET_HEADER) == Some(&IPV4);
        let body = frame.len().saturating_sub(ETHERNET_HEADER) as u64;
        if faults.corrupt.hits(corrupt) && ipv4 && body > 0 {
            let bit = place % (8 * body);
            frame[ETHERNET_HEADER + (bit / 8) as usize] ^= 1 << (bit % 8);
            self.counts.corrupted += 1;
        }
        let again = faults.double.hits(double).then(|| frame.clone());
        self.counts.doubled += u64::from(again.is_some());
        let overtaken = self.held.take();
        if overtaken.is_none() && faults.reorder.hits(reorder) {
            self.held = Some((now + OVERTAKE_PATIENCE, frame));
        } else {
            self.send(frame, now);
        }
        if let Some((_, overtaken)) = overtaken {
            self.counts.reordered += 1;
            self.send(overtaken, now);
        }
        if let Some(again) = again {
            self.send(again, now);
        }
    }

    fn send(&mut self, frame: Vec<u8>, now: Duration) {
        self.counts.delayed += u64::from(!self.faults.delay.is_zero());
        // Delays may be changed while frames are under way; they still do not overtake each other.
        let last = self.queue.back().map_or(now, |(due, _)| *due);
        self.queue
            .push_back((last.max(now + self.faults.delay), frame));
    }

    /// The next frame that is due.
    pub(super) fn pop(&mut self, now: Duration) -> Option<Vec<u8>> {
        if let Some((_, frame)) = self.held.take_if(|(until, _)| *until <= now) {
            self.send(frame, now);
        }
        let is_due = self.queue.front().is_some_and(|(due, _)| *due <= now);
        is_due
            .then(|| self.queue.pop_front())?
            .map(|(_, frame)| frame)
    }

    /// When there is something to do next.
    pub(super) fn due(&self) -> Option<Duration> {
        let front = self.queue.front().map(|(due, _)| *due);
        let held = self.held.as_ref().map(|(until, _)| *until);
        front.into_iter().chain(held).min()
    }

    /// The next random number (splitmix64, Steele, Lea and Flood 2014).
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::ZERO;

    fn line(faults: &str) -> Line {
        Line::new(faults.parse().unwrap(), 0)
    }

    /// An IPv4 frame that tells which it is.
    fn frame(number: u16) -> Vec<u8> {
        let mut frame = vec![0; 60];
        frame[12..14].copy_from_slice(&IPV4);
        frame[58..].copy_from_slice(&number.to_be_bytes());
        frame
    }

    fn number(frame: &[u8]) -> u16 {
        u16::from_be_bytes([frame[58], frame[59]])
    }

    fn through(line: &mut Line, count: u16) -> Vec<Vec<u8>> {
        for at in 0..count {
            line.push(frame(at), START);
        }
        std::iter::from_fn(|| line.pop(Duration::from_secs(3600))).collect()
    }

    #[test]
    fn without_faults_everything_goes_through() {
        let mut line = line("seed=1");
        let out = through(&mut line, 1000);
        assert_eq!(out, (0..1000).map(frame).collect::<Vec<_>>());
        let counts = Counts {
            frames: 1000,
            bytes: 60_000,
            ..Counts::default()
        };
        assert_eq!(line.counts(), counts);
        assert_eq!(line.due(), None);
    }

    #[test]
    fn lost_frames_are_missing_and_counted() {
        let mut line = line("drop=10%,seed=3");
        let out = through(&mut line, 2000);
        let counts = line.counts();
        assert_eq!(out.len() as u64, 2000 - counts.dropped);
        assert!((120..280).contains(&counts.dropped), "{counts:?}");
        assert!(out.is_sorted_by_key(|frame| number(frame)));
    }

    #[test]
    fn doubled_frames_come_twice_in_a_row() {
        let mut line = line("double=10%,seed=3");
        let out = through(&mut line, 2000);
        let doubled = out.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64;
        assert_eq!(doubled, line.counts().doubled);
        assert!((120..280).contains(&doubled), "{doubled}");
        assert_eq!(out.len() as u64, 2000 + doubled);
    }

    #[test]
    fn reordered_frames_are_overtaken_by_one() {
        let mut line = line("reorder=10%,seed=3");
        let out = through(&mut line, 2000);
        assert_eq!(out.len(), 2000);
        let overtaken = out
            .windows(2)
            .filter(|pair| number(&pair[0]) > number(&pair[1]))
            .count() as u64;
        assert_eq!(overtaken, line.counts().reordered);
        assert!((110..280).contains(&overtaken), "{overtaken}");
    }

    #[test]
    fn a_frame_nobody_overtakes_is_not_kept_for_ever() {
        let mut line = line("reorder=100%");
        line.push(frame(1), START);
        assert_eq!(line.pop(START), None);
        assert_eq!(line.due(), Some(OVERTAKE_PATIENCE));
        assert_eq!(line.pop(OVERTAKE_PATIENCE), Some(frame(1)));
        assert_eq!(line.counts().reordered, 0);
    }

    #[test]
    fn corruption_is_one_bit_behind_the_header_and_spares_arp() {
        let mut line = line("corrupt=100%,seed=3");
        for (at, out) in through(&mut line, 500).iter().enumerate() {
            let was = frame(at as u16);
            let changed: u32 = was.iter().zip(out).map(|(a, b)| (a ^ b).count_ones()).sum();
            assert_eq!((changed, &was[..14]), (1, &out[..14]));
        }
        assert_eq!(line.counts().corrupted, 500);
        let arp = vec![6; 60];
        line.push(arp.clone(), START);
        assert_eq!(line.pop(START), Some(arp));
        assert_eq!(line.counts().corrupted, 500);
    }

    #[test]
    fn delayed_frames_are_due_later_and_in_order() {
        let mut line = line("delay=20ms");
        let later = Duration::from_millis(20);
        line.push(frame(1), START);
        line.push(frame(2), Duration::from_millis(1));
        assert_eq!(
            (line.pop(Duration::from_millis(19)), line.due()),
            (None, Some(later))
        );
        assert_eq!(line.pop(later), Some(frame(1)));
        assert_eq!(line.pop(later), None);
        // A shorter delay from now on does not let frames pass those under way.
        line.set_faults(Faults::default());
        line.push(frame(3), Duration::from_millis(2));
        assert_eq!(line.pop(later), None);
        let end = Duration::from_millis(21);
        assert_eq!(
            (line.pop(end), line.pop(end)),
            (Some(frame(2)), Some(frame(3)))
        );
        assert_eq!(line.counts().delayed, 2);
    }

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        let all = "drop=5%,double=5%,reorder=5%,corrupt=5%,seed=";
        let of = |seed: &str| through(&mut line(&format!("{all}{seed}")), 500);
        assert_eq!(of("9"), of("9"));
        assert_ne!(of("9"), of("10"));
    }
}
