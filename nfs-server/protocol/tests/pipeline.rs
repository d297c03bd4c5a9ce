//! Read-ahead and write-behind against a server that is cut off, restarted and forgetful at random, compared with
//! a plain array of bytes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use protocol::NO_SLOT;
use protocol::ahead::Ahead;
use protocol::behind::{Behind, WINDOW_BYTES, WINDOW_REQUESTS};
use protocol::client::{Client, Config, Epoch, Reply, Status};
use protocol::codec::Rest;
use protocol::errno::{Errno, Reason, Refusal};
use protocol::frame::{self, HEADER, Header};
use protocol::message::{
    Append, Appended, Call, ClientId, Fsync, Handle, HelloReply, Read, Request, Resumed, SyncLevel,
    Write, Written,
};
use protocol::unsynced::Change;

/// One file on a server that does each request of a session once.
#[derive(Default)]
struct Server {
    file: Vec<u8>,
    /// What a reboot leaves of it.
    safe: Vec<u8>,
    session: u64,
    boots: u64,
    /// The last reply of each slot.
    slots: BTreeMap<u16, (u32, Vec<u8>)>,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    reboot_pending: bool,
}

fn refused(reason: Reason) -> (Errno, Refusal) {
    (Errno::ESTALE, Refusal { reason, value: 0 })
}

impl Server {
    fn handle(&self) -> Handle {
        Handle(self.session as u32)
    }

    /// The connection is gone, and what was on its way with it.
    fn cut(&mut self) {
        self.incoming.clear();
        self.outgoing.clear();
    }

    /// Started again without its state.
    fn forget(&mut self) {
        self.cut();
        self.boots += 1;
        self.slots.clear();
    }

    /// Its machine was started again; it has its state.
    fn reboot(&mut self) {
        self.cut();
        self.boots += 1;
        self.file.clone_from(&self.safe);
        self.reboot_pending = true;
    }

    fn serve(&mut self) {
        while self.incoming.len() >= HEADER {
            let length = u32::from_le_bytes(self.incoming[..4].try_into().unwrap()) as usize;
            if self.incoming.len() < HEADER + length {
                return;
            }
            let whole: Vec<u8> = self.incoming.drain(..HEADER + length).collect();
            self.answer(&whole);
        }
    }

    fn answer(&mut self, whole: &[u8]) {
        let (header, payload) = frame::split(whole).unwrap();
        let mut out = Vec::new();
        match Request::decode(header.operation, payload).unwrap() {
            Request::Hello(_) => {
                let known = header.session != 0
                    && header.session == self.session
                    && !self.slots_forgotten();
                if !known {
                    self.session = self.boots * 1000 + self.session % 1000 + 1;
                    self.slots.clear();
                    self.slots.insert(NO_SLOT, (self.boots as u32, Vec::new()));
                }
                let resumed = match (known, std::mem::take(&mut self.reboot_pending)) {
                    (false, _) => Resumed::New,
                    (true, false) => Resumed::Same,
                    (true, true) => Resumed::Rebooted,
                };
                let reply = HelloReply {
                    version: 1,
                    slots: 4,
                    max_frame: 4096,
                    boot_id: self.boots,
                    resumed,
                    idle_ms: 1000,
                    time_ns: 0,
                };
                let header = Header {
                    session: self.session,
                    ..header
                };
                frame::put_reply(&mut out, &header, &Ok(reply));
            }
            request => {
                if let Some((sequence, reply)) = self.slots.get(&header.slot)
                    && *sequence == header.sequence
                {
                    out.clone_from(reply);
                } else {
                    self.perform(&header, &request, &mut out);
                    self.slots
                        .insert(header.slot, (header.sequence, out.clone()));
                }
            }
        }
        self.outgoing.extend_from_slice(&out);
    }

    fn slots_forgotten(&self) -> bool {
        self.slots.is_empty()
    }

