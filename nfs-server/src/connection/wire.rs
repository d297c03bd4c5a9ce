//! Between the socket and the frames: reading, sending, the encrypted channel.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use protocol::noise::{Channel, Key, KeyId};
use tokio::io::{AsyncRead, ReadBuf};

use super::{Connection, End};
use crate::config::Security;

/// Bytes that may wait to be sent before the client's requests have to wait.
pub(super) const HIGH_WATER: usize = 256 * 1024;
/// How long a goodbye may take.
const GOODBYE_WITHIN: Duration = Duration::from_millis(500);

thread_local! {
    // Shared by all connections of a thread, so that an idle client costs no buffer.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; 256 * 1024]);
}

impl Connection<'_> {
    pub(super) fn waiting(&self) -> usize {
        self.out.len() - self.sent
            + self
                .channel
                .as_ref()
                .map_or(0, |channel| channel.output().len())
    }

    pub(super) fn is_within_frame(&self) -> bool {
        self.incoming.is_within_frame()
            || self
                .channel
                .as_ref()
                .is_some_and(Channel::is_within_message)
    }

    pub(super) fn room(&self) -> bool {
        self.waiting() < HIGH_WATER
    }

    /// Ready when bytes came and were taken in (not looked for without `room`), or when the socket takes bytes that
    /// wait. A read that leaves the socket empty costs one system call: the next one waits without asking.
    pub(super) fn poll_socket(
        &mut self,
        context: &mut Context<'_>,
        room: bool,
    ) -> Poll<Result<(), End>> {
        if room && let Poll::Ready(read) = self.poll_read(context) {
            return Poll::Ready(read);
        }
        if self.waiting() > 0 {
            return self.stream.poll_write_ready(context).map_err(End::Io);
        }
        Poll::Pending
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<(), End>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            let bytes = buffer.filled();
            if bytes.is_empty() {
                return Poll::Ready(Err(End::Closed));
            }
            match &mut self.channel {
                None => self.incoming.push(bytes),
                Some(channel) => {
                    let find = |id| find_key(&self.shared.security, id);
                    channel.receive(bytes, self.incoming.buffer_mut(), &find)?;
                }
            }
            self.heard = Instant::now();
            Poll::Ready(Ok(()))
        })
    }

    /// Sends what waits, as far as the socket takes it.
    pub(super) fn flush(&mut self) -> Result<(), End> {
        while self.waiting() > 0 {
            let wrote = match &mut self.channel {
                None => self
                    .stream
                    .try_write(&self.out[self.sent..])
                    .map(|n| self.sent += n),
                Some(channel) => {
                    if channel.output().is_empty() {
                        let end = self.out.len().min(self.sent + HIGH_WATER);
                        channel.send(&self.out[self.sent..end])?;
                        self.sent = end;
                    }
                    self.stream
                        .try_write(channel.output())
                        .map(|n| channel.sent(n))
                }
            };
            match wrote {
                Ok(()) => self.stalled = None,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.stalled.get_or_insert_with(Instant::now);
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.sent = 0;
        self.stalled = None;
        // A large reply does not cost its memory for ever.
        if self.out.capacity() > 64 * 1024 {
            self.out = Vec::new();
        } else {
            self.out.clear();
        }
        Ok(())
    }

    /// The last bytes, within a short time.
    pub(super) async fn finish(&mut self) {
        let send = async {
            while self.flush().is_ok() && self.waiting() > 0 {
                if self.stream.writable().await.is_err() {
                    return;
                }
            }
            // Unread bytes would turn the close into a reset, and the client would not see the reason.
            let mut sink = [0; 4096];
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut self.stream).await;
            while matches!(
                tokio::io::AsyncReadExt::read(&mut self.stream, &mut sink).await,
                Ok(1..)
            ) {}
        };
        let _ = tokio::time::timeout(GOODBYE_WITHIN, send).await;
    }
}

fn find_key(security: &Security, id: KeyId) -> Option<Key> {
    match security {
        Security::Plain { .. } => None,
        Security::Noise { keys } => keys.iter().find(|key| key.id == id).cloned(),
    }
}
