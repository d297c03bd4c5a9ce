//! The first frame: who it is, and which session.

use std::sync::Arc;
use std::time::Duration;

use protocol::codec;
use protocol::frame::{self, Header};
use protocol::message::{Hello, HelloReply, Operation, Resumed};
use protocol::noise::{Channel, KeyId};
use protocol::{Errno, MAGIC, MAX_SLOTS, MIN_FRAME, NO_SLOT, Reason, VERSION};

use super::{Connection, End};
use crate::config::Security;
use crate::journal::Record;
use crate::refuse::{Refused, because, because_of};
use crate::serve;
use crate::server;
use crate::session::{Session, same_secret};

/// A wrong token costs this much.
const REFUSAL_DELAY: Duration = Duration::from_millis(200);

impl Connection<'_> {
    pub(super) async fn hello(&mut self, header: Header, payload: &[u8]) -> Result<(), End> {
        let result = self.greet(header, payload);
        let refused = match result {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        self.shared.count_refused();
        tracing::warn!(reason = %refused.1.reason, "hello refused");
        if refused.1.reason == Reason::BadToken {
            tokio::time::sleep(REFUSAL_DELAY).await;
        }
        let asked = Header {
            operation: Operation::Hello.number(),
            slot: NO_SLOT,
            sequence: 0,
            ..header
        };
        frame::put_reply(&mut self.out, &asked, &Err::<(), _>(refused));
        Err(End::Told(refused))
    }

    fn greet(&mut self, header: Header, payload: &[u8]) -> Result<(), Refused> {
        let bad_message = |_| because(Errno::EPROTO, Reason::BadMessage);
        if header.operation != Operation::Hello.number() {
            return Err(because(Errno::EPROTO, Reason::HelloFirst));
        }
        frame::check_request(&header).map_err(bad_message)?;
        let hello: Hello<'_> = codec::decode(payload).map_err(bad_message)?;
        if hello.magic != MAGIC {
            return Err(because(Errno::EPROTO, Reason::BadMagic));
        }
        // In noise mode the handshake has proved more than a token could.
        if let Security::Plain { token } = &self.shared.security
            && !same_secret(token, hello.token)
        {
            return Err(because(Errno::EACCES, Reason::BadToken));
        }
        if !(hello.min_version..=hello.max_version).contains(&VERSION) {
            return Err(because_of(
                Errno::EPROTONOSUPPORT,
                Reason::BadVersion,
                VERSION.into(),
            ));
        }
        let (session, resumed) = self.session(header.session, &hello)?;
        tracing::info!(
            session = session.id,
            client = session.name,
            ?resumed,
            "hello"
        );
        let reply = HelloReply {
            version: VERSION,
            slots: session.slot_count(),
            max_frame: session.max_frame,
            boot_id: self.shared.boot_id,
            resumed,
            idle_ms: u32::try_from(self.shared.limits.idle_ms).unwrap_or(u32::MAX),
            time_ns: serve::wall_ns(),
        };
        frame::put_reply(
            &mut self.out,
            &Header {
                session: session.id,
                ..header
            },
            &Ok(reply),
        );
        self.session = Some(session);
        Ok(())
    }

    /// The session to resume, or a new one.
    fn session(&self, wanted: u64, hello: &Hello<'_>) -> Result<(Arc<Session>, Resumed), Refused> {
        let shared = self.shared;
        let key = self.channel.as_ref().map_or(KeyId::default(), Channel::key);
        let owner = (hello.client, key);
        let keep = Duration::from_millis(shared.limits.session_ms);
        if wanted != 0
            && let Some(session) = shared.sessions.resume(wanted, owner, keep, self.number)
        {
            let resumed = session.resumed();
            return Ok((session, resumed));
        }
        let name = clean_name(hello.name);
        let slots = hello
            .slots
            .clamp(1, shared.limits.slots.clamp(1, MAX_SLOTS));
        let largest = shared
            .limits
            .frame_bytes
            .clamp(MIN_FRAME, protocol::MAX_FRAME);
        let max_frame = hello.max_frame.clamp(MIN_FRAME, largest);
        let internal = |error: anyhow::Error| {
            tracing::error!("no session: {error:#}");
            because(Errno::EIO, Reason::System)
        };
        let id = server::new_session_id().map_err(internal)?;
        let session = Arc::new(Session::new(id, owner, name, slots, max_frame));
        let limit = shared.limits.sessions;
        let gone = shared
            .sessions
            .insert(session.clone(), limit, keep, self.number)?;
        for id in gone {
            let _ = shared.journal.write(Record::End(id));
        }
        server::remember(shared, &session).map_err(|error| {
            shared.sessions.remove(id);
            internal(error.into())
        })?;
        Ok((session, Resumed::New))
    }
}

/// A client's name for logs: printable, and not long.
fn clean_name(name: &[u8]) -> String {
    name.iter()
        .take(64)
        .map(|&byte| {
            if matches!(byte, b' '..=b'~') {
                char::from(byte)
            } else {
                '?'
            }
        })
        .collect()
}