    fn perform(&mut self, header: &Header, request: &Request<'_>, out: &mut Vec<u8>) {
        match request {
            Request::Write(Write {
                handle,
                offset,
                data: Rest(data),
            }) => {
                let result = if *handle == self.handle() {
                    let end = *offset as usize + data.len();
                    if self.file.len() < end {
                        self.file.resize(end, 0);
                    }
                    self.file[*offset as usize..end].copy_from_slice(data);
                    Ok(Written {
                        size: self.file.len() as u64,
                    })
                } else {
                    Err(refused(Reason::SessionLost))
                };
                frame::put_reply(out, header, &result);
            }
            Request::Read(Read {
                handle,
                offset,
                count,
            }) => {
                let result = if *handle == self.handle() {
                    let start = (*offset as usize).min(self.file.len());
                    let end = (start + *count as usize).min(self.file.len());
                    Ok(Rest(&self.file[start..end]))
                } else {
                    Err(refused(Reason::SessionLost))
                };
                frame::put_reply(out, header, &result);
            }
            Request::Append(Append {
                expected,
                data: Rest(data),
                ..
            }) => {
                let size = self.file.len() as u64;
                let result = if *expected == size {
                    self.file.extend_from_slice(data);
                    Ok(Appended {
                        size: self.file.len() as u64,
                    })
                } else {
                    let (reason, value) = (Reason::NotTheEnd, size);
                    Err((Errno::ERANGE, Refusal { reason, value }))
                };
                frame::put_reply(out, header, &result);
            }
            Request::Fsync(_) => {
                self.safe.clone_from(&self.file);
                frame::put_reply(out, header, &Ok(()));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// What the kernel does around the two, with every wait a step of the server.
struct Owner {
    client: Client,
    server: Server,
    behind: Behind<()>,
    ahead: Ahead<()>,
    handle: Handle,
    epoch: Epoch,
    told: usize,
}

impl Owner {
    fn new() -> Self {
        let client = Client::new(Config {
            client: ClientId([1; 16]),
            name: b"model".to_vec(),
            token: Vec::new(),
            slots: 4,
            max_frame: 4096,
        });
        let mut owner = Self {
            client,
            server: Server::default(),
            behind: Behind::default(),
            ahead: Ahead::default(),
            handle: Handle(0),
            epoch: Epoch::default(),
            told: 0,
        };
        owner.step(usize::MAX);
        owner.reopen();
        owner
    }

    /// Moves up to `n` bytes each way.
    fn step(&mut self, n: usize) {
        if self.client.status() == Status::Down {
            self.client.connected(0);
        }
        let mut out = vec![0; n.min(1 << 16)];
        let len = self.client.fill(&mut out);
        self.server.incoming.extend_from_slice(&out[..len]);
        self.server.serve();
        let len = self.server.outgoing.len().min(n);
        let back: Vec<u8> = self.server.outgoing.drain(..len).collect();
        self.client.receive(&back, 0).unwrap();
    }

    fn cut(&mut self) {
        self.server.cut();
        self.client.disconnected();
    }

    fn reboot(&mut self) {
        self.server.reboot();
        self.client.disconnected();
    }

    fn reopen(&mut self) {
        while self.client.status() != Status::Ready {
            self.step(usize::MAX);
        }
        self.handle = self.server.handle();
        self.epoch = self.client.epoch();
    }

    fn settle(&mut self) {
        let told = &mut self.told;
        self.behind.settle(&mut self.client, |(), _| *told += 1);
        while self.behind.is_stale(&self.client) {
            self.step(usize::MAX);
            let told = &mut self.told;
            self.behind.settle(&mut self.client, |(), _| *told += 1);
        }
        if self.behind.is_unsure() {
            // As an owner that asks, and hears of another reboot before it compares.
            let before = self.client.reboots();
            self.reopen();
            let size = self.server.file.len() as u64;
            if self.client.reboots() == before {
                self.behind.compare(size);
            }
            return self.settle();
        }
        while let Some(piece) = self.behind.next_lost() {
            let handle = self.handle;
            let asked = match piece.change() {
                Change::Write(offset, data) => {
                    let data = Rest(data);
                    self.client.submit(
                        &Write {
                            handle,
                            offset,
                            data,
                        },
                        0,
                    )
                }
                Change::Append(expected, data) => {
                    let data = Rest(data);
                    self.client.submit(
                        &Append {
                            handle,
                            expected,
                            data,
                        },
                        0,
                    )
                }
                Change::Resize(_) => panic!("nobody cuts this file"),
            };
            match asked {
                Ok(ticket) => {
                    let epoch = self.epoch;
                    self.behind.resubmitted(&piece, epoch, ticket, ());
                }
                Err(_) => {
                    self.behind.put_back(piece);
                    self.step(usize::MAX);
                    return self.settle();
                }
            }
        }
    }

    /// Waits for the answer to one request.
    fn call<C: Call>(&mut self, call: &C) -> Reply {
        let ticket = loop {
            match self.client.submit(call, 0) {
                Ok(ticket) => break ticket,
                Err(_) => self.step(usize::MAX),
            }
        };
        while !self.client.is_done(ticket) {
            self.step(usize::MAX);
        }
        self.client.take(ticket).unwrap()
    }

    /// Appends as a program does that waits for the answer; `disturb` comes when it is on its way.
    fn append(&mut self, expected: u64, data: &[u8], disturb: impl FnOnce(&mut Self)) {
        self.drain();
        let begun = self.behind.begins(&self.client, self.epoch);
        let handle = self.handle;
        let data = Rest(data);
        let call = Append {
            handle,
            expected,
            data,
        };
        let ticket = loop {
            match self.client.submit(&call, 0) {
                Ok(ticket) => break ticket,
                Err(_) => self.step(usize::MAX),
            }
        };
        disturb(self);
        while !self.client.is_done(ticket) {
            self.step(usize::MAX);
        }
        let reply = self.client.take(ticket).unwrap();
        let failure = reply.failure();
        let is_lost = self.behind.answered(&self.client, begun, reply);
        assert!(is_lost || failure.is_none(), "{failure:?}");
        self.drain();
    }

    /// What was sent arrives; no answer does.
    fn server_takes_all(&mut self) {
        let mut out = vec![0; 1 << 16];
        let len = self.client.fill(&mut out);
        self.server.incoming.extend_from_slice(&out[..len]);
        self.server.serve();
    }

    fn restart(&mut self, offset: u64) {
        for (ticket, ()) in self.ahead.restart(offset) {
            self.client.cancel(ticket);
        }
    }

    fn sync(&mut self) {
        loop {
            self.drain();
            let handle = self.handle;
            let level = SyncLevel::Data;
            let reply = self.call(&Fsync { handle, level });
            let settled = self.behind.synced(&self.client);
            if settled && reply.failure().is_none() {
                return;
            }
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        self.write_disturbed(offset, data, |_| {});
    }

    /// `disturb` comes when what was written before is settled, and somebody else has the session's ear.
    fn write_disturbed(&mut self, offset: u64, data: &[u8], disturb: impl FnOnce(&mut Self)) {
        drop(self.ahead.restart(offset));
        self.settle();
        while !self.behind.has_room(data.len()) || self.client.free_slots() == 0 {
            self.step(100);
            self.settle();
        }
        disturb(self);
        let call = Write {
            handle: self.handle,
            offset,
            data: Rest(data),
        };
        let ticket = self.client.submit(&call, 0).unwrap();
        self.behind
            .submitted(&self.client, self.epoch, ticket, data.len(), ());
        assert!(self.behind.bytes() <= WINDOW_BYTES);
    }

    fn drain(&mut self) {
        loop {
            self.settle();
            if self.behind.is_settled() {
                return;
            }
            self.step(usize::MAX);
        }
    }

    /// As a program that reads until it has `len` bytes or the file ends.
    fn read(&mut self, mut offset: u64, len: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < len {
            let mut buf = vec![0; (len - all.len()).min(700)];
            self.settle();
            let mut got = self.ahead.take(offset, &mut buf);
            if got == 0 {
                self.fill(offset, buf.len());
                got = self.ahead.take(offset, &mut buf);
            }
            if got == 0 {
                break;
            }
            offset += got as u64;
            all.extend_from_slice(&buf[..got]);
        }
        all
    }

    fn fill(&mut self, offset: u64, wanted: usize) {
        loop {
            let lost = self.client.status() != Status::Ready
                || self.epoch.generation != self.client.generation();
            if lost || self.ahead.is_elsewhere(offset) {
                self.restart(offset);
            }
            let before = self.client.reboots();
            // First the new handle, then what the lost session took with it, then reads.
            self.reopen();
            self.settle();
            if self.epoch.generation != self.client.generation() || self.client.reboots() != before
            {
                self.restart(offset);
                continue;
            }
            while let Some((at, len)) =
                self.ahead
                    .wants(wanted, self.server.file.len() as u64, 1000, 3)
            {
                let call = Read {
                    handle: self.handle,
                    offset: at,
                    count: len as u32,
                };
                match self.client.submit(&call, 0) {
                    Ok(ticket) => self.ahead.submitted(ticket, (at, len), ()),
                    Err(_) => self.step(usize::MAX),
                }
            }
            let (ticket, ()) = self.ahead.oldest().unwrap();
            while !self.client.is_done(ticket) {
                self.step(333);
            }
            let reply = self.client.take(ticket).unwrap();
            let failed = reply.failure().is_some();
            if self.client.reboots() != before {
                // It may not show what we wrote.
                self.restart(offset);
                continue;
            }
            for (ticket, ()) in self.ahead.arrived(reply) {
                self.client.cancel(ticket);
            }
            if !failed {
                return;
            }
            assert!(self.epoch.generation != self.client.generation());
        }
    }
}

#[derive(Clone, Debug)]
enum Act {
    Write {
        offset: u64,
        len: usize,
        byte: u8,
        reboots: bool,
    },
    Read {
        offset: u64,
        len: usize,
    },
    Step(usize),
    Cut,
    Forget,
    Reboot,
    Drain,
    Sync,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0u64..3000, 1usize..3000, any::<u8>(), prop::bool::weighted(0.1))
            .prop_map(|(offset, len, byte, reboots)| Act::Write { offset, len, byte, reboots }),
        3 => (0u64..4000, 1usize..5000).prop_map(|(offset, len)| Act::Read { offset, len }),
        4 => (1usize..5000).prop_map(Act::Step),
        2 => Just(Act::Cut),
        1 => Just(Act::Forget),
        1 => Just(Act::Reboot),
        1 => Just(Act::Drain),
        1 => Just(Act::Sync),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Reads see every write before them, and in the end the file is what the program wrote, whatever
    /// happened to connection and server in between.
    #[test]
    fn the_file_is_what_was_written(acts in prop::collection::vec(act(), 1..60)) {
        let mut owner = Owner::new();
        let (mut model, mut writes) = (Vec::new(), 0);
        for act in acts {
            match act {
                Act::Write { offset, len, byte, reboots } => {
                    owner.write_disturbed(offset, &vec![byte; len], |owner| if reboots {
                        owner.reboot();
                        owner.reopen();
                    });
                    let end = offset as usize + len;
                    if model.len() < end {
                        model.resize(end, 0);
                    }
                    model[offset as usize..end].fill(byte);
                    writes += 1;
                }
                Act::Read { offset, len } => {
                    let start = (offset as usize).min(model.len());
                    let end = (start + len).min(model.len());
                    prop_assert_eq!(&owner.read(offset, len)[..], &model[start..end]);
                }
                Act::Step(n) => owner.step(n),
                Act::Cut => owner.cut(),
                Act::Forget => {
                    owner.server.forget();
                    owner.client.disconnected();
                }
                Act::Reboot => {
                    owner.reboot();
                }
                Act::Drain => owner.drain(),
                Act::Sync => owner.sync(),
            }
        }
        // It hears of a reboot when it asks.
        owner.reopen();
        owner.drain();
        prop_assert_eq!(&owner.server.file, &model);
        // Whatever is lost now was written again, once it is safe.
        owner.reboot();
        owner.sync();
        prop_assert_eq!(&owner.server.safe, &model);
        prop_assert_eq!(owner.behind.kept_bytes(), 0);
        prop_assert_eq!(owner.behind.bytes(), 0);
        prop_assert!(owner.behind.take_error().is_none());
        prop_assert!(owner.told >= writes);
    }

    /// Numbered appends: each is there once, in order, whatever was lost when.
    #[test]
    fn appends_survive_reboots_once(acts in prop::collection::vec((0u8..6, 1usize..300), 1..40)) {
        let mut owner = Owner::new();
        let mut model = Vec::new();
        for (number, (act, len)) in acts.into_iter().enumerate() {
            let expected = model.len() as u64;
            let data = vec![number as u8; len];
            model.extend_from_slice(&data);
            owner.append(expected, &data, |owner| match act {
                0 => owner.cut(),
                1 => {
                    // A part of what was not fsynced reached the disk.
                    let some = owner.server.safe.len().max(owner.server.file.len() * 2 / 3);
                    owner.server.safe = owner.server.file[..some].to_vec();
                    owner.reboot();
                }
                2 => {
                    // Done, and the answer is lost together with the data.
                    owner.server_takes_all();
                    owner.reboot();
                }
                3 => {
                    // Done and safe, and the answer is lost.
                    owner.server_takes_all();
                    owner.server.safe.clone_from(&owner.server.file);
                    owner.reboot();
                }
                _ => {}
            });
            if act == 4 {
                owner.sync();
            }
            prop_assert!(owner.behind.error().is_none());
            prop_assert_eq!(&owner.server.file, &model);
        }
    }
}

#[test]
fn no_more_than_the_window_is_under_way() {
    let mut owner = Owner::new();
    let mut asked = 0;
    while owner.behind.has_room(3000) && asked < 2 * WINDOW_REQUESTS {
        if owner.client.free_slots() == 0 {
            // The server has done it, and nobody looked at the answer yet.
            owner.step(usize::MAX);
        }
        let call = Write {
            handle: owner.handle,
            offset: 0,
            data: Rest(&[1; 3000]),
        };
        let ticket = owner.client.submit(&call, 0).unwrap();
        owner
            .behind
            .submitted(&owner.client, owner.epoch, ticket, 3000, ());
        asked += 1;
    }
    assert_eq!(asked, WINDOW_REQUESTS);
    // Answers that nobody took keep nobody from asking.
    owner.step(usize::MAX);
    assert_eq!(owner.client.free_slots(), 4);
    owner.drain();
    assert!(owner.behind.has_room(3000));
}

#[test]
fn an_error_is_told_once() {
    let mut owner = Owner::new();
    owner.handle = Handle(77);
    owner.write(0, b"x");
    owner.write(1, b"y");
    owner.step(usize::MAX);
    owner.settle();
    // The session is the same, so this handle is simply wrong.
    assert_eq!(
        owner.behind.error().map(|failure| failure.errno),
        Some(Errno::ESTALE)
    );
    assert!(owner.behind.take_error().is_some());
    assert!(owner.behind.take_error().is_none());
}

#[test]
fn what_cannot_be_written_again_is_counted_and_told() {
    let mut owner = Owner::new();
    owner.write(0, &[1; 100]);
    owner.write(100, &[2; 50]);
    owner.server.forget();
    owner.client.disconnected();
    owner.step(usize::MAX);
    owner.behind.settle(&mut owner.client, |(), _| {});
    assert_eq!(owner.behind.give_up(Errno::ENOENT), 150);
    let failure = owner.behind.take_error().unwrap();
    assert_eq!((failure.errno, failure.refusal.value), (Errno::ENOENT, 150));
    assert!(owner.behind.is_settled());
}
